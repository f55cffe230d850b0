"""Open country: meadow, road, village, forest and desert."""

import math
from itertools import pairwise

import numpy as np

from raypipe.providers.local import effects, props
from raypipe.providers.local.ground import (
    GRASS,
    PINE,
    ROCK,
    Range,
    albedo,
    hills,
    leafy_line,
    peaks,
    pine_line,
    rolling,
)
from raypipe.providers.local.layers import Motion
from raypipe.providers.local.noise import Line, fractal, smoothstep, to_picture
from raypipe.providers.local.palette import Colour, mix
from raypipe.providers.local.sky import Heaven, clouds, glow, paint_sky
from raypipe.providers.local.stage import Sheet, Sprite, Stage

HORIZONS = {"wide": 0.6, "medium": 0.6, "close": 0.62, "aerial": 0.42, "low": 0.72}
WHEAT: Colour = (0.74, 0.62, 0.3)
DUNE: Colour = (0.86, 0.6, 0.36)


def paint_meadow(stage: Stage) -> None:
    """Rolling hills, a tree and flowers in the near grass."""
    u, horizon = stage.u, stage.y(HORIZONS[stage.shot.kind])
    heaven = Heaven(stage, horizon)
    backdrop = paint_sky(stage, heaven)
    far = rolling(stage, horizon + 10 * u, 90 * u, 3, 0.2, 5)
    backdrop.merge(hills(stage, 0.3, far, albedo(stage, (0.3, 0.42, 0.4)), heaven, 0.3))
    woods = leafy_line(stage, rolling(stage, horizon + 40 * u, 50 * u, 2.5, 0.1, 4), 13 * u)
    backdrop.merge(hills(stage, 0.45, woods, albedo(stage, (0.24, 0.38, 0.22)), heaven, 0.4, 0.4))
    stage.add(backdrop)
    clouds(stage, heaven)
    _balloons(stage, horizon)
    middle = rolling(stage, horizon + 95 * u, 70 * u, 1.6, 0.0, 3)
    sheet = hills(stage, 0.65, middle, albedo(stage, (0.5, 0.58, 0.26)), heaven, 0.6, 0.6, head=260 * u)
    _on_the_hill(stage, sheet, middle)
    stage.add(sheet)
    _grass(stage, heaven)
    if stage.palette.dark > 0.5:
        effects.motes(stage, 26, (1.0, 0.86, 0.35), (3, 6), area=(0, 0.5, 1, 1), blink=1.0)
    elif stage.world.weather == "clear":
        effects.motes(stage, 24, None, (1.2, 3), (10, -4), (0, 0.4, 1, 1), strength=0.5)


def _balloons(stage: Stage, horizon: float) -> None:
    if not stage.says("balloon"):
        return
    u = stage.u
    for index, (part, height, size) in enumerate(((-0.16, 0.78, 190), (0.02, 1.0, 110), (0.34, 0.9, 80))):
        spot = (stage.beside(part), horizon - height * 330 * u + size * u)
        drift = Motion((stage.side * (3 + index) * u, -2.6 * u), bob=3 * u, period=5 + index)
        stage.add_sprite(
            props.balloon(stage, size * u, 0.85 - 0.12 * index, index), spot, 0.5 - 0.1 * index, drift
        )


def _on_the_hill(stage: Stage, sheet: Sheet, line: Line) -> None:
    """A tree, or what the prompt names, on the middle hill."""
    u, x = stage.u, stage.beside(0.2)
    foot = float(line[int(x)]) + 6 * u
    if stage.says("windmill"):
        sheet.place(props.windmill(stage, 190 * u, 0.66), (x, foot))
    elif stage.says("castle"):
        sheet.place(props.castle(stage, 170 * u, 0.66), (x, foot))
    elif stage.says("house"):
        sheet.place(props.house(stage, 90 * u, 0.66), (x, foot))
    else:
        sheet.place(props.tree(stage, 210 * u, 0.66, albedo(stage, (0.3, 0.42, 0.18))), (x, foot))
    other = stage.beside(-0.12)
    if stage.says("deer"):
        sheet.place(props.deer(stage, 66 * u, 0.66), (other, float(line[int(other)]) + 5 * u))
    elif stage.says("figure"):
        sheet.place(props.figure(stage, 64 * u, 0.66), (other, float(line[int(other)]) + 5 * u))


