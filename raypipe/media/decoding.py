"""Decoding past what is damaged: a packet that cannot be decoded costs what is in it, and not the delivery."""

import itertools
import logging
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from av.codec.context import Flags
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

logger = logging.getLogger(__name__)

#: of a delivery's packets or seconds the part that may be missing, less than which it is still worth using
MOST_MISSING = 1 / 3
#: of a picture the part that may be without what it was to be made of, which FFmpeg fills with grey
MOST_GREY = 0.05
#: width and height at which that is looked for, the grey in RGB, and by how much it may differ
_LOOK, _GREY, _GREY_SLACK = (160, 90), 129, 5


class PacketDecoder:
    """Decodes the packets of one stream, and counts those that are damaged."""

    def __init__(self) -> None:
        self.packets = self.damaged = 0

    def decode(self, packet: "Packet[Any]") -> list[Any] | None:
        """Return the frames that a packet gives; None if it is damaged."""
        self.packets += packet.size > 0
        try:
            return list(packet.decode())
        except av.FFmpegError as error:
            self.damaged += 1
            logger.debug("A packet at %s is damaged: %s", packet.pts, error)
            return None

    def sounds(self, packets: Iterable["Packet[Any]"]) -> Iterator[av.AudioFrame | None]:
        """Decode packets of sound; None stands for each that is damaged."""
        for packet in packets:
            frames = self.decode(packet)
            yield from [None] if frames is None else frames

    @property
    def is_useless(self) -> bool:
        """Tell whether so much is damaged that the rest is not worth using."""
        return self.damaged > 0 and self.damaged >= self.packets * MOST_MISSING


def packets_of(container: InputContainer, *streams: Any) -> Iterator["Packet[Any]"]:
    """Read packets of some streams, of all if none are named, to where the container can be read no further."""
    try:
        yield from container.demux(*streams)
    except av.FFmpegError as error:
        logger.warning("A delivery cannot be read to its end: %s", error)


class Pictures:
    """The pictures of a clip that can be decoded, progressive, and what is lost between them."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        self._container, self._stream = container, stream
        self._decoder = PacketDecoder()
        self._packet_times: set[int] = set()
        self._picture_times: set[int] = set()
        self._ended = False
        #: the last picture that could be shown, and how many since could not, as they lack what they are made of
        self._shown: av.VideoFrame | None = None
        self._withheld = 0
        #: time of the container at which the last packet of all streams ends, in seconds
        self.reached = 0.0

    def __iter__(self) -> Iterator[av.VideoFrame]:
        context = self._stream.codec_context
        context.thread_count = 1  # each further one would hold pictures of its own
        context.flags |= Flags.output_corrupt  # of HEVC nothing came otherwise until the next key frame
        return progressive(self._decoded())

    def _decoded(self) -> Iterator[av.VideoFrame]:
        for packet in packets_of(self._container):
            if packet.pts is not None and packet.time_base:
                self.reached = max(
                    self.reached, float((packet.pts + (packet.duration or 0)) * packet.time_base)
                )
            if packet.stream is self._stream:
                pictures = self._decoder.decode(packet)
                self._note(packet, is_damaged=pictures is None)
                yield from self._noted(pictures or ())
        yield from self._noted(self._last())
        self._ended = True

    def _last(self) -> list[av.VideoFrame]:
        """Return what the decoder still holds where the container broke off; at a proper end that has come already."""
        try:
            return list(self._stream.decode(None))
        except (av.FFmpegError, EOFError):
            return []

    def _note(self, packet: "Packet[Any]", is_damaged: bool) -> None:
        """Remember a packet whose picture is to be shown: before the first key frame there is none."""
        begins = packet.is_keyframe or is_damaged or bool(self._packet_times)
        if begins and packet.pts is not None and not packet.is_discard:
            self._packet_times.add(packet.pts)

    def _noted(self, pictures: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for picture in pictures:
            if picture.is_corrupt and not self._is_whole(picture):
                self._withheld += 1
                continue
            if picture.pts is not None:
                self._picture_times.add(picture.pts)
            self._shown = picture
            yield picture

    def _is_whole(self, picture: av.VideoFrame) -> bool:
        """Tell whether a picture goes on from the one before, though something is lost that it was to be made of."""
        return self._shown is not None and _grey_of(picture) <= _grey_of(self._shown) + MOST_GREY

    @property
    def lost(self) -> int:
        """Count the pictures that damage has cost so far."""
        is_damaged = self._decoder.damaged or self._withheld
        return len(self._due() - self._picture_times) if is_damaged else 0

    @property
    def is_useless(self) -> bool:
        """Tell whether so many are lost that the rest is not worth using."""
        return self.lost > 0 and self.lost >= len(self._due()) * MOST_MISSING

    def _due(self) -> set[int]:
        """Return the times of the pictures that should have come by now: decoders are some pictures behind."""
        last = math.inf if self._ended else max(self._picture_times, default=-math.inf)
        return {time for time in self._packet_times if time <= last}


def _grey_of(picture: av.VideoFrame) -> float:
    """Return the part of a picture that is as grey as what FFmpeg puts where something is missing."""
    width, height = _LOOK
    small = picture.to_ndarray(format="rgb24", width=width, height=height).astype(np.int16)
    return float((np.abs(small - _GREY).max(axis=2) <= _GREY_SLACK).mean())


def progressive(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Make whole pictures of those that are interlaced, and leave the others as they are."""
    runs = itertools.groupby(
        frames, lambda frame: (frame.interlaced_frame, frame.width, frame.height, frame.format.name)
    )
    for (interlaced, *_), run in runs:
        yield from _deinterlaced(run) if interlaced else run


def _deinterlaced(frames: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
    """Make one whole picture of the two fields of each frame; all frames are of one shape."""
    graph = None
    for frame in frames:
        graph = graph or _deinterlacer(frame)
        graph.push(frame)
        yield from _pulled(graph)
    if graph is not None:
        graph.push(None)
        yield from _pulled(graph)


def _deinterlacer(frame: av.VideoFrame) -> av.filter.Graph:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width,
        height=frame.height,
        format=frame.format,
        time_base=frame.time_base or Fraction(1, 90_000),
    )
    graph.link_nodes(source, graph.add("bwdif", "mode=send_frame"), graph.add("buffersink")).configure()
    return graph


def _pulled(graph: av.filter.Graph) -> Iterator[av.VideoFrame]:
    """Take what a graph has ready."""
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, EOFError):
            return
        assert isinstance(frame, av.VideoFrame)  # noqa: S101 - it has no other sink
        yield frame
