"""Ground and water: ridges, hills, tree lines, dunes and the mirror of a lake or sea."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from raypipe.providers.local import layers
from raypipe.providers.local.layers import Layer
from raypipe.providers.local.noise import Field, Line, fractal, ridge_line, smoothstep, to_picture, upsample
from raypipe.providers.local.palette import Colour, bytes_of, grey, mix, times
from raypipe.providers.local.sky import Heaven
from raypipe.providers.local.stage import Sheet, Stage

SNOW: Colour = (0.95, 0.97, 1.0)
ROCK: Colour = (0.42, 0.40, 0.42)
GRASS: Colour = (0.36, 0.50, 0.24)
PINE: Colour = (0.13, 0.24, 0.20)


def albedo(stage: Stage, colour: Colour, cover: float = 0.72) -> Colour:
    """A ground colour as the weather has it: under a cover of snow, or wet and darker."""
    if stage.world.weather == "snow":
        return mix(colour, SNOW, cover)
    return times(colour, 0.85) if stage.world.weather in {"rain", "storm"} else colour


def rolling(
    stage: Stage,
    base: float,
    height: float,
    features: float,
    sharp: float = 0.0,
    octaves: int = 6,
    gain: float = 0.5,
) -> Line:
    """A random line of canvas heights that rises up to `height` above the canvas row `base`."""
    spread = stage.width / (stage.unit * 1536)
    line = ridge_line(stage.rng, stage.width, max(1.0, features * spread), octaves, gain, sharp)
    return (base - height * line).astype(np.float32)


def hills(
    stage: Stage,
    depth: float,
    line: Line,
    colour: Colour,
    heaven: Heaven,
    rim: float = 0.5,
    rough: float = 0.0,
    head: float = 0.0,
) -> Sheet:
    """Paint everything below a line as one ridge, misty at its foot and lit along its edge.

    Args:
        stage: The scene's stage.
        depth: How far away it is; 0 far, 1 near.
        line: Canvas height of the edge at each column.
        colour: Colour of the ground in white light.
        heaven: The sky it stands under.
        rim: Strength of the light along the edge.
        rough: Strength of the stains of light and shade on it, from 0 to 1.
        head: Room to leave above the edge for what stands on it, in pixels.
    """
    pal = stage.palette
    sheet = stage.sheet(depth, (float(line.min()) - 3 - head, stage.height), stage.lit(colour, depth, 0.3))
    top, reach = float(line.min()), float(line.max() - line.min()) + 150 * stage.u
    bright = 0.3 if grey(colour) > 0.6 else 0.0
    upper, lower = stage.lit(colour, depth, 0.5 + bright), stage.lit(colour, depth, 0.15 + bright)
    foot = mix(lower, pal.haze, 0.5 * pal.air * (1.15 - min(1.1, depth)))
    sheet.fill(sheet.below(line), sheet.gradient(upper, foot, (top, top + reach)))
    if rough > 0:
        _stain(sheet, colour, rough)
    if rim > 0 and heaven.strength > 0.1:
        edge_light(sheet, line, heaven, rim)
    return sheet


def _stain(sheet: Sheet, colour: Colour, strength: float) -> None:
    """Vary a flat ground with patches of light and shade, drawn out sideways."""
    stage = sheet.stage
    width, height = max(16, sheet.width // 3), max(8, sheet.height // 3)
    cells = (7 * sheet.width / (1536 * stage.u), 14 * sheet.height / (864 * stage.u))
    noise = fractal(stage.rng, width, height, cells, 5, 0.6)
    sheet.tint(smoothstep(noise, 0.5, 0.85) * strength, stage.lit(colour, sheet.depth, 0.95))
    sheet.tint(smoothstep(noise, 0.5, 0.12) * strength, stage.lit(colour, sheet.depth, 0.0))


def edge_light(sheet: Sheet, line: Line, heaven: Heaven, strength: float, width: float = 5.0) -> None:
    """Light the upper edge below a line where it faces the sun."""
    stage = sheet.stage
    thick = max(1.5, width * stage.u)
    columns = np.arange(len(line), dtype=np.float32)
    slope = np.gradient(line) * np.sign(columns - heaven.sun[0])
    near = np.exp(-np.abs(columns - heaven.sun[0]) / (stage.unit * 420))
    power = strength * heaven.strength * near * np.clip(0.55 - slope * 0.9, 0, 1)
    rows = np.arange(sheet.height, dtype=np.float32)[:, None] + sheet.top
    depth = rows - line[None, :]
    mask = np.clip(depth + 0.5, 0, 1) * np.clip(1 - depth / thick, 0, 1) ** 1.5 * power
    sheet.rgb.paste(bytes_of(mix(stage.palette.sun, stage.palette.light, 0.3)), (0, 0), to_picture(mask))


class Range:
    """A mountain range: overlapping peaks, each with a sunny and a shady side, at half the canvas's size."""

    def __init__(self, stage: Stage, base: float, height: float, count: float, heaven: Heaven):
        """Raise about `count` peaks across a frame, up to `height` pixels above the canvas row `base`."""
        self.stage, self.base = stage, base
        self.toward = 1.0 if heaven.sun[0] > stage.width / 2 else -1.0
        self.width = stage.width // 2
        self.top = max(0.0, base - height * 1.06)
        self.rows = max(8, int((base - self.top) / 2 + 40 * stage.u))
        self.line = np.full(self.width, base, np.float32)
        self.face = np.zeros((self.rows, self.width), np.float32)
        self.snow = np.zeros_like(self.face)
        number = max(3, round(count * 1.7))
        tall = np.sort(0.42 + 0.58 * stage.rng.random(number) ** 1.4)[::-1]
        tall[0] = 1.0
        spots = (np.arange(number) + 0.9 * stage.rng.random(number)) / number
        stage.rng.shuffle(spots)
        spots[0] = (stage.beside(0.12 + 0.1 * stage.rng.random())) / stage.width
        for part, spot in zip(tall, spots, strict=True):
            self._raise(spot * self.width, float(part) * height / 2)

    def _raise(self, x: float, height: float) -> None:
        """Put one peak in front of those before."""
        rng, u = self.stage.rng, self.stage.u / 2
        peak = (self.base - self.top) / 2 - height
        columns = np.arange(self.width, dtype=np.float32) - x
        steep = np.where(columns < 0, 0.62 + 0.3 * rng.random(), 0.62 + 0.3 * rng.random())
        jag = ridge_line(rng, self.width, self.width / (46 * u), 5, 0.55, 1.0) - 0.5
        away = np.abs(columns)
        edge = (
            peak + away * steep * (1 - 0.16 * away / (away + 160 * u)) + jag * np.minimum(away * 0.5, 34 * u)
        )
        rows = np.arange(self.rows, dtype=np.float32)[:, None]
        drop = rows - peak
        inside = rows >= edge[None, :]
        spread = columns[None, :] / (np.maximum(drop, 0) + 10 * u)
        zig = (ridge_line(rng, self.rows, self.rows / (34 * u), 4, 0.6, 0.9)[:, None] - 0.5) * 0.8
        ribs = ridge_line(rng, 512, 17, 5, 0.66, 0.8)
        wave = ridge_line(rng, self.rows, self.rows / (60 * u), 5, 0.6, 0.7)[:, None] - 0.5
        rib = ribs[np.clip((spread + 2 + wave * 0.34) * 128, 0, 511).astype(np.intp)] - 0.5
        side = (spread - zig * np.clip(drop / (50 * u), 0, 1)) * self.toward
        face = smoothstep(side + rib * 0.9, -0.10, 0.16) * (0.8 + 0.4 * rib) + np.maximum(rib, 0) * 0.3
        self.face = np.where(inside, np.clip(face, 0, 1), self.face)
        self.snow = np.where(inside, drop / (self.base - self.top) * 2 + rib * 0.5 + zig * 0.12, self.snow)
        self.line = np.minimum(self.line, edge * 2 + self.top)