def _grass(stage: Stage, heaven: Heaven) -> None:
    """Blades of grass and flowers right before the camera."""
    u, rng = stage.u, stage.rng
    base = rolling(stage, stage.y(0.93), 40 * u, 1.2, 0.0, 2)
    sheet = hills(stage, 1.0, base, albedo(stage, (0.26, 0.38, 0.14)), heaven, 0.4, 0.6, head=150 * u)
    hue = ((0.93, 0.3, 0.24), (0.98, 0.86, 0.4), (0.66, 0.46, 0.86), (0.98, 0.95, 0.92))
    colours = hue[2:3] * 3 if "lavender" in stage.shot.seed else hue
    strip = Sprite(stage.width, 190 * u, stage.lit((0.2, 0.32, 0.12), 1.0, 0.2), fine=2)
    rich = 1.0 if stage.world.weather != "snow" else 0.25
    for x in rng.random(int(520 * rich)) * stage.width:
        _blade(stage, strip, x, (30 + 70 * rng.random() ** 2) * u)
    for x in rng.random(int(95 * rich)) * stage.width:
        _flower(stage, strip, x, (48 + 90 * rng.random()) * u, colours[int(rng.integers(len(colours)))])
    sheet.place(strip, (stage.width / 2, float(base.max()) + 34 * u))
    stage.add(sheet)


def _blade(stage: Stage, strip: Sprite, x: float, tall: float) -> None:
    light = float(stage.rng.random()) ** 2 * 0.9
    lean = (stage.rng.random() - 0.3) * tall * 0.5
    colour = stage.lit(albedo(stage, (0.3, 0.44, 0.15)), 1.0, light)
    low = strip.height
    width = 2.4 * stage.u
    strip.poly(
        [
            (x - width, low),
            (x + lean * 0.45 - width * 0.4, low - tall * 0.6),
            (x + lean, low - tall),
            (x + lean * 0.45 + width * 0.6, low - tall * 0.6),
            (x + width, low),
        ],
        colour,
    )


def _flower(stage: Stage, strip: Sprite, x: float, tall: float, colour: Colour) -> None:
    rng, u = stage.rng, stage.u
    top, lean = strip.height - tall, (rng.random() - 0.5) * 16 * u
    strip.line([(x, strip.height), (x + lean, top)], 1.6 * u, stage.lit((0.24, 0.36, 0.14), 1.0, 0.3))
    size = (5 + 5 * rng.random()) * u
    for petal in range(5):
        angle = petal * 1.2566 + rng.random()
        cx, cy = x + lean + math.cos(angle) * size * 0.7, top + math.sin(angle) * size * 0.5
        shade = 0.45 + 0.5 * (petal % 2)
        strip.ellipse(
            (cx - size * 0.62, cy - size * 0.5, cx + size * 0.62, cy + size * 0.5),
            stage.lit(colour, 1.0, shade),
        )
    strip.ellipse(
        (x + lean - size * 0.3, top - size * 0.28, x + lean + size * 0.3, top + size * 0.28),
        stage.lit((0.95, 0.75, 0.25), 1.0, 0.8),
    )


def paint_road(stage: Stage) -> None:
    """A road that runs to the horizon between hills, with a car if one is named."""
    u, horizon = stage.u, stage.y(HORIZONS[stage.shot.kind] - 0.04)
    vanish = stage.beside(-0.06)
    heaven = Heaven(
        stage,
        horizon,
        sun=((vanish - stage.margin[0]) / stage.size.width + 0.05, 0.82)
        if stage.world.time in {"dawn", "sunset"}
        else None,
    )
    backdrop = paint_sky(stage, heaven)
    backdrop.merge(
        peaks(stage, 0.45, Range(stage, horizon + 20 * u, 200 * u, 5, heaven), (0.5, 0.38, 0.34), heaven, 0.1)
    )
    backdrop.merge(
        hills(stage, 0.5, rolling(stage, horizon + 6 * u, 36 * u, 3, 0.3), albedo(stage, GRASS), heaven, 0.4)
    )
    stage.add(backdrop)
    clouds(stage, heaven)
    _roadway(stage, heaven, horizon, vanish)
    _poles(stage, horizon, vanish)
    if stage.says("car", "figure") or "road trip" in stage.shot.seed:
        near = 0.32
        x = vanish + (stage.x(0.5) + 60 * u - vanish) * near
        rumble = Motion(bob=0.8 * u, period=0.9)
        spot = (x + 24 * u, horizon + (stage.y(1) - horizon) * (near + 0.12))
        stage.add_sprite(props.car(stage, 74 * u, 0.8), spot, 0.75, rumble)
        glow(
            stage,
            (spot[0], spot[1] - 30 * u),
            70 * u,
            (1.0, 0.25, 0.15),
            0.2 + 0.4 * stage.palette.dark,
            0.75,
        )


