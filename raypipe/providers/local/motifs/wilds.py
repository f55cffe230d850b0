"""Wild country: forest and desert."""

import math
from itertools import pairwise

import numpy as np

from raypipe.providers.local import effects, props
from raypipe.providers.local.ground import (
    albedo,
    blurred,
    edge_light,
    hills,
    leafy_line,
    rolling,
)
from raypipe.providers.local.noise import Line, fractal, smoothstep
from raypipe.providers.local.palette import Colour, mix, times
from raypipe.providers.local.sky import Heaven, clouds, paint_sky, shafts, veil
from raypipe.providers.local.stage import Sheet, Sprite, Stage

HORIZONS = {"wide": 0.6, "medium": 0.6, "close": 0.62, "aerial": 0.42, "low": 0.72}
DUNE: Colour = (0.86, 0.6, 0.36)


def paint_forest(stage: Stage) -> None:
    """Tall trunks in mist, shafts of light and ferns."""
    heaven = Heaven(stage, stage.y(0.8), sun=(0.5 - stage.side * 0.12, 0.42), strength=None)
    heaven.strength = max(heaven.strength, 0.35)
    backdrop = _forest_light(stage, heaven)
    light = mix(stage.palette.sun, stage.palette.haze, 0.4)
    _trunks(stage, backdrop, 0.28, 24, 18, heaven)
    _canopy(stage, backdrop, 0.3)
    stage.add(backdrop)
    for depth, count, width in ((0.55, 10, 40), (0.9, 5, 84)):
        sheet = stage.sheet(depth, (0, stage.height), stage.lit((0.16, 0.15, 0.13), depth, 0.2))
        _trunks(stage, sheet, depth, count, width, heaven)
        stage.add(sheet)
        _undergrowth(stage, depth, heaven)
        leaves = stage.sheet(depth, (0, stage.y(0.5)), stage.lit((0.1, 0.15, 0.06), depth, 0.2))
        _canopy(stage, leaves, depth)
        stage.add(leaves)
        if depth < 0.6:
            veil(stage, (stage.y(0.5), stage.y(0.96)), 0.6, light, 0.42)
            beam = mix(stage.palette.sun, (1, 1, 1), 0.1)
            shafts(stage, (heaven.sun[0], stage.y(-0.25)), 0.6, beam, 0.2 + 0.6 * heaven.strength, 0.6)
    _ferns(stage)
    glowing = stage.says("fireflies") or stage.palette.dark > 0.5
    if glowing:
        effects.motes(stage, 34, (1.0, 0.88, 0.36), (3, 7), area=(0, 0.3, 1, 1), blink=1.0)
    else:
        effects.motes(stage, 30, None, (1.2, 3.2), (6, 5), (0, 0.1, 1, 0.95), strength=0.6)


def _undergrowth(stage: Stage, depth: float, heaven: Heaven) -> None:
    """The forest's floor, and on the nearer one who lives there."""
    u = stage.u
    floor = rolling(stage, stage.y(0.78 + 0.12 * depth), 46 * u, 2, 0.1, 4)
    floor = leafy_line(stage, floor, 40 * u * depth)
    head = 140 * u if depth > 0.6 else 0.0
    sheet = hills(stage, depth, floor, albedo(stage, (0.24, 0.36, 0.14)), heaven, 0.7, 0.7, head)
    if depth > 0.6:
        _dwellers(stage, sheet, floor)
    stage.add(sheet)


