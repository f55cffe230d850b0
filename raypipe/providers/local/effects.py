"""What falls, flies or flashes in front of a finished frame. Everything is a pure function of time."""

import math
from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from raypipe.providers.local.layers import Frame
from raypipe.providers.local.noise import Field, to_picture
from raypipe.providers.local.palette import Colour
from raypipe.providers.local.stage import Stage

SPRITE = 24


@dataclass(frozen=True)
class Falling:
    """Rain or snow: a tall tileable texture of light that falls past the frame."""

    texture: Image.Image
    #: pixels of the texture a second, sideways and down
    speed: tuple[float, float]
    #: height and width after which the texture repeats
    tile: tuple[int, int]
    #: frame pixels for each texture pixel
    grain: int
    #: sideways swing in texture pixels
    swing: float = 0.0

    def draw(self, frame: Frame, t: float) -> None:
        """Add the light of what falls to the luma."""
        y = frame[0]
        left = (self.speed[0] * t + self.swing * math.sin(t * 1.3)) % self.tile[1]
        top = -self.speed[1] * t % self.tile[0]
        if self.grain == 1:
            corner = (round(left), round(top))
            light = self.texture.crop((*corner, corner[0] + y.width, corner[1] + y.height))
        else:
            box = (left, top, left + y.width / self.grain, top + y.height / self.grain)
            light = self.texture.resize(y.size, Image.Resampling.BILINEAR, box)
        y.paste(ImageChops.add(y, light))


def rain(stage: Stage, heavy: float) -> None:
    """Let it rain in two depths."""
    bright = 52 * (1 - 0.35 * stage.palette.dark)
    tile = _tile_of(stage, 1)
    share = tile[0] * tile[1] / (1280 * 720 * stage.unit**2)
    for length, count, light, speed in ((24, 420, 0.62, 1000), (50, 190, 1.0, 1500)):
        picture = Image.new("L", (tile[1], tile[0]), 0)
        pen = ImageDraw.Draw(picture)
        reach, width = length * stage.unit, max(1, round(1.5 * stage.unit))
        for x, y, level in stage.rng.random((int(heavy * count * share), 3)) * (tile[1], tile[0], 1.0):
            for left, top in product((x, x - tile[1]), (y, y - tile[0])):
                end = (left - 0.14 * reach, top + reach)
                pen.line((left, top, *end), fill=int(bright * light * (0.5 + 0.5 * level)), width=width)
        fall = (0.14 * speed * stage.unit, speed * stage.unit)
        stage.overlays.append(Falling(_wrapped(picture, stage, 1), fall, tile, 1))


def snow(stage: Stage, heavy: float = 1.0) -> None:
    """Let it snow in three depths; only the slow far flakes need finer steps than a pixel."""
    flakes = ((2, 1.6, 380, 42, 0.5), (1, 3.0, 150, 75, 0.55), (1, 6.4, 36, 135, 0.42))
    for depth, (grain, radius, count, speed, strength) in enumerate(flakes):
        tile = _tile_of(stage, grain)
        field = np.zeros(tile, np.float32)
        number = int(heavy * count * tile[0] * tile[1] * grain**2 / (1280 * 720 * stage.unit**2))
        size = radius * stage.unit / grain
        for x, y, light in stage.rng.random((number, 3)):
            _dot(field, x * tile[1], y * tile[0], size * (0.7 + 0.6 * light), 0.5 + 0.5 * light)
        drift = -stage.side * 14 * (depth + 1) * stage.unit / grain
        wrapped = _wrapped(to_picture(field * strength), stage, grain)
        swing = 7 * (depth + 1) * stage.unit / grain
        stage.overlays.append(Falling(wrapped, (drift, speed * stage.unit / grain), tile, grain, swing))


def _tile_of(stage: Stage, grain: int) -> tuple[int, int]:
    return (max(16, int(stage.size.height / grain * 0.93)), max(16, int(stage.size.width / grain * 0.87)))


def _wrapped(picture: Image.Image, stage: Stage, grain: int) -> Image.Image:
    """Repeat a texture so that a frame fits in wherever the window starts."""
    wide = np.asarray(picture)
    height, width = stage.size.height // grain + 2, stage.size.width // grain + 2
    out = np.pad(wide, ((0, height), (0, width)), mode="wrap")
    return Image.fromarray(np.ascontiguousarray(out))


