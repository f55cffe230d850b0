"""Skies: gradient, sun or moon with its glow, stars, clouds, haze and shafts of light."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from raypipe.providers.local import layers
from raypipe.providers.local.layers import Layer, Motion, Pulse, Shimmer
from raypipe.providers.local.noise import Field, fractal, normal, smoothstep, to_picture, upsample
from raypipe.providers.local.palette import Colour, bytes_of, mix, times
from raypipe.providers.local.stage import Point, Sheet, Stage

CLOSED = {"rain", "storm", "snow", "fog"}


class Heaven:
    """The sky of a scene: where the sun stands and how bright it is."""

    def __init__(self, stage: Stage, horizon: float, sun: Point | None = None, strength: float | None = None):
        """Place the sun.

        Args:
            stage: The scene's stage.
            horizon: Canvas row of the horizon.
            sun: Fractions of the frame's width and of the height from the top to the horizon.
            strength: Brightness of the sun's glow; by default what hour and weather give.
        """
        self.stage, self.horizon = stage, horizon
        height = {"dawn": 0.86, "sunset": 0.84, "day": 0.2, "dusk": 0.98, "night": 0.24}[stage.world.time]
        across = 0.5 - stage.side * (0.16 + 0.1 * stage.rng.random())
        place = sun or (across, height)
        self.sun: Point = (stage.x(place[0]), stage.margin[1] + place[1] * (horizon - stage.margin[1]))
        natural = {"dawn": 0.85, "sunset": 1.0, "day": 0.75, "dusk": 0.55, "night": 0.3}[stage.world.time]
        closed = {"rain": 0.3, "storm": 0.15, "snow": 0.35, "fog": 0.6, "clouds": 0.85}
        self.strength = natural * closed.get(stage.world.weather, 1.0) if strength is None else strength

    @property
    def disc(self) -> bool:
        """Whether sun or moon can be seen."""
        return self.stage.world.weather not in {"rain", "storm", "snow"} and self.stage.world.time != "dusk"


def paint_sky(stage: Stage, heaven: Heaven, disc: bool = True) -> Sheet:
    """Start the opaque backdrop of the whole canvas with the sky, and the disc of sun or moon if wanted."""
    sheet = Sheet(stage, 0.1, (0, stage.height), stage.palette.haze, opaque=True)
    sheet.rgb = _picture(_light(stage, heaven), stage.width, stage.height)
    if stage.palette.dark > 0.5 and stage.world.weather not in CLOSED:
        _stars(sheet, heaven)
    if disc:
        paint_disc(sheet, heaven)
    return sheet


def _light(stage: Stage, heaven: Heaven) -> list[Field]:
    """The sky's light at low resolution, one field for each channel."""
    height, width = max(24, stage.height // 6), max(24, stage.width // 6)
    rows = (np.arange(height, dtype=np.float32) + 0.5) * stage.height / height
    columns = (np.arange(width, dtype=np.float32) + 0.5) * stage.width / width
    v = np.clip(rows / heaven.horizon, 0, 1.0)[:, None]
    distance = np.hypot((columns[None, :] - heaven.sun[0]) * 0.72, rows[:, None] - heaven.sun[1])
    reach = distance / (stage.unit * 720)
    pal = stage.palette
    core = heaven.strength * 0.9 * np.exp(-((reach / 0.1) ** 0.9))
    wide = heaven.strength * 0.7 * np.exp(-reach / 0.36)
    band = 0.5 * heaven.strength * np.exp(-((v - 1) ** 2) / 0.02) * np.exp(-reach / 0.9)
    halo = mix(pal.horizon, pal.sun, 0.35)
    ramps = (
        smoothstep(v, 0.0, 0.62),
        smoothstep(v, 0.45, 1.0),
        np.clip(wide + band, 0, 1),
        np.clip(core, 0, 1),
    )
    stops = (pal.zenith, pal.sky, pal.horizon, halo, pal.sun)
    return [_channel([stop[index] for stop in stops], ramps) for index in range(3)]


def _channel(stops: list[float], ramps: tuple[Field, ...]) -> Field:
    """Blend from each stop to the next by its ramp."""
    value: Field = np.full((1, 1), stops[0], np.float32)
    for stop, ramp in zip(stops[1:], ramps, strict=True):
        value = value + (stop - value) * ramp
    return value.astype(np.float32)


def _picture(channels: list[Field], width: int, height: int) -> Image.Image:
    return Image.merge("RGB", [to_picture(upsample(channel, width, height)) for channel in channels])


def paint_disc(sheet: Sheet, heaven: Heaven) -> None:
    """Paint sun or moon on a backdrop, if it can be seen in this weather."""
    if not heaven.disc:
        return
    stage = sheet.stage
    night = stage.world.time == "night"
    radius = (
        stage.unit
        * (26 if night else 34)
        * (1 if stage.world.weather != "fog" else 1.1)
        * stage.shot.scale**0.5
    )
    box = int(radius * 1.6) + 3
    grid = np.mgrid[-box : box + 1, -box : box + 1].astype(np.float32)
    distance = np.hypot(grid[0] + 0.0, grid[1])
    mask = np.clip(radius - distance + 0.5, 0, 1)
    if stage.world.weather in {"clouds", "fog"}:
        mask = smoothstep(distance, radius * 1.25, radius * 0.7) * 0.75
    colour = mix(stage.palette.sun, (1.0, 1.0, 1.0), 0.55)
    corner = (round(heaven.sun[0]) - box, round(heaven.sun[1]) - box)
    picture = to_picture(mask.astype(np.float32))
    sheet.rgb.paste(
        bytes_of(colour), (*corner, corner[0] + picture.width, corner[1] + picture.height), picture
    )
    if night:
        _craters(sheet, heaven.sun, radius)


def _craters(sheet: Sheet, centre: Point, radius: float) -> None:
    rng = np.random.default_rng(3)
    box = int(radius) + 2
    grid = np.mgrid[-box : box + 1, -box : box + 1].astype(np.float32)
    stain = fractal(rng, 2 * box + 1, 2 * box + 1, (3, 3), 4)
    mask = smoothstep(stain, 0.5, 0.75) * 0.3 * np.clip(radius - 1 - np.hypot(grid[0], grid[1]), 0, 1)
    picture = to_picture(mask.astype(np.float32))
    corner = (round(centre[0]) - box, round(centre[1]) - box)
    colour = mix(sheet.stage.palette.sky, sheet.stage.palette.sun, 0.35)
    sheet.rgb.paste(
        bytes_of(colour), (*corner, corner[0] + picture.width, corner[1] + picture.height), picture
    )


def star_field(stage: Stage, width: int, height: int, density: float = 1.0) -> Field:
    """Points of light of shape (height, width), few bright and many faint, from 0 to 1."""
    rng = stage.rng
    count = int(density * 900 * (width * height) / (1536 * 864) / max(0.35, stage.unit))
    field = np.zeros((height + 4, width + 4), np.float32)
    x, y = rng.integers(1, width, count), rng.integers(1, height, count)
    power = rng.random(count).astype(np.float32) ** 5 * 0.85 + 0.15
    np.maximum.at(field, (y, x), power)
    for dx, dy in ((1, 0), (0, 1), (1, 1)):
        np.maximum.at(
            field, (y + dy, x + dx), power * (0.75 if power.size < 300 or stage.unit > 0.6 else 0.2)
        )
    big = power > 0.72
    for dx, dy in ((-1, 0), (2, 0), (0, -1), (0, 2)):
        np.maximum.at(field, (y[big] + dy, x[big] + dx), power[big] * 0.3)
    return field[:height, :width]


def _stars(sheet: Sheet, heaven: Heaven) -> None:
    stage = sheet.stage
    height = int(heaven.horizon)
    strength = (1.0 if stage.world.time == "night" else 0.45) * (
        0.5 if stage.world.weather == "clouds" else 1
    )
    field = star_field(stage, stage.width, height, 1.6) * strength
    field *= smoothstep(np.arange(height, dtype=np.float32), heaven.horizon, heaven.horizon * 0.45)[:, None]
    white = Image.new("RGB", sheet.rgb.size, (236, 242, 255))
    mask = Image.new("L", sheet.rgb.size, 0)
    mask.paste(to_picture(np.maximum(field - 0.004, 0)), (0, 0))
    sheet.rgb.paste(white, (0, 0), mask)


def twinkle(stage: Stage, heaven: Heaven) -> tuple[Shimmer, ...]:
    """Let the brighter stars of a night sky come and go."""
    if stage.palette.dark < 0.9 or stage.world.weather in CLOSED:
        return ()
    height = int(heaven.horizon * 0.7) // 2 * 2
    field = star_field(stage, stage.width, height, 0.25) * 1.2
    texture = layers.sparkle_texture(fractal(stage.rng, 128, 128, (9, 9), 2), 0.3, 0.7)
    return (layers.shimmer(field, 0, 0, texture, ((14, 5), (-9, 11))),)


def clouds(stage: Stage, heaven: Heaven, cover: float | None = None, bottom: float | None = None) -> None:
    """Add a drifting layer of sunlit clouds that reaches down to the horizon or to a canvas row."""
    by_weather = {"clear": 0.36, "clouds": 0.58, "rain": 0.85, "storm": 0.92, "snow": 0.8, "fog": 0.45}
    amount = by_weather[stage.world.weather] if cover is None else cover
    if amount <= 0 or heaven.horizon < stage.height * 0.12:
        return
    grain = 2
    period, rows = _even(stage.width / grain), _even((bottom or heaven.horizon) / grain + 2)
    density = _cloud_density(stage, period, rows)
    alpha = smoothstep(density, 1.0 - amount, 1.0 - amount * 0.42 + 0.1)
    fade = smoothstep(np.linspace(0, 1, rows, dtype=np.float32), 1.0, 0.8 if bottom is None else 0.4)[:, None]
    rgb = _cloud_colour(stage, heaven, density, alpha, rows)
    alpha = alpha * fade * (0.8 if stage.world.weather == "clear" else 0.94)
    wide = stage.width // grain + period
    copies = wide // period + 1
    picture = Image.fromarray(np.tile(rgb, (1, copies, 1))[:, :wide])
    mask = to_picture(np.tile(alpha, (1, copies))[:, :wide])
    speed = {"storm": 26.0, "rain": 14.0}.get(stage.world.weather, 8.0) * stage.unit
    layer = layers.layer_of(picture, mask, 0, 0, 0.16, grain)
    motion = Motion(speed=(-stage.side * speed, 0), wrap=period * grain)
    stage.add(replace(layer, motion=motion, solid=None))
    if stage.world.weather == "storm":
        _strike(stage, heaven.horizon)


def _cloud_density(stage: Stage, width: int, height: int) -> Field:
    """Noise drawn out flat towards the horizon, as a deck of clouds is."""
    wide, tall = width / (400 * stage.unit), max(64, height) / (105 * stage.unit)
    noise = fractal(stage.rng, width, max(64, height), (1.7 * wide, tall), 6, 0.52)
    billow = 1 - np.abs(2 * fractal(stage.rng, width, max(64, height), (2.6 * wide, 1.8 * tall), 4) - 1)
    flat = normal(0.78 * noise + 0.3 * billow)
    v = np.linspace(0, 1, height, dtype=np.float32)
    row = (0.45 * v + 0.32 / (1.3 - v) - 0.24) * 0.62 * len(flat)
    low = np.floor(row).astype(int)
    part = (row - low)[:, None].astype(np.float32)
    return np.asarray(flat[low % len(flat)] * (1 - part) + flat[(low + 1) % len(flat)] * part)


def _cloud_colour(stage: Stage, heaven: Heaven, density: Field, alpha: Field, rows: int) -> NDArray[np.uint8]:
    pal = stage.palette
    step = max(2, round(9 * stage.unit))
    rise = heaven.sun[1] / 2 / rows - np.linspace(0, 1, rows, dtype=np.float32)
    toward = np.roll(density, step, axis=0) * 0.8 + np.roll(density, -stage.side * step, axis=1) * 0.5
    lit = np.clip(0.55 + (1.3 * density - toward) * 2.4, 0, 1) * (1 - 0.45 * alpha**2)
    lit = np.clip(lit + 0.25 * np.exp(-((rise / 0.16) ** 2))[:, None], 0, 1)
    bright = mix(mix(pal.light, pal.sun, 0.5), pal.horizon, 0.25)
    bright = times(
        bright, {"storm": 0.55, "rain": 0.78}.get(stage.world.weather, 1.0) * (1 - 0.55 * pal.dark**2)
    )
    shadow = mix(mix(pal.shade, pal.sky, 0.55), pal.haze, 0.2)
    shadow = times(shadow, {"storm": 0.5 + 0.3 * pal.dark, "rain": 0.75}.get(stage.world.weather, 1.0))
    low, high = np.array(shadow, np.float32), np.array(bright, np.float32)
    rgb = low + (high - low) * lit[..., None]
    return np.asarray(np.clip(rgb * 255, 0, 255), np.uint8)


def storm_rhythm(stage: Stage) -> tuple[float, float]:
    """Seconds between flashes of lightning, and the phase at the start; the first comes about a second in."""
    period = 4.4 if len(stage.shot.seed) % 2 else 5.2
    return period, 1 - 1.1 / period


def _strike(stage: Stage, horizon: float) -> None:
    """Add a bolt that strikes with each flash."""
    mask = _bolt(stage, horizon)
    made = layers.layer_of_light((226, 236, 255), mask, stage.beside(-0.22) - mask.width / 2, 0, 0.14)
    period, phase = storm_rhythm(stage)
    stage.add(replace(made, pulse=Pulse(1.0, period, phase, flash=True)))


def veil(
    stage: Stage,
    rows: tuple[float, float],
    depth: float,
    colour: Colour,
    strength: float,
    speed: float = 12.0,
) -> None:
    """Add a bank of drifting mist between two canvas rows, densest towards its lower third."""
    top, bottom = max(0.0, rows[0]), min(float(stage.height), rows[1])
    grain = 4
    height, period = _even((bottom - top) / grain), _even(stage.width / grain)
    if height < 4:
        return
    noise = fractal(stage.rng, period, height, (3, max(1.5, 6 * height / period)), 4)
    v = np.linspace(0, 1, height, dtype=np.float32)
    body = smoothstep(v, 0, 0.6) * smoothstep(v, 1.0, 0.75)
    alpha = np.clip(strength * body[:, None] * (0.45 + 0.8 * noise), 0, 1)
    wide = stage.width // grain + period
    mask = to_picture(np.tile(alpha, (1, wide // period + 1))[:, :wide])
    layer = layers.layer_of_light(bytes_of(colour), mask, 0, top, depth, grain)
    stage.add(replace(layer, motion=Motion(speed=(stage.side * speed * stage.unit, 0), wrap=period * grain)))


def glow(
    stage: Stage,
    at: Point,
    radius: float,
    colour: Colour,
    strength: float,
    depth: float,
    pulse: Pulse | None = None,
) -> None:
    """Add a round glow of light."""
    stage.add(replace(glow_layer(at, radius, colour, strength, depth), pulse=pulse))


def glow_layer(at: Point, radius: float, colour: Colour, strength: float, depth: float) -> Layer:
    """Make a round glow of light."""
    grain = 4 if radius > 24 else 1
    half = _even(radius / grain + 2)
    grid = (np.mgrid[-half:half, -half:half].astype(np.float32) + 0.5) * grain / max(radius, 1)
    reach = np.clip(1 - np.hypot(grid[0], grid[1]), 0, 1)
    mask = to_picture((strength * (0.35 * reach**2 + 0.65 * reach**5)).astype(np.float32))
    return layers.layer_of_light(
        bytes_of(colour), mask, at[0] - half * grain, at[1] - half * grain, depth, grain
    )


def shafts(
    stage: Stage, source: Point, depth: float, colour: Colour, strength: float, spread: float = 1.0
) -> None:
    """Add shafts of light that fan out from a source, slowly brightening and fading."""
    grain = 4
    width, height = _even(stage.width / grain), _even(stage.height / grain)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) * grain
    angle = np.arctan2(columns - source[0], rows - source[1] + stage.height * 0.25) / spread
    rays = fractal(stage.rng, 512, 2, (22, 2), 4, 0.6)[0]
    index = ((angle / np.pi + 1) * 0.5 * 511).astype(int) % 512
    distance = np.hypot(columns - source[0], rows - source[1]) / (stage.unit * 720)
    body = smoothstep(rays, 0.45, 0.85)[index] * np.exp(-distance * 1.5) * smoothstep(distance, 0.0, 0.12)
    mask = to_picture((strength * body).astype(np.float32)).filter(ImageFilter.GaussianBlur(1.5))
    layer = layers.layer_of_light(bytes_of(colour), mask, 0, 0, depth, grain)
    stage.add(replace(layer, pulse=Pulse(0.35, 5.5, stage.rng.random())))


def _even(length: float) -> int:
    return max(2, -(-int(length) // 2) * 2)


def _bolt(stage: Stage, bottom: float) -> Image.Image:
    """Draw a lightning bolt with its glow from the canvas's top to a row: its opacity."""
    height, width = max(8, int(bottom) // 2 * 2), max(8, int(320 * stage.unit) // 2 * 2)
    picture = Image.new("L", (width, height), 0)
    pen = ImageDraw.Draw(picture)
    _fork(stage, pen, (width / 2, 0.0), height, 3.2 * stage.unit, 0)
    glow = picture.filter(ImageFilter.BoxBlur(9 * stage.unit)).filter(ImageFilter.BoxBlur(9 * stage.unit))
    return ImageChops.add(
        picture.filter(ImageFilter.BoxBlur(0.6)), glow.point([min(255, level * 2) for level in range(256)])
    )


def _fork(
    stage: Stage, pen: ImageDraw.ImageDraw, at: tuple[float, float], end: float, width: float, level: int
) -> None:
    rng, x, y = stage.rng, *at
    lean = (rng.random() - 0.5) * (0.5 + level)
    while y < end:
        step = end * 0.035 * (0.5 + rng.random()) + 1
        new = x + (rng.random() - 0.5 + lean * 0.35) * step * 1.9, y + step
        pen.line((x, y, *new), fill=255 if level == 0 else 170, width=max(1, round(width)))
        if level < 2 and rng.random() < 0.16:
            _fork(stage, pen, new, min(end, y + end * 0.3), width * 0.55, level + 1)
        x, y = new
