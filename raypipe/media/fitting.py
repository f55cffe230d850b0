"""Pictures of clips are brought upright, to the video's size and into its colours."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any, NamedTuple, cast

import av
import av.filter
import numpy as np
from av.sidedata.sidedata import Type as SideData
from av.video.stream import VideoStream

from raypipe.media.tone import Tone, add_mapping, tone_of
from raypipe.media.video import frame_of, planes_of
from raypipe.models import Size


class Turn(NamedTuple):
    """How a picture is brought upright: first its axes are swapped or not, then it is mirrored or not."""

    swapped: bool = False
    left_to_right: bool = False
    upside_down: bool = False


def turn_of(frame: av.VideoFrame) -> Turn:
    """Read how a picture is to be shown from the matrix that its container gives (ISO/IEC 14496-12, 8.3.2.3).

    What is between right angles is shown as the nearest of them.
    """
    matrix = cast(Mapping[SideData, Any], frame.side_data).get(SideData.DISPLAYMATRIX)
    if matrix is None:
        return Turn()
    # a point (x, y) goes to (a x + c y, b x + d y)
    a, b, _, c, d, *_ = (int(value) for value in np.frombuffer(bytes(matrix), np.int32))
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Turn(False, a < 0, d < 0)
    return Turn(True, c < 0, b < 0)


class Fitter:
    """Brings pictures to a size; each call may bring one of another shape."""

    def __init__(self, size: Size, stream: VideoStream) -> None:
        self._size = size
        #: width of a pixel by its height
        self._aspect = float(stream.sample_aspect_ratio or 1)
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
            turn_of(frame),
            tone_of(frame),
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
        graph, turn, tone = av.filter.Graph(), turn_of(frame), tone_of(frame)
        width, height = self._size.width, self._size.height
        if turn.swapped:
            width, height = height, width
        nodes: list[Any] = [
            graph.add_buffer(
                width=frame.width,
                height=frame.height,
                format=frame.format,
                time_base=Fraction(1, 90_000),
            ),
            graph.add("crop", _covering(frame, self._aspect, width, height)),
            *_scaling(graph, f"{width}:{height}:flags=lanczos:{_colours(frame, tone)}", tone),
            *[graph.add(name) for name in _turning(turn)],
            graph.add("format", "yuv420p"),
            graph.add("buffersink"),
        ]
        graph.link_nodes(*nodes).configure()
        return graph


def _covering(frame: av.VideoFrame, aspect: float, width: int, height: int) -> str:
    """Return the part of a picture that has the target's shape, in its own pixels."""
    scale = max(width / (frame.width * aspect), height / frame.height)
    wide = min(frame.width, round(width / scale / aspect))
    high = min(frame.height, round(height / scale))
    return f"{wide}:{high}:{(frame.width - wide) // 2}:{(frame.height - high) // 2}:exact=1"


def _scaling(graph: av.filter.Graph, arguments: str, tone: Tone | None) -> list[Any]:
    """Return the filters that scale pictures and bring them into BT.709, by way of RGB where their light is mapped."""
    ours = "out_color_matrix=bt709:out_range=tv"
    if tone is None:
        return [graph.add("scale", f"{arguments}:{ours}")]
    as_rgb = [graph.add("scale", arguments), graph.add("format", "gbrp16le")]
    return [*as_rgb, add_mapping(graph, tone), graph.add("scale", ours)]


def _turning(turn: Turn) -> list[str]:
    """Return the filters that bring a picture upright."""
    swapping = ["transpose"] if turn.swapped else []
    return [*swapping, *["hflip"] * turn.left_to_right, *["vflip"] * turn.upside_down]


#: colour matrices by FFmpeg's number of them (ITU-T H.273); 2 is "not said"
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_HD_HEIGHT = 720
_FULL_RANGE = 2


def _colours(frame: av.VideoFrame, tone: Tone | None) -> str:
    """Return how a picture's colours are to be read; where it does not say, as television does: by its height."""
    by_height = "bt709" if frame.height >= _HD_HEIGHT else "bt601"
    matrix = _MATRICES.get(int(frame.colorspace), by_height if tone is None else "bt2020")
    full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj")
    return f"in_color_matrix={matrix}:in_range={'pc' if full else 'tv'}"
