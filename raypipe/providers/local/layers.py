"""Layers of a scene, kept as yuv planes ready to be framed, and what moves by itself in them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from raypipe.media.video import to_planes
from raypipe.providers.local.noise import Field, smoothstep

TWO_PI = 2 * math.pi
OVERSAMPLE = 4

#: pictures of Y, and of U and V at half the size
Frame = tuple[Image.Image, Image.Image, Image.Image]


@dataclass(frozen=True)
class Motion:
    """How a layer moves by itself, in canvas pixels and seconds."""

    speed: tuple[float, float] = (0.0, 0.0)
    #: distance after which a drifting texture repeats; 0 for things that do not repeat
    wrap: float = 0.0
    #: height of an up and down movement and its period
    bob: float = 0.0
    period: float = 4.0
    phase: float = 0.0

    def at(self, t: float) -> tuple[float, float]:
        """Offset of the layer at a time."""
        x, y = self.speed[0] * t, self.speed[1] * t
        if self.wrap:
            x = x % self.wrap - self.wrap
        return x, y + self.bob * math.sin(TWO_PI * (t / self.period + self.phase))


STILL = Motion()


@dataclass(frozen=True)
class Pulse:
    """How the opacity of a layer changes: by `amount` (0 to 1) over `period` seconds, or in flashes."""

    amount: float = 0.3
    period: float = 3.0
    phase: float = 0.0
    flash: bool = False

    def at(self, t: float) -> float:
        """Opacity at a time, from 0 to 1."""
        turn = t / self.period + self.phase
        if self.flash:
            beat = turn % 1.0 * self.period
            return (
                max(math.exp(-beat * 9), 0.7 * math.exp(-((beat - 0.22) ** 2) * 500)) if beat < 0.8 else 0.0
            )
        wave = 0.6 * math.sin(TWO_PI * turn) + 0.4 * math.sin(TWO_PI * turn * 2.63 + 1.0)
        return 1.0 - self.amount * (0.5 + 0.5 * wave)


@dataclass(frozen=True)
class Shimmer:
    """Light that dances where `mask` is bright: two textures that pass over each other."""

    mask: Image.Image
    x: int
    y: int
    textures: tuple[Image.Image, Image.Image]
    #: size of a texture before it repeats, and speeds of both in stored pixels a second
    tile: int
    speeds: tuple[tuple[float, float], tuple[float, float]]

    def light(self, t: float) -> Image.Image:
        """What to add to the luma at a time."""
        first, second = (
            self._window(texture, speed, t) for texture, speed in zip(self.textures, self.speeds, strict=True)
        )
        return ImageChops.multiply(ImageChops.multiply(first, second), self.mask)

    def _window(self, texture: Image.Image, speed: tuple[float, float], t: float) -> Image.Image:
        x, y = int(speed[0] * t) % self.tile, int(speed[1] * t) % self.tile
        return texture.crop((x, y, x + self.mask.width, y + self.mask.height))


def shimmer(
    mask: Field, x: int, y: int, texture: Field, speeds: tuple[tuple[float, float], tuple[float, float]]
) -> Shimmer:
    """Make a shimmer of a mask and a square tileable texture, both running from 0 to 1."""
    mask, x, y = _bounded(mask, x, y)
    height, width = mask.shape
    tile = texture.shape[0]
    other = np.roll(texture[::-1, ::-1], (tile // 3, tile // 5), axis=(0, 1))
    return Shimmer(
        _grey(mask), x, y, (_tiled(texture, width, height), _tiled(other, width, height)), tile, speeds
    )


def _bounded(mask: Field, x: int, y: int) -> tuple[Field, int, int]:
    """Cut the dark edges off a mask."""
    rows, columns = (np.flatnonzero((mask > 0.01).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return mask[:1, :1], x, y
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return part, x + int(columns[0]), y + int(rows[0])


def _tiled(texture: Field, width: int, height: int) -> Image.Image:
    tile = texture.shape[0]
    return _grey(np.tile(texture, (height // tile + 2, width // tile + 2))[: height + tile, : width + tile])


def _grey(field: Field) -> Image.Image:
    return Image.fromarray(np.clip(field * 255.0, 0, 255).astype(np.uint8))


@dataclass(frozen=True)
class Ripple:
    """Water: the rows from `top` on are fetched from rows nearby, as waves lift what they mirror."""

    top: int
    #: y, u, v with OVERSAMPLE times as many rows as are shown
    planes: tuple[NDArray[np.uint8], ...]
    strength: float

    def rows(self, plane: int, t: float) -> Image.Image:
        """The rows of one plane at a time."""
        source = self.planes[plane]
        count = len(source) // OVERSAMPLE
        near = (np.arange(count, dtype=np.float32) + 0.5) / count
        depth = 1.0 / (near + 0.06)
        wave = np.sin(depth * 5.2 - near * 9.0 + t * 1.9) + 0.7 * np.sin(depth * 9.1 + near * 31.0 - t * 2.7)
        lift = wave * (0.08 + near) * self.strength * (1.0 if plane == 0 else 0.5)
        index = np.clip((np.arange(count) + lift + 0.5) * OVERSAMPLE, 0, len(source) - 1)
        return Image.fromarray(source[index.astype(np.intp)])


@dataclass(frozen=True)
class Layer:
    """A painted layer: where it lies on the canvas, how far away it is, and how it moves.

    A layer of one colour keeps it in `flat`, and its planes are empty pictures that only tell its size.
    """

    y: Image.Image
    u: Image.Image
    v: Image.Image
    #: opacity at luma and at chroma size; None for an opaque layer
    alpha: Image.Image | None
    alpha_half: Image.Image | None
    #: top left corner on the canvas, in canvas pixels
    left: float
    top: float
    #: 0 for infinitely far, 1 for where the camera's moves are measured, more for nearer still
    depth: float
    #: canvas pixels for each stored pixel
    grain: int = 1
    #: canvas row from which on it is opaque down to the canvas's edge; None where it is nowhere so
    solid: float | None = None
    motion: Motion = STILL
    pulse: Pulse | None = None
    shimmers: tuple[Shimmer, ...] = ()
    ripple: Ripple | None = None
    flat: tuple[int, int, int] | None = None

    def planes(self, t: float) -> Frame:
        """The planes at a time, with what shimmers and ripples in them."""
        y, u, v = self.y, self.u, self.v
        if self.ripple is not None:
            y, u, v = (_rippled(plane, self.ripple, index, t) for index, plane in enumerate((y, u, v)))
        if self.shimmers:
            y = _lit(y if self.ripple else y.copy(), self.shimmers, t)
        return y, u, v

    def opacity(self, t: float) -> tuple[Image.Image, Image.Image] | None:
        """The masks at luma and chroma size at a time; None for an opaque layer."""
        if self.alpha is None or self.alpha_half is None:
            return None
        if self.pulse is None:
            return self.alpha, self.alpha_half
        table = [int(level * self.pulse.at(t)) for level in range(256)]
        return self.alpha.point(table), self.alpha_half.point(table)


def _rippled(plane: Image.Image, ripple: Ripple, index: int, t: float) -> Image.Image:
    out = plane.copy()
    out.paste(ripple.rows(index, t), (0, ripple.top if index == 0 else ripple.top // 2))
    return out


def _lit(y: Image.Image, shimmers: Sequence[Shimmer], t: float) -> Image.Image:
    for one in shimmers:
        box = (one.x, one.y, one.x + one.mask.width, one.y + one.mask.height)
        y.paste(ImageChops.add(y.crop(box), one.light(t)), box)
    return y


class Overlay(Protocol):
    """Something drawn on each finished frame."""

    def draw(self, frame: Frame, t: float) -> None:
        """Draw on the pictures of Y, U and V what there is to see at time t, in seconds."""


@dataclass(frozen=True)
class Scene:
    """All layers from back to front, and what falls or flies before them on the screen."""

    #: size of the frame in pixels
    width: int
    height: int
    #: margin of the canvas around the frame, in pixels, left or right and top or bottom
    margin: tuple[int, int]
    layers: tuple[Layer, ...]
    overlays: tuple[Overlay, ...] = ()


def layer_of(
    rgb: Image.Image, alpha: Image.Image | None, left: float, top: float, depth: float, grain: int = 1
) -> Layer:
    """Make a layer of a painted RGB picture, with an opacity of the same size."""
    rgb, alpha = _even(rgb), None if alpha is None else _even(alpha)
    planes = to_planes(np.asarray(rgb))
    half = None if alpha is None else alpha.reduce(2)
    y, u, v = (Image.fromarray(np.ascontiguousarray(plane)) for plane in planes)
    return Layer(_dithered(y), u, v, alpha, half, left, top, depth, grain, _solid_row(alpha, top, grain))


def _even(picture: Image.Image) -> Image.Image:
    """Cut a picture to even sides, as half-size chroma needs."""
    size = (max(2, picture.width // 2 * 2), max(2, picture.height // 2 * 2))
    return picture if picture.size == size else picture.crop((0, 0, *size))


def _solid_row(alpha: Image.Image | None, top: float, grain: int) -> float | None:
    """The canvas row from which on a mask is opaque; None if its last row is not."""
    if alpha is None:
        return top
    open_rows = np.flatnonzero(np.asarray(alpha).min(axis=1) < 255)
    last = int(open_rows[-1]) + 1 if len(open_rows) else 0
    return top + (last + 2) * grain if last < alpha.height - 2 else None


def layer_of_light(
    colour: tuple[int, int, int], alpha: Image.Image, left: float, top: float, depth: float, grain: int = 1
) -> Layer:
    """Make a layer of one 8-bit RGB colour and an opacity; it is never taken for solid."""
    alpha = _even(alpha)
    dot = to_planes(np.full((2, 2, 3), colour, np.uint8))
    flat = (int(dot.y[0, 0]), int(dot.u[0, 0]), int(dot.v[0, 0]))
    half = alpha.reduce(2)
    return Layer(alpha, half, half, alpha, half, left, top, depth, grain, flat=flat)


def strips(layer: Layer, gap: int = 24) -> list[Layer]:
    """Cut a layer's empty edges off, and part it where at least `gap` columns are empty.

    Layers that shimmer, ripple or repeat sideways stay whole.
    """
    if layer.alpha is None or layer.shimmers or layer.ripple:
        return [layer]
    used = np.flatnonzero(np.asarray(layer.alpha).max(axis=0))
    cuts = np.flatnonzero(np.diff(used) > gap)
    if layer.motion.wrap or len(cuts) == 0:
        return [_trimmed(layer)]
    middles = [(used[cut] + used[cut + 1]) / 2 for cut in cuts]
    edges = [0, *(int(middle) // 2 * 2 for middle in middles), layer.y.width]
    return [_trimmed(_cropped(layer, (start, 0, end, layer.y.height))) for start, end in pairwise(edges)]


def _trimmed(layer: Layer) -> Layer:
    if layer.alpha is None:
        return layer
    found = layer.alpha.getbbox() or (0, 0, 2, 2)
    left, top, right, bottom = (max(0, edge + pad) for edge, pad in zip(found, (-2, -2, 3, 3), strict=True))
    return _cropped(layer, (left, top, right, bottom))


def cropped(layer: Layer, box: tuple[float, float, float, float]) -> Layer:
    """Keep only what lies within left, top, right, bottom on the canvas."""
    corner = (layer.left, layer.top)
    edges = [(edge - corner[index % 2]) / layer.grain for index, edge in enumerate(box)]
    left, top, right, bottom = (max(0, int(edge)) for edge in edges)
    return _cropped(layer, (left, top, right, bottom))


def _cropped(layer: Layer, box: tuple[int, int, int, int]) -> Layer:
    left, top, right, bottom = box
    left, right = (0, layer.y.width) if layer.motion.wrap else (left, min(right, layer.y.width))
    left, top, right, bottom = (
        left // 2 * 2,
        top // 2 * 2,
        right // 2 * 2,
        min(bottom, layer.y.height) // 2 * 2,
    )
    whole, half = (left, top, right, bottom), (left // 2, top // 2, right // 2, bottom // 2)
    alpha, alpha_half = layer.alpha, layer.alpha_half
    return replace(
        layer,
        y=layer.y.crop(whole),
        u=layer.u.crop(half),
        v=layer.v.crop(half),
        alpha=None if alpha is None else alpha.crop(whole),
        alpha_half=None if alpha_half is None else alpha_half.crop(half),
        left=layer.left + left * layer.grain,
        top=layer.top + top * layer.grain,
    )


def _dithered(y: Image.Image) -> Image.Image:
    """Hide the steps of flat gradients under a grain of one level."""
    noise = np.random.default_rng(11).integers(0, 3, (128, 128), dtype=np.uint8)
    tiled = np.tile(noise, (y.height // 128 + 1, y.width // 128 + 1))[: y.height, : y.width]
    return ImageChops.add(y, Image.fromarray(np.ascontiguousarray(tiled)), 1.0, -1)


def with_ripple(layer: Layer, top: int, strength: float) -> Layer:
    """Let all below a row of an opaque layer move as water does; `strength` in pixels at the near edge."""
    top += top % 2
    planes = tuple(
        _oversampled(plane, top if index == 0 else top // 2)
        for index, plane in enumerate((layer.y, layer.u, layer.v))
    )
    return replace(layer, ripple=Ripple(top, planes, strength))


def _oversampled(plane: Image.Image, top: int) -> NDArray[np.uint8]:
    part = plane.crop((0, top, plane.width, plane.height))
    return np.asarray(part.resize((part.width, part.height * OVERSAMPLE), Image.Resampling.BILINEAR))


def sparkle_texture(noise: Field, low: float = 0.45, high: float = 0.85) -> Field:
    """Turn noise into islands of light."""
    return smoothstep(noise, low, high)
