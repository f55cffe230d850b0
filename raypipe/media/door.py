"""The door: what vendors deliver is untrusted and foreign, and everything behind it is in the video's own format.

A clip's frames are shown by time and not by index: a 16, 25 or 30 fps clip of 5 s is 120 frames of a 24 fps video. Its
picture is turned upright, scaled and cropped to fill, in 8-bit yuv420p, BT.709, limited range. It is decoded frame by
frame, so that a 4K clip takes the memory of a few pictures. Its sound is kept, in step with its pictures.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, cast

import av
import av.filter
from av.container import InputContainer
from av.video.stream import VideoStream

from raypipe.errors import MediaError
from raypipe.media.audio import Samples, why
from raypipe.media.sound import sound_of
from raypipe.media.stitch import is_own
from raypipe.media.video import SOUND_RATE, frame_of, planes_of, write_clip
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
        if not skip_first and stream.frames == frames and is_own(stream, size, fps):
            return Fitted(held=0, encoded=False)
        if not encode:
            return None
        shown = _Shown(container, stream, size, fps, frames, skip_first)
        sound = _sound(source, skip_first / fps, round(frames * SOUND_RATE / fps))
        write_clip(out, iter(shown), size, fps, sound)
        return Fitted(held=shown.held, encoded=True)


def _sound(source: Path, skipped: float, samples: int) -> Samples | None:
    """Decode what is heard with the pictures that are shown; None if the clip has no sound."""
    with _opened(source) as (container, stream):
        first = stream.start_time or 0
        began = float(first * stream.time_base) if stream.time_base else 0.0
        return sound_of(container, began + skipped, samples)


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
        with av.open(str(source), format=name) as container:
            if len(container.streams) > MOST_STREAMS:
                raise MediaError(f"the clip has {len(container.streams)} streams, more than {MOST_STREAMS}")
            if not container.streams.video:
                raise MediaError("the clip holds no video stream")
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise MediaError("the clip's pictures are encoded in a way that nothing here can decode")
            _check_pixels(stream.width, stream.height)
            yield container, stream
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(f"the clip cannot be read: {why(error)}") from error


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
        self._container, self._stream, self._fit = container, stream, _Fit(size, _aspect(stream))
        self._fps, self._frames, self._skip = fps, frames, int(skip_first)
        self.held = 0

    def __iter__(self) -> Iterator[av.VideoFrame]:
        made, current, began, ended = 0, None, None, 0.0
        first = None
        self._stream.codec_context.thread_count = 1  # each further one would hold pictures of its own
        for index, frame in enumerate(self._container.decode(self._stream)):
            _check_pixels(frame.width, frame.height)
            time = frame.time if frame.time is not None else ended
            began = time if began is None else began
            at = time - began
            while current is not None and made < self._frames and self._at(made) < at - _ROUNDING:
                yield self._fit(current)
                made += 1
            if made >= self._frames:
                return
            ended = at + self._seconds_of(frame)
            if index >= self._skip:
                current = frame
            else:
                first = frame
        current = current or first
        if current is None:
            raise MediaError("the clip holds no pictures")
        for number in range(made, self._frames):
            self.held += self._at(number) >= ended - _ROUNDING
            yield self._fit(current)

    def _at(self, number: int) -> float:
        """Time of the clip at which the video shows its frame of that number, in seconds from the first picture."""
        return (number + self._skip) / self._fps

    def _seconds_of(self, frame: av.VideoFrame) -> float:
        if frame.duration and frame.time_base:
            return float(frame.duration * frame.time_base)
        return float(1 / (self._stream.average_rate or Fraction(self._fps)))


class _Fit:
    """Brings pictures to a size; each call may bring one of another shape."""

    def __init__(self, size: Size, aspect: float) -> None:
        self._size, self._aspect = size, aspect
        self._shape: tuple[object, ...] = ()
        self._last: tuple[int, av.VideoFrame] | None = None

    def __call__(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Return the picture upright, scaled and cropped to fill the size, in the video's colours."""
        if self._last is not None and self._last[0] == id(frame):
            return frame_of(planes_of(self._last[1]))
        shape = (
            frame.width,
            frame.height,
            frame.format.name,
            frame.rotation,
            frame.colorspace,
            frame.color_range,
        )
        if shape != self._shape:
            self._graph, self._shape = self._graph_for(frame), shape
        frame.pts = None
        self._graph.push(frame)
        fitted = cast(av.VideoFrame, self._graph.pull())
        self._last = id(frame), fitted
        self._kept = frame  # so that no other frame gets its id
        return frame_of(planes_of(fitted))

    def _graph_for(self, frame: av.VideoFrame) -> av.filter.Graph:
        graph, turned = av.filter.Graph(), frame.rotation % 180 == 90
        width, height = (
            (self._size.height, self._size.width) if turned else (self._size.width, self._size.height)
        )
        steps = [
            ("crop", _covering(frame, self._aspect, width, height)),
            (
                "scale",
                f"{width}:{height}:flags=lanczos:{_colours(frame)}:out_color_matrix=bt709:out_range=tv",
            ),
            *_turning(frame.rotation),
            ("format", "yuv420p"),
        ]
        nodes = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=Fraction(1, 90_000),
            )
        ]
        nodes += [graph.add(name, arguments) for name, arguments in steps]
        nodes.append(graph.add("buffersink"))
        graph.link_nodes(*nodes).configure()
        return graph


def _aspect(stream: VideoStream) -> float:
    """Return the width of a pixel by its height."""
    return float(stream.sample_aspect_ratio or 1)


def _covering(frame: av.VideoFrame, aspect: float, width: int, height: int) -> str:
    """Return the part of a picture that has the target's shape, in its own pixels."""
    scale = max(width / (frame.width * aspect), height / frame.height)
    wide = min(frame.width, round(width / scale / aspect))
    high = min(frame.height, round(height / scale))
    return f"{wide}:{high}:{(frame.width - wide) // 2}:{(frame.height - high) // 2}:exact=1"


def _turning(degrees: int) -> list[tuple[str, str]]:
    """Return the filters that turn a picture upright; the container says by how much, counter-clockwise."""
    return {
        90: [("transpose", "cclock")],
        180: [("hflip", ""), ("vflip", "")],
        270: [("transpose", "clock")],
    }.get(degrees % 360, [])


#: colour matrices by FFmpeg's number of them (ITU-T H.273); 2 is "not said"
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_HD_HEIGHT = 720
_FULL_RANGE = 2


def _colours(frame: av.VideoFrame) -> str:
    """Return how a picture's colours are to be read; where it does not say, as television does: by its height."""
    by_height = "bt709" if frame.height >= _HD_HEIGHT else "bt601"
    matrix = _MATRICES.get(int(frame.colorspace), by_height)
    full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj")
    return f"in_color_matrix={matrix}:in_range={'pc' if full else 'tv'}"
