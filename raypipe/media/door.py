"""The door: what vendors deliver is untrusted and foreign, and everything behind it is in the video's own format.

A clip's frames are shown by time and not by index: a 16, 25 or 30 fps clip of 5 s is 120 frames of a 24 fps video. Its
picture is turned upright, scaled and cropped to fill, in 8-bit yuv420p, BT.709, limited range. It is decoded frame by
frame, so that a 4K clip takes the memory of a few pictures. Its sound is kept, in step with its pictures.
"""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from raypipe.errors import DiskFull, MediaError, is_disk_full
from raypipe.media.audio import why
from raypipe.media.decoding import MOST_MISSING, Pictures
from raypipe.media.fitting import Fitter
from raypipe.media.resampling import Samples
from raypipe.media.sound import sound_of
from raypipe.media.stitch import is_own
from raypipe.media.video import SOUND_RATE, write_clip
from raypipe.models import Size

#: largest picture of a clip: 8K
MOST_PIXELS = 7_680 * 4_320
MOST_STREAMS = 16
#: containers that clips come in, by what stands in front; MP4 and QuickTime say so behind the first box's size
_MATROSKA = b"\x1aE\xdf\xa3"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip")
#: seconds by which a frame's time may be early: containers round times, some to a millisecond
_ROUNDING = 0.002


class Fitted(NamedTuple):
    """What became of a clip."""

    #: frames for which its last picture is held, because it was too short
    held: int
    #: whether it had to be encoded; if not, the file is the same
    encoded: bool
    #: pictures that were damaged, in whose place the one before is held
    lost: int = 0


def fit_clip(
    source: Path, out: Path, size: Size, fps: int, frames: int, skip_first: bool, encode: bool = True
) -> Fitted | None:
    """Make a clip into exactly so many frames in the video's own format; one that is that already is left as it is.

    Args:
        source: MP4, QuickTime, Matroska or WebM.
        out: Where to write the MP4, unless the source will do.
        size: Of the video.
        fps: Of the video.
        frames: How many frames; a clip that is longer is cut, of one that is shorter the last picture is held.
        skip_first: Whether to leave its first picture out, which repeats the last one of the clip before.
        encode: Whether it may be encoded, which takes seconds of CPU.

    Returns:
        What was done; None if encoding is needed and `encode` is false.

    Raises:
        MediaError: It is no clip, or one larger than can be borne.
    """
    with _opened(source) as (container, stream):
        if not skip_first and stream.frames == frames and _is_as_ours(container, stream, size, fps):
            return Fitted(held=0, encoded=False)
        if not encode:
            return None
        shown = _Shown(container, stream, size, fps, frames, skip_first)
        pictures = iter(shown)
        first = next(pictures)
        sound = _sound(source, shown.began + skip_first / fps, round(frames * SOUND_RATE / fps))
        write_clip(out, itertools.chain([first], pictures), size, fps, sound)
        return Fitted(held=shown.held, encoded=True, lost=shown.lost)


def _is_as_ours(container: InputContainer, stream: VideoStream, size: Size, fps: int) -> bool:
    """Tell whether a clip is as if it was made here, sound and all: others read it from here on as it is."""
    sounds = container.streams.audio
    return (
        is_own(stream, size, fps)
        and len(container.streams) == 1 + len(sounds)
        and len(sounds) <= 1
        and all(map(_is_sound_as_ours, sounds))
    )


def _is_sound_as_ours(stream: AudioStream) -> bool:
    if stream.codec_context is None:  # nothing here can decode it
        return False
    return (stream.codec_context.name, stream.rate, stream.layout.name) == ("aac", SOUND_RATE, "stereo")


def _sound(source: Path, start: float, samples: int) -> Samples | None:
    """Decode what is heard from a time of the clip on; None if it has no sound."""
    with _opened(source) as (container, _):
        return sound_of(container, start, samples)