def _dot(field: Field, x: float, y: float, radius: float, light: float) -> None:
    """Add a soft round dot to a field that tiles."""
    reach = int(radius + 2)
    rows, columns = (
        np.arange(int(y) - reach, int(y) + reach + 1),
        np.arange(int(x) - reach, int(x) + reach + 1),
    )
    away = np.hypot(rows[:, None] - y, columns[None, :] - x)
    spot = np.clip((radius + 0.7 - away) / (radius * 0.8 + 0.7), 0, 1) * light
    index = np.ix_(rows % field.shape[0], columns % field.shape[1])
    field[index] = np.maximum(field[index], spot)


@dataclass(frozen=True)
class Motes:
    """Glowing specks that wander: fireflies, dust in light, embers, bubbles, sparks."""

    #: one row a speck, in pixels and seconds: x, y, radius, speed x, speed y, wander, phase, blink
    specks: Field
    spot: Image.Image
    #: chroma of the glow, or None to leave the colours as they are
    chroma: tuple[int, int] | None
    area: tuple[float, float, float, float]

    def draw(self, frame: Frame, t: float) -> None:
        """Add each speck's light where it is."""
        left, top, right, bottom = self.area
        for x, y, radius, vx, vy, wander, phase, blink in self.specks:
            px = left + (x + vx * t + wander * math.sin(t * 0.9 + phase)) % (right - left)
            py = top + (y + vy * t + wander * math.cos(t * 0.7 + phase * 2)) % (bottom - top)
            edge = min(px - left, right - px, py - top, bottom - py) / (
                0.08 * min(right - left, bottom - top)
            )
            light = (1 - blink * (0.5 + 0.5 * math.sin(t * 1.7 + phase * 5))) * min(1.0, edge)
            self._add(frame, px, py, radius, light)

    def _add(self, frame: Frame, x: float, y: float, radius: float, light: float) -> None:
        size = 2 * math.ceil(radius) + 2
        left, top = math.floor((x - size / 2) / 2) * 2, math.floor((y - size / 2) / 2) * 2
        scale = SPRITE / (2 * radius)
        pad = self.spot.width / 2
        first, last = pad + (left - x) * scale, pad + (top - y) * scale
        box = (first, last, first + size * scale, last + size * scale)
        spot = self.spot.resize((size, size), Image.Resampling.BILINEAR, box)
        spot = spot.point([int(level * light) for level in range(256)])
        where = (left, top, left + size, top + size)
        frame[0].paste(ImageChops.add(frame[0].crop(where), spot), (left, top))
        if self.chroma is not None:
            small = spot.reduce(2)
            for plane, value in zip(frame[1:], self.chroma, strict=True):
                plane.paste(
                    value, (left // 2, top // 2, left // 2 + small.width, top // 2 + small.height), small
                )


def motes(
    stage: Stage,
    count: int,
    colour: Colour | None,
    radius: tuple[float, float] = (1.5, 4.0),
    speed: tuple[float, float] = (0.0, 0.0),
    area: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0),
    blink: float = 0.7,
    strength: float = 1.0,
) -> None:
    """Let specks wander over a part of the frame.

    Args:
        stage: The scene's stage.
        count: Number of specks.
        colour: Colour of their glow, or None to only brighten.
        radius: Smallest and largest radius, in units.
        speed: Common drift in units a second.
        area: Left, top, right and bottom as fractions of the frame.
        blink: How far they fade in and out, from 0 to 1.
        strength: Brightness, from 0 to 1.
    """
    unit, rng = stage.unit, stage.rng
    width, height = stage.size.width, stage.size.height
    box = (area[0] * width, area[1] * height, area[2] * width, area[3] * height)
    draws = rng.random((count, 8))
    draws[:, 0] *= box[2] - box[0]
    draws[:, 1] *= box[3] - box[1]
    draws[:, 2] = np.maximum(1.0, (radius[0] + (radius[1] - radius[0]) * draws[:, 2] ** 2) * unit)
    draws[:, 3] = (speed[0] + 6 * (draws[:, 3] - 0.5)) * unit
    draws[:, 4] = speed[1] * (0.6 + 0.8 * draws[:, 4]) * unit
    draws[:, 5] *= 26 * unit
    draws[:, 6] *= 2 * math.pi
    draws[:, 7] *= blink
    stage.overlays.append(Motes(draws, _spot(strength), _chroma(colour), box))


def _spot(strength: float) -> Image.Image:
    half = SPRITE * 3
    grid = (np.mgrid[-half:half, -half:half].astype(np.float32) + 0.5) / (SPRITE / 2)
    away = np.hypot(grid[0], grid[1])
    return to_picture((np.exp(-((away * 1.5) ** 2)) * strength * (away < 1.6)).astype(np.float32))