def peaks(stage: Stage, depth: float, shape: Range, rock: Colour, heaven: Heaven, snow: float = 0.5) -> Sheet:
    """Paint a range in light and shade, with snow down to a part of its height."""
    columns = np.linspace(0, shape.width - 1, stage.width)
    line = np.interp(columns, np.arange(shape.width), shape.line).astype(np.float32)
    sheet = Sheet(stage, depth, (shape.top, shape.top + shape.rows * 2), stage.lit(rock, depth, 0.3))
    sheet.fill(sheet.below(line), stage.lit(rock, depth, 0.12))
    sheet.tint(shape.face * 0.9, stage.lit(rock, depth, 1.1))
    amount = max(snow, 0.95 if stage.world.weather == "snow" else 0.0)
    if amount > 0:
        cover = smoothstep(amount - shape.snow, -0.03, 0.09)
        sheet.tint(cover * 0.93, mix(stage.lit(SNOW, depth, 0.05), stage.palette.sky, 0.25))
        sheet.tint(cover * shape.face, stage.lit(SNOW, depth, 1.1))
    rows = np.linspace(0, 1, shape.rows, dtype=np.float32)[:, None] * np.ones((1, 8), np.float32)
    sheet.tint(rows**2.2 * 0.85, mix(stage.palette.haze, stage.palette.horizon, 0.25))
    return sheet


