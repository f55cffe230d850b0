"""Other worlds: space, the deep sea, and pure light."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from PIL import Image

from raypipe.providers.local import effects, layers, props
from raypipe.providers.local.ground import hills, rolling
from raypipe.providers.local.layers import Motion, Pulse
from raypipe.providers.local.noise import Field, fractal, generator, normal, smoothstep, to_picture, upsample
from raypipe.providers.local.palette import Colour, hexes, mix, saturated, times
from raypipe.providers.local.sky import Heaven, glow, shafts, star_field
from raypipe.providers.local.stage import Point, Sheet, Sprite, Stage

WORLDS = tuple(
    tuple(hexes(text))
    for text in (
        "2a4a78 4f86b8 d8c8a0 f2ead8 8fc4ff",
        "5a2a1e b4603a e09a62 f4cf9a ffb080",
        "3a2a5e 7a5aa8 c890c0 f4d8e0 d0a0ff",
        "174a4a 2f8a7c 9ad0b0 eef4dc 90ffe0",
    )
)


def paint_space(stage: Stage) -> None:
    """A planet before a nebula full of stars."""
    stage.palette = stage.palette._replace(light=(1.0, 0.97, 0.92), shade=(0.2, 0.23, 0.36), air=0.0)
    sheet = Sheet(stage, 0.06, (0, stage.height), (0.01, 0.012, 0.03), opaque=True)
    sheet.rgb = _nebula(stage)
    field = star_field(stage, stage.width, stage.height, 1.5)
    sheet.rgb.paste((240, 244, 255), (0, 0), to_picture(np.maximum(field - 0.004, 0)))
    texture = layers.sparkle_texture(fractal(stage.rng, 128, 128, (9, 9), 2), 0.3, 0.7)
    bright = star_field(stage, stage.width, stage.height, 0.3)
    lights = layers.shimmer(bright, 0, 0, texture, ((14, 5), (-9, 11)))
    stage.add(sheet.layer(shimmers=(lights,)))
    tone = WORLDS[int(generator("planet", stage.world).integers(len(WORLDS)))]
    _planets(stage, tone)
    if stage.says("rocket", "ship"):
        spot = (stage.beside(-0.22), stage.y(0.72))
        stage.add_sprite(
            props.rocket(stage, 170 * stage.u, 1.0),
            spot,
            0.9,
            Motion((stage.side * 3 * stage.u, -9 * stage.u)),
        )
    if stage.says("figure") or stage.shot.kind in {"low", "medium"}:
        _surface(stage, tone)
    effects.motes(stage, 14, None, (1, 2.2), (5, 2), strength=0.5)


def _nebula(stage: Stage) -> Image.Image:
    rng = stage.rng
    width, height = max(16, stage.width // 5), max(16, stage.height // 5)
    cells = (2.1 * width / (200 * stage.unit), 2.4 * height / (130 * stage.unit))
    cloud, other = (fractal(rng, width, height, cells, 6, 0.55) for _ in range(2))
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    slant = (columns / width - 0.5) * 0.5 * stage.side + (rows / height - 0.5) + (other - 0.5) * 0.45
    band = np.exp(-((slant / 0.24) ** 2))
    one, two, three = (saturated(c, 1.1) for c in _nebula_colours(stage))
    base = np.array((0.012, 0.016, 0.045), np.float32)
    rgb = base + band[..., None] * smoothstep(cloud, 0.25, 0.9)[..., None] * np.array(one, np.float32) * 0.75
    rgb = rgb + (band**2 * smoothstep(other, 0.4, 0.95))[..., None] * np.array(two, np.float32) * 0.65
    rgb = rgb + (band * smoothstep(cloud * other, 0.42, 0.7))[..., None] * np.array(three, np.float32) * 0.6
    rgb *= (1 - 0.7 * band * smoothstep(1 - cloud, 0.5, 0.8))[..., None]
    return Image.merge(
        "RGB", [to_picture(upsample(rgb[..., i], stage.width, stage.height)) for i in range(3)]
    )


def _nebula_colours(stage: Stage) -> list[Colour]:
    by_mood = {
        "warm": "b04a30 e0903a ffd9a0",
        "epic": "1f5f88 e07a3a ffe0b0",
        "neon": "7a20c0 ff3fa0 60e0ff",
        "dark": "20304a 3a4a5a 8090a0",
        "joyful": "2060c0 c050b0 ffe080",
        "dreamy": "6a3aa0 d070b0 ffd0f0",
    }
    return hexes(by_mood.get(stage.world.mood, "1f4f98 6a3f98 c0e0ff"))


def _planets(stage: Stage, tone: tuple[Colour, ...]) -> None:
    u = stage.u
    radius = 190 * u if stage.shot.kind != "close" else 240 * u
    centre = (stage.beside(0.2), stage.y(0.46))
    _planet(stage, centre, radius, tone, 0.35, rings=stage.rng.random() < 0.5 or "saturn" in stage.shot.seed)
    small = (stage.beside(-0.24), stage.y(0.24))
    _planet(stage, small, 34 * u, tuple(hexes("5a5a62 85858c b0b0b4 d8d8da c0d0e0")), 0.5, rings=False)


def _planet(
    stage: Stage,
    centre: tuple[float, float],
    radius: float,
    tone: tuple[Colour, ...],
    depth: float,
    rings: bool,
) -> None:
    """A globe lit from one side, with bands of cloud and a thin bright atmosphere."""
    half = int(radius * (2.3 if rings else 1.25)) // 2 * 2 + 4
    step = 1 if half < 330 else 2
    rows, columns = (np.mgrid[-half:half:step, -half:half:step].astype(np.float32) + 0.5) / radius
    away2 = rows**2 + columns**2
    z = np.sqrt(np.clip(1 - away2, 0, 1))
    sun = np.array((-stage.side * 0.72, -0.42, 0.55))
    light = np.clip(columns * sun[0] + rows * sun[1] + z * sun[2], 0, 1)
    tilt = rows * 0.93 + columns * 0.36
    noise = fractal(stage.rng, len(rows), len(rows), (5, 9), 6, 0.55)
    bands = 0.5 + 0.5 * np.sin(tilt * 11 + (noise - 0.5) * 6)
    mixed = normal(0.6 * bands + 0.6 * noise)
    ramp = np.array(tone[:4], np.float32)
    rgb: Field = np.stack([np.interp(mixed, (0, 0.38, 0.7, 1), ramp[:, i]) for i in range(3)], axis=-1)
    rgb = rgb * (0.03 + 1.08 * light**0.85)[..., None]
    rim = np.clip(1 - z, 0, 1) ** 3 * np.clip(light * 1.6 + 0.1, 0, 1)
    rgb = rgb + rim[..., None] * np.array(tone[4], np.float32) * 0.75
    away = np.sqrt(away2)
    disc = np.clip((1 - away) * radius / step + 0.5, 0, 1)
    toward = np.clip(0.5 + 0.5 * (columns * sun[0] + rows * sun[1]) / np.maximum(away, 0.01), 0, 1)
    halo = np.exp(-np.maximum(away - 1, 0) / 0.055) * toward**1.5 * 0.75 * (away > 0.98)
    alpha: Field = np.maximum(disc, halo)
    rgb = np.where(
        (disc > 0.5)[..., None], rgb, np.array(tone[4], np.float32) * (0.02 + 0.98 * toward**2)[..., None]
    )
    if rings:
        rgb, alpha = _ringed(rgb, alpha, disc, rows, columns, tone, light)
    picture = Image.fromarray(np.clip(rgb * 255, 0, 255).astype(np.uint8))
    stage.layers.append(
        layers.layer_of(
            picture, to_picture(alpha.astype(np.float32)), centre[0] - half, centre[1] - half, depth, step
        )
    )


def _ringed(
    rgb: Field, alpha: Field, disc: Field, rows: Field, columns: Field, tone: tuple[Colour, ...], light: Field
) -> tuple[Field, Field]:
    along, across = columns * 0.94 - rows * 0.34, (columns * 0.34 + rows * 0.94) / 0.24
    reach = np.hypot(along, across)
    grain = np.sin(reach * 60) * 0.2 + np.sin(reach * 23) * 0.3 + 0.6
    ring = smoothstep(reach, 1.32, 1.38) * smoothstep(reach, 2.12, 2.05) * np.clip(grain, 0, 1)
    front = ring * np.where((across < 0) & (disc > 0.5), 0, 1) * 0.85
    colour = np.array(mix(tone[2], tone[3], 0.5), np.float32) * (
        0.35 + 0.6 * np.clip(light.max() - 0.15, 0, 1)
    )
    return rgb * (1 - front[..., None]) + colour * front[..., None], np.maximum(alpha, front)


def _surface(stage: Stage, tone: tuple[Colour, ...]) -> None:
    """Rocky ground to stand on."""
    u = stage.u
    heaven = Heaven(stage, stage.y(0.8), sun=(0.5 - stage.side * 0.4, 0.2), strength=0.6)
    line = rolling(stage, stage.y(0.92), 70 * u, 1.8, 0.5, 6)
    sheet = hills(stage, 0.9, line, mix(tone[1], (0.5, 0.45, 0.42), 0.4), heaven, 0.8, 0.8, head=110 * u)
    if stage.says("figure"):
        x = stage.beside(-0.2)
        sheet.place(props.figure(stage, 96 * u, 1.0), (x, float(line[int(x)]) + 8 * u))
    stage.add(sheet)


DEEP: tuple[Colour, ...] = tuple(hexes("7fe0dc 2fa8bc 0f5f8c 06284e"))


def paint_underwater(stage: Stage) -> None:
    """Under the sea: light from above, a reef, fish and bubbles."""
    dim = 1 - 0.6 * stage.palette.dark
    tones = [times(mix(c, stage.palette.sky, 0.12), dim) for c in DEEP]
    sheet = Sheet(stage, 0.1, (0, stage.height), tones[1], opaque=True)
    sheet.rgb = _depths(stage, tones)
    texture = layers.sparkle_texture(1 - np.abs(2 * fractal(stage.rng, 256, 256, (7, 9), 3) - 1), 0.5, 1.02)
    fade = np.linspace(1, 0, stage.height // 2, dtype=np.float32)[:, None] ** 2 * np.ones(
        (1, stage.width), np.float32
    )
    stage.add(sheet.layer(shimmers=(layers.shimmer(fade * 0.36, 0, 0, texture, ((16, 5), (-12, 9))),)))
    shafts(stage, (stage.beside(-0.1), stage.y(-0.35)), 0.3, mix(tones[0], (1, 1, 1), 0.5), 0.75 * dim, 0.6)
    _reef(stage, 0.4, 0.84, mix(tones[2], tones[1], 0.4), 60)
    _animals(stage, tones)
    _reef(stage, 0.7, 0.92, mix(tones[3], tones[2], 0.6), 110)
    _reef(stage, 1.15, 1.04, times(tones[3], 0.6), 190)
    effects.motes(stage, 26, None, (1.6, 5), (0, -34), (0, 0, 1, 1), blink=0.3, strength=0.5)


def _depths(stage: Stage, tones: list[Colour]) -> Image.Image:
    height, width = max(16, stage.height // 6), max(16, stage.width // 6)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    beside = np.abs(columns / width - (0.5 - 0.1 * stage.side))
    level = np.clip(rows / height * 0.9 + beside**2 * 0.9, 0, 1)
    stops = np.array(tones, np.float32)
    fields = [np.interp(level, (0, 0.28, 0.66, 1), stops[:, i]).astype(np.float32) for i in range(3)]
    return Image.merge("RGB", [to_picture(upsample(field, stage.width, stage.height)) for field in fields])


def _reef(stage: Stage, depth: float, foot: float, colour: Colour, size: float) -> None:
    """Rocks with corals and weeds as a silhouette."""
    u, rng = stage.u, stage.rng
    line = rolling(stage, stage.y(foot), size * 0.8 * u, 2.2, 0.2, 4)
    sheet = stage.sheet(depth, (float(line.min()) - size * 1.7 * u, stage.height), colour)
    sheet.fill(sheet.below(line), sheet.gradient(mix(colour, stage.palette.sky, 0.12), times(colour, 0.75)))
    pic = Sprite(stage.width, sheet.height, colour, fine=2)
    reds = [mix(colour, c, 0.34) for c in hexes("e0506a f08a4a b060c0 e8b850")]
    for index, x in enumerate(rng.random(15) * stage.width):
        base = float(line[min(stage.width - 1, int(x))]) - sheet.top + 6 * u
        tall = size * (0.5 + 0.8 * rng.random()) * u
        if index % 3 == 0:
            _weed(stage, pic, (x, base), tall * 1.4, mix(colour, (0.1, 0.5, 0.35), 0.25))
        else:
            _coral(stage, pic, (x, base), -math.pi / 2, tall * 0.42, 4, reds[index % 4])
    sheet.place(pic, (stage.width / 2, stage.height))
    stage.add(sheet)


def _weed(stage: Stage, pic: Sprite, at: tuple[float, float], tall: float, colour: Colour) -> None:
    phase = stage.rng.random() * 6
    spine = [
        (at[0] + math.sin(phase + s * 0.5) * tall * 0.06 * s / 4, at[1] - tall * s / 12) for s in range(13)
    ]
    for s, (start, end) in enumerate(pairwise(spine)):
        pic.line([start, end], max(0.8, tall * 0.05 * (1 - s / 14)), colour)


def _coral(
    stage: Stage, pic: Sprite, at: tuple[float, float], angle: float, reach: float, level: int, colour: Colour
) -> None:
    end = (at[0] + math.cos(angle) * reach, at[1] + math.sin(angle) * reach)
    pic.line([at, end], max(0.8, reach * 0.2), colour)
    half = reach * 0.1
    pic.ellipse((end[0] - half, end[1] - half, end[0] + half, end[1] + half), colour)
    if level > 0:
        for turn in (-0.42, 0.38):
            _coral(
                stage,
                pic,
                end,
                angle + turn + 0.25 * stage.rng.standard_normal(),
                reach * 0.74,
                level - 1,
                colour,
            )


def _animals(stage: Stage, tones: list[Colour]) -> None:
    """Two schools of fish, and a whale or jellyfish."""
    u, rng = stage.u, stage.rng
    for part, height, size, speed in ((-0.2, 0.42, 15, 20), (0.22, 0.6, 22, -28)):
        pic = Sprite(300, 130, tones[3], u)
        dark, pale = mix(tones[3], tones[2], 0.3), mix(tones[1], (1, 0.85, 0.4), 0.6)
        for x, y in rng.random((16, 2)) * (250, 100) + (25, 15):
            _fish(
                pic,
                (x, y),
                size * (0.7 + 0.5 * rng.random()),
                1 if speed > 0 else -1,
                pale if size > 20 else dark,
            )
        stage.add_sprite(
            pic, (stage.beside(part), stage.y(height)), 0.5, Motion((speed * u, 0), bob=4 * u, period=4)
        )
    if stage.says("whale"):
        pic = _whale(stage, mix(tones[3], tones[2], 0.25), mix(tones[2], tones[1], 0.7))
        stage.add_sprite(
            pic,
            (stage.beside(0.1), stage.y(0.52)),
            0.45,
            Motion((-stage.side * 9 * u, 0), bob=7 * u, period=7),
        )
    else:
        for part, height, size in ((0.12, 0.44, 130), (0.32, 0.62, 90), (-0.34, 0.7, 64)):
            stage.add_sprite(
                _jelly(stage, size, mix(tones[0], (1, 0.7, 0.85), 0.5)),
                (stage.beside(part), stage.y(height)),
                0.6,
                Motion((2 * u, -4 * u), bob=8 * u, period=3.4, phase=part),
            )


def _fish(pic: Sprite, at: tuple[float, float], size: float, way: int, colour: Colour) -> None:
    x, y = at
    pic.ellipse((x - size * 0.5, y - size * 0.2, x + size * 0.5, y + size * 0.2), colour)
    tail = x - way * size * 0.42
    pic.poly(
        [(tail, y), (tail - way * size * 0.32, y - size * 0.22), (tail - way * size * 0.32, y + size * 0.22)],
        colour,
    )


def _whale(stage: Stage, dark: Colour, pale: Colour) -> Sprite:
    k, way = 2.6 * stage.u, -stage.side
    pic = Sprite(200, 90, dark, k)

    def turned(points: Sequence[Point]) -> Sequence[Point]:
        return points if way > 0 else [(200 - x, y) for x, y in points]

    body = [
        (190, 46),
        (182, 32),
        (160, 24),
        (125, 22),
        (90, 28),
        (58, 38),
        (34, 42),
        (22, 30),
        (8, 24),
        (14, 38),
        (4, 52),
        (20, 50),
        (36, 48),
        (64, 54),
        (96, 62),
        (140, 66),
        (172, 60),
    ]
    pic.poly(turned(body), dark)
    pic.poly(turned([(188, 49), (172, 60), (140, 66), (104, 63), (140, 58), (170, 51)]), pale)
    pic.poly(turned([(138, 58), (128, 84), (120, 86), (124, 60)]), mix(dark, pale, 0.25))
    return pic


def _jelly(stage: Stage, size: float, colour: Colour) -> Sprite:
    k = size * stage.u / 100
    pic = Sprite(80, 130, colour, k)
    for index in range(7):
        x = 18 + index * 7.3
        points = [(x + math.sin(index + s * 0.7) * 3.2, 34 + s * 7) for s in range(13 - abs(index - 3))]
        pic.line(points, 1.3, mix(colour, (1, 1, 1), 0.1))
    edge = [(40 - 34 * math.cos(a), 40 - 34 * math.sin(a)) for a in np.linspace(0, math.pi, 20)]
    pic.poly([*edge, (66, 46), (52, 42), (40, 47), (28, 42), (14, 46)], colour)
    inner = [(40 - 22 * math.cos(a), 38 - 22 * math.sin(a)) for a in np.linspace(0, math.pi, 16)]
    pic.poly(inner, mix(colour, (1, 1, 1), 0.4))
    return pic


#: background, three folds and the light on them
_SILKS = tuple(
    tuple(hexes(text))
    for text in (
        "0a0f2c 2a3f9c 7a3fa8 d0487a ffd0a0",
        "06202a 0f6f80 2fa890 c8c070 fff0c0",
        "1a0a20 6a2060 c04860 f09050 ffe0b0",
        "0c1428 1f5f98 4098c8 90d0d8 ffffff",
    )
)


def paint_abstract(stage: Stage) -> None:
    """Folds of light like silk, one behind the other."""
    heaven = Heaven(stage, stage.y(1.1), sun=(0.5 - stage.side * 0.25, 0.3), strength=0.5)
    low, first, second, third, light = _SILKS[int(generator("silk", stage.world).integers(len(_SILKS)))]
    stage.palette = stage.palette._replace(sun=light)
    backdrop = Sheet(stage, 0.1, (0, stage.height), low, opaque=True)
    backdrop.rgb = backdrop.gradient(low, mix(low, first, 0.5))
    stage.add(backdrop)
    glow(stage, heaven.sun, 620 * stage.unit, mix(light, first, 0.3), 0.75, 0.12, Pulse(0.25, 6))
    for index, fold in enumerate((first, second, third, mix(third, low, 0.5))):
        _silk(stage, 0.25 + 0.25 * index, stage.y(0.30 + 0.19 * index), fold)
    effects.motes(stage, 30, None, (1.2, 5), (8, -5), blink=0.9, strength=0.7)


def _silk(stage: Stage, depth: float, row: float, colour: Colour) -> None:
    """One fold: bright along its winding edge, fading out below."""
    u, rng = stage.unit, stage.rng
    width, height = stage.width // 4 * 2, stage.height // 4 * 2 + 2
    x = np.linspace(0, 1, width, dtype=np.float32)
    a, b, c = rng.random(3) * 6.28
    line = row + (95 * np.sin(x * 4.2 + a) + 46 * np.sin(x * 8.6 + b) + 16 * np.sin(x * 17 + c)) * u
    rows = np.arange(height, dtype=np.float32)[:, None] * 2
    drop = (rows - line[None, :]) / (u * 300)
    sheen = 0.5 + 0.5 * np.sin(drop * 12 + np.sin(x * 7 + b)[None, :] * 2.2 + x[None, :] * 9)
    light = np.exp(-np.maximum(drop, 0) * 9) * 0.8 + sheen * 0.38 * np.exp(-np.maximum(drop, 0) * 2.2)
    base, bright = (
        np.array(times(colour, 0.6), np.float32),
        np.array(mix(colour, stage.palette.sun, 0.7), np.float32),
    )
    rgb = base + (bright - base) * np.clip(light, 0, 1)[..., None]
    alpha = smoothstep(drop, -0.004, 0.01) * (0.25 + 0.72 * np.exp(-np.maximum(drop, 0) * 1.25))
    picture = Image.fromarray(np.clip(rgb * 255, 0, 255).astype(np.uint8))
    layer = layers.layer_of(picture, to_picture(alpha), 0, 0, depth, 2)
    motion = Motion(bob=9 * u, period=6 + 3 * depth, phase=float(rng.random()))
    stage.add(replace(layer, motion=motion, solid=None))