def _forest_light(stage: Stage, heaven: Heaven) -> Sheet:
    """What shines through between the trees: warm where the light comes from, deep green around."""
    pal = stage.palette
    backdrop = Sheet(stage, 0.1, (0, stage.height), pal.haze, opaque=True)
    rows, columns = np.mgrid[0 : stage.height : 8, 0 : stage.width : 8].astype(np.float32)
    away = np.hypot((columns - heaven.sun[0]) * 0.8, rows - heaven.sun[1]) / (stage.unit * 720)
    leaves = fractal(stage.rng, columns.shape[1], rows.shape[0], (14, 10), 4)
    deep = stage.lit(albedo(stage, (0.16, 0.3, 0.16)), 0.55, 0.4)
    green = mix(stage.lit(albedo(stage, (0.46, 0.62, 0.26)), 0.5, 1.0), pal.haze, 0.25)
    backdrop.rgb.paste(backdrop.gradient(deep, mix(deep, pal.haze, 0.4)))
    backdrop.tint(np.exp(-((away / 0.62) ** 2)) * (0.75 + 0.35 * leaves), green)
    backdrop.tint(np.exp(-((away / 0.3) ** 2)) * 0.9 * heaven.strength**0.5, mix(pal.sun, green, 0.15))
    return backdrop


def _trunks(stage: Stage, sheet: Sheet, depth: float, count: int, width: float, heaven: Heaven) -> None:
    """Trunks that lean a little, lit on the side of the light."""
    u, rng = stage.u, stage.rng
    bark = mix((0.17, 0.13, 0.1), (0.34, 0.33, 0.26), 0.6 * (1 - depth))
    dark, rim = stage.lit(bark, 0.4 + 0.6 * depth, 0.15), stage.lit(times(bark, 2.2), 0.5 + 0.5 * depth, 1.0)
    pic = Sprite(stage.width, stage.height, dark, fine=2)
    for x in (np.arange(count) + rng.random(count) * 0.95) / count * stage.width:
        half = width * u * (0.35 + 0.4 * rng.random())
        if depth > 0.5 and abs(x - stage.beside(-0.05)) < half + 85 * u:
            continue
        foot, lean = stage.y(0.84 + 0.12 * depth), (rng.random() - 0.5) * 46 * u
        flare = half * 1.7
        pic.poly(
            [
                (x - half * 0.75 + lean, -2),
                (x + half * 0.75 + lean, -2),
                (x + half, foot - 90 * u * depth),
                (x + flare, foot + 40 * u),
                (x - flare, foot + 40 * u),
                (x - half, foot - 90 * u * depth),
            ],
            dark,
        )
        side = 1 if heaven.sun[0] > x else -1
        thin = half * 0.22
        pic.poly(
            [
                (x + side * half * 0.75 + lean, -2),
                (x + side * (half - thin) * 0.75 + lean, -2),
                (x + side * (half - thin), foot - 90 * u * depth),
                (x + side * half, foot - 90 * u * depth),
            ],
            rim,
        )
        for _ in range(2):
            y, reach = rng.random() * stage.y(0.5), (60 + 90 * rng.random()) * u * depth
            way = 1 if rng.random() < 0.5 else -1
            pic.line(
                [
                    (x + lean * (1 - y / foot), y + 20 * u),
                    (x + way * reach * 0.6, y),
                    (x + way * reach, y - 24 * u),
                ],
                max(0.8, 5 * u * depth),
                dark,
            )
    sheet.place(pic, (stage.width / 2, stage.height))


def _canopy(stage: Stage, sheet: Sheet, depth: float) -> None:
    """Foliage that hangs in from above, darker the nearer it is."""
    u, rng = stage.u, stage.rng
    tone = albedo(stage, (0.26, 0.4, 0.16))
    pic = Sprite(stage.width, 330 * u, stage.lit(tone, depth, 0.2), fine=2)
    reach = stage.margin[1] + (36 + 78 * depth) * u
    for light in (0.05, 0.3, 0.65):
        for x, y, size in rng.random((int(130 * (1.2 - 0.5 * depth)), 3)):
            swell = 0.55 + 0.45 * math.sin(x * 9 + depth * 7) * math.sin(x * 23 + 1)
            radius = (10 + 22 * size) * u * (0.5 + 0.6 * depth)
            cy = y**0.8 * reach * swell * (1.15 - 0.35 * light) - light * 14 * u
            shade = light * (0.5 if depth > 0.8 else 1.0)
            pic.ellipse(
                (x * stage.width - radius, cy - radius * 0.7, x * stage.width + radius, cy + radius * 0.7),
                stage.lit(tone, 0.45 + 0.55 * depth, shade),
            )
    sheet.place(pic, (stage.width / 2, 330 * u))


