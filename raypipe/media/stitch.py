"""One video out of many clips and a track: packets are copied wherever the clips allow it."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from raypipe.errors import DiskFull, MediaError, is_disk_full
from raypipe.film_label import FilmLabel
from raypipe.media.audio import why
from raypipe.media.label import labelled
from raypipe.media.video import TIMESCALE, Planes, encode_clip, open_clip, planes_of, to_planes
from raypipe.models import Size

_TIME_BASE = Fraction(1, TIMESCALE)


class _Signature(NamedTuple):
    """Clips of equal signature can follow each other in one stream without being decoded."""

    codec: str
    width: int
    height: int
    pix_fmt: str
    fps: Fraction
    extradata: bytes


class _Clip(NamedTuple):
    """An open clip of which `frames` are shown."""

    container: InputContainer
    stream: VideoStream
    frames: int


class _Timed(NamedTuple):
    """A packet and the second it is decoded at."""

    at: float
    packet: "Packet[Any]"


def stitch(
    clips: Sequence[tuple[Path, int]],
    track: Path | None,
    out: Path,
    size: Size,
    fps: int,
    scratch: Path,
    encode: bool = True,
    label: FilmLabel | None = None,
) -> int | None:
    """Write an MP4, index in front, of exactly the frames asked for, with the track as its sound.

    A clip that is too long is cut, one that is too short holds its last frame. Packets are copied if all clips share
    codec parameters; if not, those that differ from raypipe's own format are encoded anew at `size` and `fps`, as
    files in `scratch`.

    Args:
        clips: MP4 files, and how many of its first frames the video shows of each.
        track: The sound, an MP4 file; None for a silent video.
        out: The file to write.
        size: Size of clips that are encoded anew.
        fps: Frames a second of clips that are encoded anew.
        scratch: Folder for intermediate files.
        encode: Whether clips may be encoded anew, which takes seconds.
        label: What is to be seen in the corner of every frame, for which all clips are encoded anew.

    Returns:
        How many clips were encoded anew; None, with nothing written, if that is needed and may not be done.

    Raises:
        MediaError: A clip or the track cannot be read.
        DiskFull: There is no room for the video.
    """
    with ExitStack() as opened:
        shown = [_open(path, frames, opened) for path, frames in clips]
        differing = list(range(len(shown))) if label else _differing(shown, size, fps)
        if differing and not encode:
            return None
        for index in differing:
            path = scratch / f"normalised-{index}.mp4"
            pictures = _resampled(shown[index], size, fps)
            with _writing():
                path.write_bytes(
                    encode_clip(labelled(pictures, label, size) if label else pictures, size, fps)
                )
            shown[index] = _open(path, clips[index][1], opened)
        with _writing():
            _write(shown, track, out)
    return len(differing)


@contextmanager
def _writing() -> Iterator[None]:
    """Name what goes wrong with the output before those who opened the clips take it for theirs."""
    try:
        yield
    except (OSError, av.FFmpegError) as error:
        if is_disk_full(error):
            raise DiskFull.because("the video cannot be written", error) from error
        raise MediaError(f"the video cannot be written: {why(error)}") from error


def _open(path: Path, frames: int, opened: ExitStack) -> _Clip:
    return _Clip(*opened.enter_context(open_clip(path)), frames)


def _differing(clips: Sequence[_Clip], size: Size, fps: int) -> list[int]:
    """Indices of the clips that keep the others from being copied."""
    signatures = [_signature(clip.stream) for clip in clips]
    can_be_cut = [_can_be_cut(clip) for clip in clips]
    if len(set(signatures)) == 1 and all(can_be_cut):
        return []
    own = _own_signature(size, fps)
    return [i for i, found in enumerate(zip(signatures, can_be_cut, strict=True)) if found != (own, True)]


def _signature(stream: VideoStream) -> _Signature:
    context = stream.codec_context
    return _Signature(
        context.name,
        stream.width,
        stream.height,
        context.pix_fmt or "",
        stream.average_rate or Fraction(0),
        context.extradata or b"",
    )


def is_own(stream: VideoStream, size: Size, fps: int) -> bool:
    """Tell whether a stream is as raypipe encodes it, so that it can be copied and cut anywhere."""
    return _signature(stream) == _own_signature(size, fps) and not stream.codec_context.has_b_frames


def _own_signature(size: Size, fps: int) -> _Signature:
    black = to_planes(np.zeros((size.height, size.width, 3), np.uint8))
    with open_clip(encode_clip([black], size, fps)) as (_, stream):
        return _signature(stream)


def _can_be_cut(clip: _Clip) -> bool:
    """Tell whether the frames to show are the first to be decoded, so that the rest can be left out undecoded."""
    if clip.stream.frames <= clip.frames or not clip.stream.codec_context.has_b_frames:
        return True
    shown = [packet.pts for packet in clip.container.demux(clip.stream) if packet.pts is not None]
    clip.container.seek(0)
    return sorted(shown)[: clip.frames] == sorted(shown[: clip.frames])


def _resampled(clip: _Clip, size: Size, fps: int) -> Iterator[Planes]:
    """Decode the frames to show, scaled to `size`, each source frame repeated or left out to make `fps`."""
    made = 0
    for frame in clip.container.decode(clip.stream):
        if made >= clip.frames:
            return
        if frame.time is None or frame.time < made / fps - 1e-6:
            continue
        picture = planes_of(frame.reformat(size.width, size.height, "yuv420p"))
        while made <= frame.time * fps + 1e-6 and made < clip.frames:
            yield picture
            made += 1


def _write(clips: Sequence[_Clip], track: Path | None, out: Path) -> None:
    with ExitStack() as opened:
        container = opened.enter_context(
            av.open(str(out), "w", format="mp4", options={"movflags": "faststart"})
        )
        video = container.add_stream_from_template(clips[0].stream)
        video.time_base = _TIME_BASE
        sounds: Iterator[_Timed] = iter(())
        if track is not None:
            sound = opened.enter_context(av.open(str(track), format="mp4"))
            sounds = _audio_packets(sound, container.add_stream_from_template(sound.streams.audio[0]))
        for packet in _interleaved(_video_packets(clips, video), sounds):
            container.mux_one(packet)


def _interleaved(pictures: Iterator[_Timed], sounds: Iterator[_Timed]) -> Iterator["Packet[Any]"]:
    """Put packets in the order of their times, pictures first."""
    waiting = next(sounds, None)
    for at, packet in pictures:
        while waiting is not None and waiting.at < at:
            yield waiting.packet
            waiting = next(sounds, None)
        yield packet
    if waiting is not None:
        yield waiting.packet
    yield from (timed.packet for timed in sounds)


def _video_packets(clips: Sequence[_Clip], target: VideoStream) -> Iterator[_Timed]:
    start = 0
    for container, stream, frames in clips:
        rate, base = stream.average_rate, stream.time_base
        if rate is None or base is None:
            raise MediaError("a clip gives no frame rate")
        ticks, scale = round(TIMESCALE / rate), float(base * TIMESCALE)
        packets = (packet for packet in container.demux(stream) if packet.dts is not None)
        for number, packet in enumerate(islice(packets, frames), start=1):
            held = frames - number if number == stream.frames else 0
            packet.pts = start + round((packet.pts or 0) * scale)
            packet.dts = start + round((packet.dts or 0) * scale)
            packet.duration = (1 + held) * ticks
            packet.time_base = _TIME_BASE
            packet.stream = target
            yield _Timed(packet.dts / TIMESCALE, packet)
        start += frames * ticks


def _audio_packets(sound: InputContainer, target: AudioStream) -> Iterator[_Timed]:
    stream = sound.streams.audio[0]
    scale = float(stream.time_base or 0)
    for packet in sound.demux(stream):
        if packet.dts is not None:
            at = packet.dts * scale
            packet.stream = target
            yield _Timed(at, packet)