def pine_line(stage: Stage, base: Line, size: float, density: float = 1.0) -> Line:
    """Grow a row of conifers of about `size` pixels on a line of canvas heights."""
    rng = stage.rng
    out = base.copy()
    x, step = -size, max(1.5, size * 0.2 / density)
    columns = np.arange(stage.width, dtype=np.float32)
    while x < stage.width + size:
        tall = size * (0.45 + 0.75 * rng.random() ** 1.3)
        half = tall * 0.21
        low, high = max(0, int(x - half)), min(stage.width, int(x + half) + 2)
        if high > low:
            away = np.abs(columns[low:high] - x) / half
            teeth = 0.1 * ((away * 4.5) % 1.0)
            crown = np.clip(1 - away**0.82 - teeth, 0, 1) * tall
            foot = base[min(stage.width - 1, max(0, int(x)))]
            out[low:high] = np.minimum(out[low:high], np.where(away < 1, foot - crown, base[low:high]))
        x += step * (0.5 + 1.3 * rng.random())
    return out


def leafy_line(stage: Stage, base: Line, size: float) -> Line:
    """Grow a row of round-crowned trees and bushes of about `size` pixels on a line."""
    bumps = ridge_line(stage.rng, stage.width, stage.width / max(3.0, size * 1.5), 4, 0.55)
    groups = ridge_line(stage.rng, stage.width, stage.width / max(3.0, size * 9), 2)
    return (base - size * np.sqrt(bumps) * (0.25 + 0.75 * groups)).astype(np.float32)


def blurred(sheet: Sheet, radius: float) -> Sheet:
    """Put a sheet out of focus."""
    if radius >= 0.5:
        blur = ImageFilter.BoxBlur(radius)
        sheet.rgb = sheet.rgb.filter(blur)
        if sheet.alpha is not None:
            sheet.alpha = sheet.alpha.filter(blur)
    return sheet