@contextmanager
def _opened(source: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    with source.open("rb") as file:
        head = file.read(12)
    if head.startswith(_MATROSKA):
        name = "matroska"
    elif head[4:8] in _MP4_BOXES:
        name = "mp4"
    else:
        raise MediaError("what was delivered is no MP4, QuickTime, Matroska or WebM clip")
    try:
        with av.open(str(source), format=name, metadata_errors="replace") as container:
            if len(container.streams) > MOST_STREAMS:
                raise MediaError(f"the clip has {len(container.streams)} streams, more than {MOST_STREAMS}")
            stream = _pictures_of(container)
            if stream.codec_context is None:
                raise MediaError("the clip's pictures are encoded in a way that nothing here can decode")
            _check_pixels(stream.width, stream.height)
            yield container, stream
    except (av.FFmpegError, ValueError) as error:
        if is_disk_full(error):
            raise DiskFull.because("a clip cannot be written", error) from error
        raise MediaError(f"the clip cannot be read: {why(error)}") from error


def _pictures_of(container: InputContainer) -> VideoStream:
    """Return the stream of a clip's pictures, which is not the picture of a cover."""
    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            return stream
    if container.streams.video:
        raise MediaError("what was delivered is sound with a picture of its cover, and no clip")
    raise MediaError("the clip holds no video stream")


def _check_pixels(width: int, height: int) -> None:
    if not 0 < width * height <= MOST_PIXELS:
        raise MediaError(
            f"the clip's pictures are {width}x{height}: at most {MOST_PIXELS:,} pixels can be used"
        )


class _Shown:
    """The pictures that the video shows of a clip, one for each of its frames."""

    def __init__(
        self,
        container: InputContainer,
        stream: VideoStream,
        size: Size,
        fps: int,
        frames: int,
        skip_first: bool,
    ) -> None:
        self._container, self._stream, self._fit = container, stream, Fitter(size, stream)
        self._fps, self._frames, self._skip = fps, frames, int(skip_first)
        self._pictures = Pictures(container, stream)
        self.held = 0
        #: time of the clip at which its first picture is shown, in seconds
        self.began = 0.0

    @property
    def lost(self) -> int:
        """Count the pictures that were damaged."""
        return self._pictures.lost

    def __iter__(self) -> Iterator[av.VideoFrame]:
        made, current, ended = 0, None, 0.0
        first = None
        for index, frame in enumerate(self._pictures):
            _check_pixels(frame.width, frame.height)
            time = frame.time if frame.time is not None else self.began + ended
            self.began = self.began if index else time
            at = time - self.began
            while current is not None and made < self._frames and self._at(made) < at - _ROUNDING:
                yield self._fit(current)
                made += 1
            if made >= self._frames:
                break
            ended = at + self._seconds_of(frame)
            if index >= self._skip:
                current = frame
            else:
                first = frame
        current = current or first
        if current is None:
            raise MediaError("the clip holds no pictures")
        self._check_missing(made)
        for number in range(made, self._frames):
            self.held += self._at(number) >= ended - _ROUNDING
            yield self._fit(current)

    def _check_missing(self, made: int) -> None:
        """Refuse a clip of which much is damaged, or behind the end of a file that breaks off."""
        if self._pictures.is_useless:
            raise MediaError(f"the clip cannot be used: {self.lost} of its pictures are damaged")
        wanted = self._at(self._frames)
        if self._container.duration is not None:
            declared = ((self._container.start_time or 0) + self._container.duration) / av.time_base
            wanted = min(wanted, declared - self.began)
        there = self._pictures.reached - self.began
        if (
            made < self._frames
            and self._container.duration is not None
            and wanted - there >= wanted * MOST_MISSING
        ):
            raise MediaError(f"the clip breaks off after {there:.1f} of {wanted:.1f} seconds")

    def _at(self, number: int) -> float:
        """Time of the clip at which the video shows its frame of that number, in seconds from the first picture."""
        return (number + self._skip) / self._fps

    def _seconds_of(self, frame: av.VideoFrame) -> float:
        if frame.duration and frame.time_base:
            return float(frame.duration * frame.time_base)
        return float(1 / (self._stream.average_rate or Fraction(self._fps)))