def _chroma(colour: Colour | None) -> tuple[int, int] | None:
    if colour is None:
        return None
    red, green, blue = colour
    u = 128 + 224 * (-0.1146 * red - 0.3854 * green + 0.5 * blue)
    v = 128 + 224 * (0.5 * red - 0.4542 * green - 0.0458 * blue)
    return round(u), round(v)


@dataclass(frozen=True)
class Birds:
    """A flock that crosses the sky, wings beating."""

    #: one row a bird: x, y offset (pixels), wingspan (pixels), phase
    flock: Field
    start: tuple[float, float]
    speed: tuple[float, float]
    luma: int

    def draw(self, frame: Frame, t: float) -> None:
        """Draw each bird as two wings."""
        span = frame[0].width * 1.3
        for dx, dy, wing, phase in self.flock:
            x = (self.start[0] + dx + self.speed[0] * t + 0.15 * span) % span - 0.15 * span
            y = self.start[1] + dy + self.speed[1] * t + 4 * math.sin(t * 0.8 + phase) * wing / 20
            self._bird(frame[0], x, y, wing, math.sin(t * (6.5 - wing * 0.04) + phase * 3))

    def _bird(self, y_plane: Image.Image, x: float, y: float, wing: float, beat: float) -> None:
        half = math.ceil(wing) + 2
        left, top, scale = math.floor(x) - half, math.floor(y) - half, 3
        picture = Image.new("L", (2 * half * scale, 2 * half * scale), 0)
        cx, cy = (x - left) * scale, (y - top) * scale
        reach, lift = wing * scale, (0.18 - 0.5 * beat) * wing * scale
        elbow = 0.45 * reach, 0.35 * lift - 0.12 * reach
        pen = ImageDraw.Draw(picture)
        for side in (-1, 1):
            tip, bend = (cx + side * reach, cy + lift), (cx + side * elbow[0], cy + elbow[1])
            pen.polygon(
                [
                    (cx, cy - 0.05 * reach),
                    bend,
                    tip,
                    (bend[0], bend[1] + 0.13 * reach),
                    (cx, cy + 0.12 * reach),
                ],
                fill=235,
            )
        mask = picture.reduce(scale)
        y_plane.paste(self.luma, (left, top, left + mask.width, top + mask.height), mask)


def birds(stage: Stage, height: float = 0.25, count: int = 7, light: bool = False) -> None:
    """Let a flock of birds cross the frame at a fraction of its height."""
    rng, unit = stage.rng, stage.u
    flock = np.empty((count, 4))
    order = np.arange(count) - count // 2
    flock[:, 0] = -np.abs(order) * 26 * unit + 14 * unit * rng.standard_normal(count)
    flock[:, 1] = order * 17 * unit + 7 * unit * rng.standard_normal(count)
    flock[:, 2] = unit * (9 + 5 * rng.random(count))
    flock[:, 3] = rng.random(count) * 6.28
    flock[:, 0] *= stage.side
    start = (stage.size.width * (0.5 - stage.side * (0.1 + 0.15 * rng.random())), stage.size.height * height)
    speed = (stage.side * 34 * unit, -2.5 * unit)
    stage.overlays.append(Birds(flock, start, speed, 215 if light else round(70 - 40 * stage.palette.dark)))


@dataclass(frozen=True)
class Flash:
    """Sheet lightning: the whole frame brightens for a moment."""

    period: float
    phase: float
    strength: float

    def draw(self, frame: Frame, t: float) -> None:
        """Brighten the luma while it flashes."""
        beat = (t / self.period + self.phase) % 1.0 * self.period
        light = self.strength * (math.exp(-beat * 9) + (0.6 * math.exp(-((beat - 0.22) ** 2) * 500)))
        if light > 0.02:
            table = [min(235, int(level + (255 - level) * 0.45 * light)) for level in range(256)]
            frame[0].paste(frame[0].point(table))


@dataclass(frozen=True)
class Vignette:
    """Corners a little darker than the middle."""

    light: Image.Image

    def draw(self, frame: Frame, t: float) -> None:
        """Darken the luma towards the corners."""
        frame[0].paste(ImageChops.multiply(frame[0], self.light))


def vignette(stage: Stage, strength: float = 0.3) -> None:
    """Darken the corners."""
    width, height = stage.size.width, stage.size.height
    rows, columns = np.mgrid[-1:1:64j, -1:1:64j].astype(np.float32)
    field = 1 - strength * np.clip((rows**2 + columns**2) * 0.5 - 0.16, 0, 1) ** 1.3
    small = Image.fromarray(field.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    stage.overlays.append(Vignette(to_picture(np.asarray(small) * (254 / 255))))