def water(
    stage: Stage,
    backdrop: Sheet,
    heaven: Heaven,
    shore: float,
    tint: Colour,
    clear: float = 0.75,
    waves: float = 7.0,
    sparkle: float = 1.0,
) -> Layer:
    """Turn everything below the row `shore` of the backdrop into water that mirrors what stands above it.

    Args:
        stage: The scene's stage.
        backdrop: The opaque sheet with sky and all that is mirrored.
        heaven: The sky, for the glitter under the sun.
        shore: Canvas row where the water begins.
        tint: Colour of the water itself.
        clear: How much of the mirror shows, from 0 to 1.
        waves: Height of the waves near the lower edge, in units.
        sparkle: Strength of the glitter.
    """
    row = int(shore) // 2 * 2
    mirror = _mirror(backdrop, row)
    height = backdrop.height - row
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    deep = mix(stage.lit(tint, 1.0, 0.75), times(stage.palette.sky, 0.8), 0.3)
    depth = (1 - clear) + 0.55 * clear * v
    mask = to_picture((depth * np.ones((1, 4), np.float32)).astype(np.float32)).resize(mirror.size)
    mirror.paste(bytes_of(deep), (0, 0), mask)
    mirror = _waved(stage, mirror, waves)
    path = to_picture(
        _sun_path(stage, heaven, mirror.width // 6, mirror.height // 6 + 1) * min(0.6, heaven.strength * 0.6)
    )
    warm = mix(stage.palette.horizon, stage.palette.sun, 0.5)
    mirror.paste(bytes_of(warm), (0, 0), path.resize(mirror.size, Image.Resampling.BICUBIC))
    backdrop.rgb.paste(mirror, (0, row))
    layer = layers.with_ripple(backdrop.layer(), row, waves * stage.u)
    return replace(layer, shimmers=(*glitter(stage, heaven, row, height, sparkle), *layer.shimmers))


def _mirror(backdrop: Sheet, row: int) -> Image.Image:
    """What the water mirrors: the rows above, upside down, somewhat drawn out and blurred sideways."""
    height = backdrop.height - row
    above = backdrop.rgb.crop((0, max(0, row - int(height * 1.15)), backdrop.width, row))
    flipped = above.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    small = flipped.resize((max(2, backdrop.width // 5), max(2, height // 2)), Image.Resampling.BILINEAR)
    soft = small.filter(ImageFilter.BoxBlur((0.6, 1.2)))
    return soft.resize((backdrop.width, height), Image.Resampling.BICUBIC)


def _waved(stage: Stage, mirror: Image.Image, waves: float) -> Image.Image:
    """Break the mirror up into wavelets that grow towards the viewer."""
    width, height = mirror.size
    columns = max(8, width // 3)
    v = (np.arange(height, dtype=np.float32) + 0.5) / height
    noise = fractal(stage.rng, columns, 256, (7 / stage.shot.scale, 30), 4, 0.6)
    row = np.clip(256 * (1.04 - 0.9 * 0.16 / (v * 0.9 + 0.14)), 0, 255).astype(np.intp)
    chop = np.asarray(upsample(noise[row], width, height)) - 0.5
    lift = chop * (0.12 + v[:, None]) * waves * stage.u * 5.5
    index = np.clip(np.arange(height)[:, None] + lift, 0, height - 1).astype(np.intp)
    pixels = np.asarray(mirror)
    moved = pixels[index, np.arange(width)[None, :]]
    shade = 1 + chop * (0.10 + 0.34 * v[:, None])
    return Image.fromarray(np.clip(moved * shade[..., None], 0, 255).astype(np.uint8))


def glitter(
    stage: Stage, heaven: Heaven, row: int, height: int, sparkle: float
) -> tuple[layers.Shimmer, ...]:
    """Sparkle on water: a path of light under the sun and a little of it everywhere."""
    height = height // 2 * 2
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    path = _sun_path(stage, heaven, stage.width, height)
    power = sparkle * heaven.strength * (1.25 if heaven.disc else 0.5)
    field = np.clip(path * power + 0.055 * sparkle * (0.4 + heaven.strength) * np.ones_like(path), 0, 1)
    field *= wavelets(stage, stage.width, height, 0.42, 0.62) * smoothstep(v, 0, 0.03)
    texture = layers.sparkle_texture(fractal(stage.rng, 256, 256, (14, 40), 3, 0.6), 0.3, 0.62)
    u = stage.u
    return (layers.shimmer(field, 0, row, texture, ((11 * u, 29 * u), (-17 * u, 23 * u))),)


def _sun_path(stage: Stage, heaven: Heaven, width: int, height: int) -> Field:
    """The widening path of light that the sun lays on the water, at any resolution."""
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = (np.arange(width, dtype=np.float32)[None, :] + 0.5) * stage.width / width
    spread = stage.unit * (46 + 230 * v)
    return np.asarray(np.exp(-(((x - heaven.sun[0]) / spread) ** 2)) * (1 - 0.55 * v), np.float32)


def wavelets(stage: Stage, width: int, height: int, low: float, high: float) -> Field:
    """Crests of small waves on a plane that recedes to its upper edge, of shape (height, width), 0 to 1."""
    columns, v = max(16, width // 2), (np.arange(height, dtype=np.float32) + 0.5) / height
    far, near = (fractal(stage.rng, columns, 512, cells, 3, 0.62) for cells in ((100, 120), (74, 120)))
    row = ((0.9 - 0.12 / (v + 0.12)) * 511).astype(np.intp) % 512
    blend = smoothstep(v, 0.05, 0.5)[:, None]
    crest = far[row] * (1 - blend) + near[row] * blend
    return upsample(smoothstep(crest, low, high), width, height)


def headland(stage: Stage, base: float, height: float, side: int, reach: float, jag: float = 0.3) -> Line:
    """A line that falls from a height at one side of the canvas to below `base` in the middle.

    Args:
        stage: The scene's stage.
        base: Canvas row of the foot.
        height: Height above it, in pixels.
        side: The side on which the land lies: -1 left, 1 right.
        reach: Fraction of the frame's width that the land takes.
        jag: Roughness of the edge, as a fraction of the height.
    """
    columns = np.arange(stage.width, dtype=np.float32)
    away = columns - stage.x(0) if side < 0 else stage.x(1) - columns
    fall = smoothstep(away / stage.size.width, reach, reach * 0.45)
    rough = ridge_line(stage.rng, stage.width, stage.width / (150 * stage.u), 6, 0.55, 0.8) - 0.5
    line = base + 8 * stage.u - height * fall * (1 + jag * rough) - jag * height * rough * fall
    return np.asarray(line, np.float32)


def waterline(sheet: Sheet, row: float) -> None:
    """End a sheet of land at the water's surface, with a line of foam."""
    stage = sheet.stage
    line = row + 5 * stage.u * (ridge_line(stage.rng, stage.width, stage.width / (60 * stage.u), 4) - 0.5)
    line = line.astype(np.float32)
    foam = ImageChops.multiply(sheet.below(line - 4 * stage.u, 5 * stage.u), sheet.alpha or sheet.below(line))
    sheet.rgb.paste(bytes_of(mix(stage.lit(SNOW, 1.0, 0.8), stage.palette.sky, 0.3)), (0, 0), foam)
    if sheet.alpha is not None:
        sheet.alpha = ImageChops.subtract(sheet.alpha, sheet.below(line, 4 * stage.u))