def _dwellers(stage: Stage, sheet: Sheet, floor: Line) -> None:
    u, x = stage.u, stage.beside(-0.05)
    foot = float(floor[int(x)]) + 16 * u
    if stage.says("house"):
        sheet.place(props.house(stage, 130 * u, 0.8), (stage.beside(0.2), foot + 20 * u))
    if stage.says("tent"):
        sheet.place(props.tent(stage, 90 * u, 0.8), (stage.beside(0.16), foot + 20 * u))
    if stage.says("figure"):
        sheet.place(props.figure(stage, 120 * u, 0.9), (x, foot))
    elif stage.says("deer") or not stage.says("house", "tent"):
        sheet.place(props.deer(stage, 130 * u, 0.9), (x, foot), flip=stage.side > 0)


def _ferns(stage: Stage) -> None:
    """Dark leaves out of focus at the lower corners."""
    u, rng = stage.u, stage.rng
    dark = stage.lit(albedo(stage, (0.10, 0.17, 0.09)), 1.0, 0.1)
    sheet = stage.sheet(1.25, (stage.y(0.62), stage.height), dark)
    pic = Sprite(stage.width, sheet.height, dark, fine=2)
    for x in (*(rng.random(5) * 0.26), *(1 - rng.random(5) * 0.26)):
        for _ in range(5):
            angle, reach = -math.pi * (0.15 + 0.7 * rng.random()), (90 + 120 * rng.random()) * u
            _leaf(pic, (x * stage.width, sheet.height + 10 * u), angle, reach, dark)
    sheet.place(pic, (stage.width / 2, stage.height))
    stage.add(blurred(sheet, 2.2 * u))


def _leaf(pic: Sprite, at: tuple[float, float], angle: float, reach: float, colour: Colour) -> None:
    spine = [
        (
            at[0] + math.cos(angle) * reach * s / 10,
            at[1] + math.sin(angle) * reach * s / 10 + (s / 10) ** 2 * reach * 0.35,
        )
        for s in range(11)
    ]
    pic.line(spine, reach * 0.015, colour)
    for s, ((x0, y0), (x1, y1)) in enumerate(pairwise(spine[1:])):
        size = 2.4 - 0.22 * s
        for side in (-1, 1):
            pic.poly(
                [(x0, y0), (x1, y1), (x1 - side * (y1 - y0) * size, y1 + side * (x1 - x0) * size)], colour
            )


def paint_desert(stage: Stage) -> None:
    """Dunes with sharp crests, and camels, pyramids or cacti if named."""
    u, horizon = stage.u, stage.y(HORIZONS[stage.shot.kind])
    heaven = Heaven(stage, horizon)
    backdrop = paint_sky(stage, heaven)
    mesas = rolling(stage, horizon + 8 * u, 90 * u, 3, 0.6, 4)
    backdrop.merge(hills(stage, 0.3, mesas, (0.7, 0.42, 0.32), heaven, 0.3))
    if stage.says("pyramid"):
        _pyramids(stage, backdrop, heaven, horizon)
    stage.add(backdrop)
    clouds(stage, heaven, 0.3 if stage.world.weather == "clear" else None)
    for index, depth in enumerate((0.45, 0.7, 1.0)):
        base = horizon + (30 + 95 * index + 36 * index**2) * u
        line = _dune_line(stage, base, (70 + 55 * index) * u, 2.4 - 0.6 * index)
        sheet = _dune(stage, depth, line, heaven)
        if index == 1:
            _caravan(stage, sheet, line)
        stage.add(sheet)
    effects.motes(stage, 18, None, (1, 2.4), (26, 2), (0, 0.5, 1, 1), strength=0.35)