def _roadway(stage: Stage, heaven: Heaven, horizon: float, vanish: float) -> None:
    """Ground and road in perspective."""
    u = stage.u
    line = np.full(stage.width, horizon, np.float32)
    sheet = hills(stage, 0.8, line, albedo(stage, (0.56, 0.48, 0.28)), heaven, 0.0, 0.7)
    rows = np.arange(sheet.height, dtype=np.float32)[:, None] + sheet.top
    columns = np.arange(sheet.width, dtype=np.float32)[None, :]
    v = np.clip((rows - horizon) / (stage.height - horizon), 0, 1)
    bend = 46 * u * np.sin(v * 3.0) * stage.side * (1 - v)
    middle = vanish + (stage.x(0.5) + 60 * u - vanish) * v + bend
    half = 3 * u + v * 560 * u
    across = (columns - middle) / half
    asphalt = stage.lit((0.26, 0.26, 0.29), 0.9, 0.6)
    far = mix(stage.lit((0.36, 0.35, 0.36), 0.5, 0.8), stage.palette.horizon, 0.35)
    soft = 1.6 / half
    sheet.fill(
        to_picture(smoothstep(np.abs(across), 1 + soft, 1 - soft)),
        sheet.gradient(far, asphalt, (horizon, stage.y(0.9))),
    )
    distance = 1 / (v + 0.035)
    dashes = (np.sin(distance * 5.5) > -0.1) & (v > 0.012)
    paint = stage.lit((0.95, 0.85, 0.5), 0.9, 0.9)
    sheet.tint(smoothstep(np.abs(across), 0.022 + soft * 0.5, 0.012) * dashes * 0.9, paint)
    edge = smoothstep(np.abs(np.abs(across) - 0.93), 0.016 + soft * 0.5, 0.006)
    sheet.tint(edge * 0.75, stage.lit((0.95, 0.94, 0.9), 0.9, 0.85))
    shine = (
        np.exp(-(((columns - heaven.sun[0]) / (170 * u + 300 * u * v)) ** 2))
        * np.exp(-v * 2.2)
        * heaven.strength
    )
    wet = 1.0 if stage.world.weather in {"rain", "storm"} else 0.55
    sheet.tint(
        (shine * wet * (np.abs(across) < 1)).astype(np.float32),
        mix(stage.palette.sun, stage.palette.horizon, 0.3),
    )
    stage.add(sheet)


def _poles(stage: Stage, horizon: float, vanish: float) -> None:
    """Telegraph poles that shrink towards the vanishing point."""
    u, side = stage.u, stage.side
    dark = stage.lit((0.2, 0.16, 0.14), 0.9, 0.3)
    sheet = stage.sheet(0.82, (0, stage.height), dark)
    pic = Sprite(stage.width, stage.height, dark, fine=2)
    tops = []
    for index in range(7):
        near = 0.8 * 0.55**index
        x, foot = (
            vanish + side * (120 * u + 640 * u * near) * near**0.4,
            horizon + (stage.height - horizon) * near * 0.75,
        )
        tall = 520 * u * near + 6 * u
        pic.line([(x, foot), (x, foot - tall)], max(0.8, 11 * u * near), dark)
        pic.line(
            [(x - 0.14 * tall, foot - tall * 0.93), (x + 0.14 * tall, foot - tall * 0.93)],
            max(0.7, 7 * u * near),
            dark,
        )
        tops.append((x, foot - tall * 0.93, tall))
    for (x0, y0, a), (x1, y1, b) in pairwise(tops):
        for end in (-0.13, 0.13):
            wire = [
                (
                    x0 + end * a + (x1 + end * b - x0 - end * a) * s / 8,
                    y0 + (y1 - y0) * s / 8 + math.sin(math.pi * s / 8) * 0.09 * a,
                )
                for s in range(9)
            ]
            pic.line(wire, max(0.5, 1.4 * u), dark)
    sheet.place(pic, (stage.width / 2, stage.height))
    stage.add(sheet)


def paint_village(stage: Stage) -> None:
    """Cottages on a hillside with lit windows and smoke."""
    u, horizon = stage.u, stage.y(HORIZONS[stage.shot.kind])
    heaven = Heaven(stage, horizon)
    backdrop = paint_sky(stage, heaven)
    backdrop.merge(peaks(stage, 0.5, Range(stage, horizon + 30 * u, 270 * u, 4, heaven), ROCK, heaven, 0.4))
    woods = pine_line(stage, rolling(stage, horizon + 30 * u, 70 * u, 2.5, 0.2, 5), 16 * u)
    backdrop.merge(hills(stage, 0.5, woods, albedo(stage, PINE), heaven, 0.4, 0.4))
    stage.add(backdrop)
    clouds(stage, heaven)
    _cottages(stage, heaven, rolling(stage, horizon + 90 * u, 60 * u, 1.4, 0, 3), 0.7, 66, 7)
    if stage.says("windmill"):
        stage.add_sprite(props.windmill(stage, 200 * u, 0.75), (stage.beside(-0.3), horizon + 90 * u), 0.72)
    _cottages(stage, heaven, rolling(stage, horizon + 190 * u, 70 * u, 1.1, 0, 3), 0.9, 110, 4)
    near = pine_line(stage, rolling(stage, stage.y(1.08), 60 * u, 1, 0, 2), 130 * u, 0.6)
    stage.add(hills(stage, 1.15, near, albedo(stage, (0.08, 0.14, 0.12)), heaven, 0.2))


