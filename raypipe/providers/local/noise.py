"""Smooth random fields and lines: the raw material of clouds, ridges, water and stone."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: real numbers of shape (rows, columns)
Field = NDArray[np.floating[Any]]
#: real numbers, one for each column
Line = NDArray[np.floating[Any]]


def generator(*key: object) -> np.random.Generator:
    """A random generator that depends on nothing but the key's text."""
    digest = hashlib.sha256("\x1f".join(str(part) for part in key).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], "big"))


def upsample(field: Field, width: int, height: int, pad: int = 0) -> Field:
    """Enlarge a field smoothly to the shape (height, width), leaving `pad` cells off each edge."""
    picture = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    box = (pad, pad, field.shape[1] - pad, field.shape[0] - pad)
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box=box))


def fractal(
    rng: np.random.Generator,
    width: int,
    height: int,
    cells: tuple[float, float] = (4, 3),
    octaves: int = 5,
    gain: float = 0.5,
) -> Field:
    """Fractal noise of shape (height, width), from 0 to 1, that tiles in both directions.

    Args:
        rng: Where the randomness comes from.
        width: Columns.
        height: Rows.
        cells: Number of lattice cells across and down in the coarsest octave.
        octaves: Number of octaves; each halves the size of the cells.
        gain: Strength of an octave relative to the one before.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        columns = max(2, round(cells[0] * 2**octave))
        rows = max(2, round(cells[1] * 2**octave))
        if octave and (columns > width or rows > height):
            break
        lattice = rng.standard_normal((rows, columns)).astype(np.float32)
        total += gain**octave * upsample(np.pad(lattice, 2, mode="wrap"), width, height, pad=2)
    return normal(total)


def normal(field: Field) -> Field:
    """Stretch a field to the range 0 to 1."""
    low, high = float(field.min()), float(field.max())
    return np.asarray((field - low) / max(high - low, 1e-6))


def smoothstep(field: Field, low: float, high: float) -> Field:
    """Map a field so that it rises smoothly from 0 at `low` to 1 at `high`; `low` may be the greater one."""
    t = np.clip((field - low) / (high - low), 0.0, 1.0).astype(np.float32)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def ridge_line(
    rng: np.random.Generator,
    width: int,
    features: float,
    octaves: int = 6,
    gain: float = 0.5,
    sharp: float = 0.0,
) -> Line:
    """A random line of `width` heights, from 0 to 1.

    Args:
        rng: Where the randomness comes from.
        width: Number of heights.
        features: Number of large bumps across.
        octaves: Number of octaves of detail.
        gain: Strength of an octave relative to the one before.
        sharp: 0 for rounded hills, 1 for pointed peaks.
    """
    total = np.zeros(width, np.float32)
    for octave in range(octaves):
        knots = max(2, round(features * 2**octave))
        if knots > width:
            break
        values = rng.random(knots + 3)
        position = np.linspace(0, knots, width) + rng.random()
        total += gain**octave * (
            (1 - sharp) * _curved(values, position) + sharp * _straight(values, position)
        )
    return normal(total)


def _straight(values: NDArray[np.float64], position: NDArray[np.float64]) -> Line:
    return np.interp(position, np.arange(len(values)), values).astype(np.float32)


def _curved(values: NDArray[np.float64], position: NDArray[np.float64]) -> Line:
    cell = np.floor(position).astype(int)
    t = position - cell
    t = t * t * (3 - 2 * t)
    return np.asarray(values[cell] * (1 - t) + values[np.minimum(cell + 1, len(values) - 1)] * t, np.float32)


def to_picture(field: Field) -> Image.Image:
    """Make an 8-bit grey picture of a field that runs from 0 to 1, dithered against banding."""
    height, width = field.shape
    noise = np.random.default_rng(7).random((64, 64), dtype=np.float32)
    tiled = np.tile(noise, (height // 64 + 1, width // 64 + 1))[:height, :width]
    return Image.fromarray(np.clip(field * 255.0 + tiled, 0, 255).astype(np.uint8))