def _dune_line(stage: Stage, base: float, height: float, features: float) -> Line:
    return rolling(stage, base, height, features, 0.35, 2, 0.35)


def _dune(stage: Stage, depth: float, line: Line, heaven: Heaven) -> Sheet:
    """A dune: a lit slope and a dark lee side that meet in a winding crest, with wind ripples."""
    u = stage.u
    sheet = stage.sheet(depth, (float(line.min()) - 100 * u, stage.height), stage.lit(DUNE, depth, 0.8))
    top = float(line.min())
    bright = sheet.gradient(
        stage.lit(DUNE, depth, 1.0), stage.lit(times(DUNE, 0.85), depth, 0.6), (top, top + 280 * u)
    )
    sheet.fill(sheet.below(line), bright)
    rows = np.arange(0, sheet.height, 2, dtype=np.float32)[:, None] + sheet.top
    columns = np.arange(0, stage.width, 2)
    drop = rows - line[None, ::2]
    toward = 1.0 if heaven.sun[0] > stage.width / 2 else -1.0
    wind = (fractal(stage.rng, len(columns), rows.shape[0], (3, 3), 3) - 0.5) * 130 * u
    index = np.clip(columns[None, :] + wind + toward * drop * 0.9, 0, stage.width - 1).astype(np.intp)
    size = max(3, round(60 * u)) | 1
    slope = np.gradient(
        np.convolve(np.pad(line, size, mode="edge"), np.ones(size) / size, "same")[size:-size]
    )
    lee = smoothstep((-slope[index] * toward).astype(np.float32), -0.02, 0.07) * smoothstep(
        drop, 260 * u, 40 * u
    )
    sheet.tint(lee * 0.85, stage.lit(times(DUNE, 0.7), depth, 0.05))
    ripple = np.sin((drop * 1.0 + wind * 0.8) / (5.5 * u) + columns[None, :] / (90 * u))
    sheet.tint(
        np.clip(ripple, 0, 1) * 0.10 * smoothstep(drop, 0, 40 * u), stage.lit(times(DUNE, 0.6), depth, 0.1)
    )
    edge_light(sheet, line, heaven, 0.7, 4)
    return sheet


def _caravan(stage: Stage, sheet: Sheet, line: Line) -> None:
    u = stage.u
    if stage.says("cactus"):
        for part, size in ((0.3, 150), (-0.24, 90), (0.08, 60)):
            x = stage.beside(part)
            sheet.place(props.cactus(stage, size * u, 0.7), (x, float(line[int(x)]) + 10 * u))
    elif stage.says("camel", "figure") or stage.rng.random() < 0.6:
        for index in range(4):
            x = stage.beside(0.05 + 0.055 * index)
            sheet.place(
                props.camel(stage, 46 * u, 0.8), (x, float(line[int(x)]) + 3 * u), flip=stage.side > 0
            )


def _pyramids(stage: Stage, backdrop: Sheet, heaven: Heaven, horizon: float) -> None:
    u = stage.u
    for part, size in ((0.2, 230), (-0.04, 160), (0.36, 110)):
        height, half = size * u, size * u * 0.8
        lit, dark = stage.lit(DUNE, 0.45, 0.95), stage.lit(DUNE, 0.45, 0.1)
        pic = Sprite(2 * half, height, lit)
        pic.poly([(half, 0), (2 * half, height), (0, height)], lit)
        turn = half * (1.3 if heaven.sun[0] < stage.beside(part) else 0.7)
        far = 2 * half if turn > half else 0
        pic.poly([(half, 0), (far, height), (turn, height)], dark)
        backdrop.place(pic, (stage.beside(part), horizon + 12 * u))
