"""One video out of many clips and a track: packets are copied wherever the clips allow it."""

import heapq
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.packet import Packet
from av.video.stream import VideoStream

from raypipe.errors import MediaError
from raypipe.media.video import (
    TIMESCALE,
    Planes,
    encode_clip,
    open_clip,
    planes_of,
    to_planes,
)
from raypipe.models import Size


_TIME_BASE = Fraction(1, TIMESCALE)


class Cut(NamedTuple):
    """A clip and how many of its frames the video shows, from the first on."""

    path: Path
    frames: int


class Stitched(NamedTuple):
    """What stitching made, and how many clips had to be encoded anew for it."""

    frames: int
    normalised: int


class _Signature(NamedTuple):
    """Clips of equal signature can follow each other in one stream without being decoded."""

    codec: str
    width: int
    height: int
    pix_fmt: str
    fps: Fraction
    extradata: bytes


def stitch(cuts: Sequence[Cut], track: Path | None, out: Path, size: Size, fps: int) -> Stitched:
    """Write an MP4, index in front, of exactly the frames asked for, with the track as its sound.

    A clip that is too long is cut, one that is too short holds its last frame. Packets are copied if all clips share
    codec parameters; if not, those that differ from raypipe's own format are encoded anew at `size` and `fps`.

    Raises:
        MediaError: A clip or the track cannot be read.
    """
    with tempfile.TemporaryDirectory() as scratch:
        ready = _alike(cuts, Path(scratch), size, fps)
        try:
            _write(ready, track, out)
        except av.FFmpegError as error:
            raise MediaError(f"the video cannot be written: {error}") from error
    changed = sum(after.path != before.path for after, before in zip(ready, cuts, strict=True))
    return Stitched(frames=sum(cut.frames for cut in cuts), normalised=changed)


def _alike(cuts: Sequence[Cut], scratch: Path, size: Size, fps: int) -> list[Cut]:
    """Encode anew the clips that keep the others from being copied."""
    found = [_inspect(cut) for cut in cuts]
    agreed = len({signature for signature, _ in found}) == 1 and all(cuttable for _, cuttable in found)
    if agreed:
        return list(cuts)
    own = _own_signature(size, fps)
    return [
        cut if (signature, cuttable) == (own, True) else _normalise(cut, scratch / f"{index}.mp4", size, fps)
        for index, (cut, (signature, cuttable)) in enumerate(zip(cuts, found, strict=True))
    ]


def _inspect(cut: Cut) -> tuple[_Signature, bool]:
    """Give a clip's signature, and whether frames can be left off its end without decoding it.

    They can if the frames to show are also the first to be decoded; with B-frames they may not be.
    """
    with open_clip(cut.path) as (container, stream):
        signature = _signature(stream)
        if stream.frames <= cut.frames:
            return signature, True
        shown = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
        return signature, sorted(shown)[: cut.frames] == sorted(shown[: cut.frames])


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


def _own_signature(size: Size, fps: int) -> _Signature:
    black = to_planes(np.zeros((size.height, size.width, 3), np.uint8))
    with open_clip(encode_clip([black], size, fps)) as (_, stream):
        return _signature(stream)


def _normalise(cut: Cut, path: Path, size: Size, fps: int) -> Cut:
    path.write_bytes(encode_clip(_resampled(cut, size, fps), size, fps))
    return Cut(path, cut.frames)


def _resampled(cut: Cut, size: Size, fps: int) -> Iterator[Planes]:
    """Decode the frames to show, scaled to `size`, each source frame repeated or left out to make `fps`."""
    made = 0
    with open_clip(cut.path) as (container, stream):
        for frame in container.decode(stream):
            if made >= cut.frames:
                return
            if frame.time is None or frame.time < made / fps - 1e-6:
                continue
            scaled = frame.reformat(size.width, size.height, "yuv420p")
            picture = planes_of(scaled)
            while made <= frame.time * fps + 1e-6 and made < cut.frames:
                yield picture
                made += 1


def _write(cuts: Sequence[Cut], track: Path | None, out: Path) -> None:
    with av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}) as container:
        with open_clip(cuts[0].path) as (_, template):
            video = container.add_stream_from_template(template)
        video.time_base = _TIME_BASE
        if track is None:
            streams = [_video_packets(cuts, video)]
        else:
            with av.open(str(track)) as sound:
                audio = container.add_stream_from_template(sound.streams.audio[0])
            streams = [_video_packets(cuts, video), _audio_packets(track, audio)]
        for _, _, packet in heapq.merge(*streams, key=lambda item: item[:2]):
            container.mux_one(packet)


def _video_packets(cuts: Sequence[Cut], target: VideoStream) -> Iterator[tuple[float, int, Packet]]:
    start = 0
    for cut in cuts:
        with open_clip(cut.path) as (container, stream):
            rate, base = stream.average_rate, stream.time_base
            if rate is None or base is None:
                raise MediaError(f"the clip {cut.path.name} gives no frame rate")
            ticks, scale = round(TIMESCALE / rate), float(base * TIMESCALE)
            packets = (packet for packet in container.demux(stream) if packet.dts is not None)
            for number, packet in enumerate(islice(packets, cut.frames), start=1):
                packet.pts = start + round(packet.pts * scale)
                packet.dts = start + round(packet.dts * scale)
                held = cut.frames - number if number == stream.frames else 0
                packet.duration = (1 + held) * ticks
                packet.time_base = _TIME_BASE
                packet.stream = target
                yield packet.dts / TIMESCALE, 0, packet
            start += cut.frames * ticks


def _audio_packets(track: Path, target: av.AudioStream) -> Iterator[tuple[float, int, Packet]]:
    with av.open(str(track)) as container:
        stream = container.streams.audio[0]
        for packet in container.demux(stream):
            if packet.dts is None or packet.time_base is None:
                continue
            at = float(packet.dts * packet.time_base)
            packet.stream = target
            yield at, 1, packet
