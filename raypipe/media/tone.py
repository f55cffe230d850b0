"""Pictures of more light and more colours than ours are mapped into BT.709, by a table that FFmpeg's `lut3d` applies.

White of paper, 203 cd/m2 by ITU-R BT.2408, comes close to our white; what is brighter is compressed, what is half as
bright or darker keeps its light. What is brighter than 1,000 cd/m2 is as bright as that.
"""

import tempfile
from functools import cache
from typing import Any, NamedTuple

import av
import av.filter
import numpy as np
from numpy.typing import NDArray

Light = NDArray[np.float64]

#: cd/m2 of paper white, and the most that is told apart
PAPER_WHITE, BRIGHTEST = 203.0, 1_000.0
#: light up to which all is kept, by that of paper white
_KNEE = 0.5
#: of a display of BT.709 (ITU-R BT.1886)
_GAMMA = 2.4
#: FFmpeg's numbers of transfer functions and primaries (ITU-T H.273)
_PQ, _HLG = 16, 18
_BT709, _BT2020, _P3 = 1, 9, 12
#: points of the table along each axis
_POINTS = 33

#: linear light of primaries into that of BT.709, which has the same white
_INTO_BT709 = {
    _BT709: np.eye(3),
    _BT2020: np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]]),
    _P3: np.array([[1.2249, -0.2247, 0.0], [-0.0420, 1.0419, 0.0], [-0.0197, -0.0786, 1.0979]]),
}


class Tone(NamedTuple):
    """How the numbers of a picture stand for light, by FFmpeg's numbers."""

    transfer: int
    primaries: int


def tone_of(frame: av.VideoFrame) -> Tone | None:
    """Return how a picture's numbers stand for light where it is to be mapped; None where it is as ours."""
    transfer, primaries = int(frame.color_trc), int(frame.color_primaries)
    if transfer in (_PQ, _HLG):
        return Tone(transfer, primaries if primaries in _INTO_BT709 else _BT2020)
    return Tone(_BT709, primaries) if primaries in (_BT2020, _P3) else None


def mapped(codes: Light, tone: Tone) -> Light:
    """Map red, green and blue, each from 0 to 1 in an array of shape (n, 3), into BT.709."""
    light = _LIGHT.get(tone.transfer, _sdr_light)(codes) @ _INTO_BT709[tone.primaries].T
    light = np.maximum(light, 0.0)
    if tone.transfer in _LIGHT:
        brightest = np.maximum(light.max(axis=1, keepdims=True), 1e-9)
        light = light * (_compressed(brightest) / brightest)
    return np.asarray(np.minimum(light, 1.0) ** (1 / _GAMMA))


def add_mapping(graph: av.filter.Graph, tone: Tone) -> Any:
    """Add the filter that maps pictures of RGB into BT.709 to a graph."""
    with tempfile.NamedTemporaryFile("w", suffix=".cube") as file:
        file.write(_cube(tone))
        file.flush()
        return graph.add("lut3d", file=file.name, interp="tetrahedral")


@cache
def _cube(tone: Tone) -> str:
    """Write a mapping as a table in the format .cube, red counting fastest."""
    steps = np.linspace(0.0, 1.0, _POINTS)
    blue, green, red = np.meshgrid(steps, steps, steps, indexing="ij")
    colours = mapped(np.stack([red, green, blue], axis=-1).reshape(-1, 3), tone)
    rows = "\n".join(f"{red:.5f} {green:.5f} {blue:.5f}" for red, green, blue in colours.tolist())
    return f"LUT_3D_SIZE {_POINTS}\n{rows}\n"


def _compressed(light: Light) -> Light:
    """Compress light above the knee so that the brightest becomes 1; the curve has no corner."""
    room = 1 - _KNEE
    over, most = (np.maximum(light, _KNEE) - _KNEE) / room, (BRIGHTEST / PAPER_WHITE - _KNEE) / room
    compressed = _KNEE + room * over * (1 + over / most**2) / (1 + over)
    return np.where(light <= _KNEE, light, compressed)


def _pq_light(codes: Light) -> Light:
    """Return the light of PQ's codes (SMPTE ST 2084), by that of paper white."""
    root = codes ** (1 / 78.84375)
    light = (np.maximum(root - 0.8359375, 0.0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)
    return np.asarray(10_000 * light / PAPER_WHITE)


def _hlg_light(codes: Light) -> Light:
    """Return the light of HLG's codes on a display of 1,000 cd/m2 (ITU-R BT.2100), by that of paper white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(codes <= 0.5, codes**2 / 3, (np.exp((codes - c) / a) + b) / 12)
    luminance = scene @ np.array([0.2627, 0.6780, 0.0593])
    return np.asarray(1_000 * scene * luminance[:, None] ** 0.2 / PAPER_WHITE)


def _sdr_light(codes: Light) -> Light:
    return np.asarray(codes**_GAMMA)


_LIGHT = {_PQ: _pq_light, _HLG: _hlg_light}