def _cottages(stage: Stage, heaven: Heaven, line: Line, depth: float, size: float, count: int) -> None:
    u, rng = stage.u, stage.rng
    sheet = hills(
        stage, depth, line, albedo(stage, (0.36, 0.48, 0.24)), heaven, 0.5, 0.5, head=size * 2.2 * u
    )
    spots = (np.arange(count) + 0.2 + 0.6 * rng.random(count)) / count * stage.width
    smoke = []
    for index, x in enumerate(spots):
        foot = float(line[min(stage.width - 1, int(x))]) + (8 + 26 * rng.random()) * u
        tall = size * (0.8 + 0.4 * rng.random()) * u
        if index == count // 2 and depth < 0.8:
            _steeple(stage, sheet, (x, foot), tall * 2.1, depth)
            continue
        sheet.place(
            props.house(stage, tall, depth, tone=int(rng.integers(4))), (x, foot), flip=stage.side < 0
        )
        if index % 2 == 0:
            smoke.append((x + stage.side * tall * 0.2, foot - tall))
        sheet.place(_pine(stage, tall * (1.0 + 0.5 * rng.random()), depth), (x + tall * 0.95, foot + 4 * u))
    stage.add(sheet)
    for at in smoke[:2]:
        _smoke(stage, at, depth, size * 2.2 * u)


def _steeple(stage: Stage, sheet: Sheet, at: tuple[float, float], height: float, depth: float) -> None:
    """A village church."""
    k = height / 100
    wall, shade = stage.lit(props.WHITE, depth, 0.8), stage.lit(props.WHITE, depth, 0.25)
    roof = stage.lit((0.4, 0.22, 0.2), depth, 0.5)
    pic = Sprite(80, 100, wall, k)
    pic.rect((34, 66, 76, 100), mix(wall, shade, 0.45))
    pic.poly([(30, 66), (40, 50), (70, 50), (80, 66)], roof)
    pic.rect((14, 36, 34, 100), wall)
    pic.rect((25, 36, 34, 100), shade)
    pic.poly([(12, 37), (36, 37), (24, 4)], roof)
    lamp = mix(shade, stage.palette.lamp, 0.3 + 0.7 * stage.palette.dark)
    for x in (44, 56, 68):
        pic.rect((x, 74, x + 5, 90), lamp)
    pic.rect((17, 46, 22, 54), lamp)
    sheet.place(pic, at)


def _pine(stage: Stage, height: float, depth: float) -> Sprite:
    k = height / 100
    dark, bright = (
        stage.lit(albedo(stage, PINE), depth, 0.2),
        stage.lit(albedo(stage, (0.22, 0.36, 0.26)), depth, 0.8),
    )
    pic = Sprite(56, 100, dark, k)
    pic.rect((26, 88, 30, 100), stage.lit(props.WOOD, depth, 0.2))
    for tier in range(5):
        y, wide = 4 + tier * 16, 9 + tier * 4.4
        pic.poly([(28, y - 4), (28 + wide, y + 24), (28 - wide, y + 24)], dark)
        pic.poly(
            [(28, y - 4), (28 - stage.side * wide, y + 24), (28 - stage.side * wide * 0.35, y + 21)], bright
        )
    return pic


def _smoke(stage: Stage, at: tuple[float, float], depth: float, height: float) -> None:
    """Smoke that rises from a chimney and drifts off."""
    u, rng = stage.u, stage.rng
    tall, wide = max(8, int(height) // 2 * 2), max(8, int(height * 0.5) // 2 * 2)
    rows = np.linspace(0, 1, tall, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, wide, dtype=np.float32)[None, :]
    path = 0.35 * np.sin(rows * 5 + rng.random() * 6) * (1 - rows) - stage.side * (1 - rows) ** 2 * 0.3
    plume = np.exp(-(((columns - path) / (0.06 + 0.34 * (1 - rows))) ** 2)) * smoothstep(rows, 0.0, 0.5)
    plume *= 0.5 + 0.6 * fractal(rng, wide, tall, (4, 6), 3)
    stage.add_soft(
        plume * 0.42,
        mix(stage.palette.haze, (1, 1, 1), 0.35),
        (at[0] - wide / 2, at[1] - tall),
        depth,
        Motion(bob=1.5 * u, period=5),
    )
