"""Where water meets land: sea, lake and tropical beach."""

import numpy as np

from raypipe.providers.local import effects, props
from raypipe.providers.local.ground import (
    PINE,
    ROCK,
    Range,
    albedo,
    headland,
    hills,
    leafy_line,
    peaks,
    pine_line,
    rolling,
    water,
    waterline,
    wavelets,
)
from raypipe.providers.local.layers import Motion, Pulse
from raypipe.providers.local.noise import smoothstep
from raypipe.providers.local.palette import mix
from raypipe.providers.local.sky import Heaven, clouds, glow, paint_sky, veil
from raypipe.providers.local.stage import Sheet, Stage

SEA = (0.06, 0.30, 0.42)
SAND = (0.90, 0.78, 0.58)
HORIZONS = {"wide": 0.58, "medium": 0.57, "close": 0.54, "aerial": 0.3, "low": 0.7}


def paint_sea(stage: Stage) -> None:
    """The open sea under a wide sky, with what the prompt lets sail or stand there."""
    u, shore = stage.u, stage.y(HORIZONS[stage.shot.kind])
    heaven = Heaven(stage, shore)
    backdrop = paint_sky(stage, heaven)
    far = headland(stage, shore, 46 * u, stage.side, 0.62, 0.5)
    backdrop.merge(hills(stage, 0.12, far, ROCK, heaven, 0))
    if stage.says("castle"):
        backdrop.place(props.castle(stage, 60 * u, 0.2), (stage.beside(0.36), shore - 30 * u))
    stage.add(water(stage, backdrop, heaven, shore, SEA, 0.72))
    clouds(stage, heaven)
    _afloat(stage, shore)
    if stage.says("lighthouse"):
        _lighthouse(stage, heaven, shore)
    else:
        _rocks(stage, heaven, shore)
    if stage.world.time != "night" and stage.world.weather in {"clear", "clouds", "fog"}:
        effects.birds(stage, 0.24, 6)


def _afloat(stage: Stage, shore: float) -> None:
    """Put a boat, a ship or a whale on the water."""
    u = stage.u
    spot = (stage.beside(-0.14), shore + 42 * u)
    sway = Motion(speed=(stage.side * 5 * u, 0), bob=2.2 * u, period=3.4)
    if stage.says("ship"):
        stage.add_sprite(props.ship(stage, 170 * u, 0.45), spot, 0.45, sway)
    elif stage.says("boat") or not stage.says("lighthouse"):
        stage.add_sprite(props.sailboat(stage, 118 * u, 0.42), spot, 0.42, sway)


def _lighthouse(stage: Stage, heaven: Heaven, shore: float) -> None:
    u = stage.u
    foot = min(shore + 120 * u, stage.y(0.9))
    line = headland(stage, foot, 190 * stage.unit * stage.shot.scale**0.4, stage.side, 0.42, 0.22)
    x = stage.beside(0.27)
    top = float(line[int(np.clip(x, 0, stage.width - 1))])
    tall = min(250 * u, top - stage.y(0.04))
    sheet = hills(stage, 0.75, line, (0.36, 0.33, 0.3), heaven, 0.8, 0.5, head=tall)
    sheet.place(props.house(stage, 52 * u, 0.72, tone=0), (x + stage.side * 62 * u, top + 16 * u))
    sheet.place(props.lighthouse(stage, tall, 0.72), (x, top + 10 * u))
    waterline(sheet, foot)
    stage.add(sheet)
    lamp = (x, top + 10 * u - tall * 0.84)
    if stage.palette.dark > 0.25 or stage.world.weather in {"storm", "fog", "rain"}:
        _beam(stage, lamp)
    glow(
        stage,
        lamp,
        90 * u,
        mix(stage.palette.lamp, (1, 1, 1), 0.4),
        0.25 + 0.7 * stage.palette.dark,
        0.75,
        Pulse(0.5, 3.1),
    )


def _beam(stage: Stage, lamp: tuple[float, float]) -> None:
    """Throw two beams of light from the lantern, brightening and fading as it turns."""
    for side, phase in ((-1, 0.0), (1, 0.5)):
        rows, columns = np.mgrid[0 : stage.height : 4, 0 : stage.width : 4].astype(np.float32)
        away = (columns - lamp[0]) * side
        spread = np.abs(rows - lamp[1] + away * 0.06) / np.maximum(away * 0.075 + 5 * stage.u, 1)
        body = smoothstep(spread, 1.0, 0.1) * np.exp(-np.maximum(away, 0) / (stage.unit * 620)) * (away > 0)
        stage.add_light(
            body * (0.30 + 0.35 * stage.palette.dark),
            mix(stage.palette.lamp, (1, 1, 0.95), 0.55),
            0.7,
            Pulse(0.9, 4.2, phase),
        )


def _rocks(stage: Stage, heaven: Heaven, shore: float) -> None:
    """Dark rocks in the near corner, with foam at their feet."""
    low = stage.y(1.0) + 30 * stage.u
    line = headland(stage, low, 150 * stage.u, -stage.side, 0.4, 0.5)
    stage.add(hills(stage, 1.1, line, (0.26, 0.25, 0.27), heaven, 0.7, 0.5))


def paint_lake(stage: Stage) -> None:
    """A still lake that mirrors wooded hills and peaks."""
    u, shore = stage.u, stage.y({"aerial": 0.36, "close": 0.52, "low": 0.64}.get(stage.shot.kind, 0.56))
    heaven = Heaven(stage, shore)
    backdrop = paint_sky(stage, heaven)
    backdrop.merge(peaks(stage, 0.5, Range(stage, shore + 20 * u, 270 * u, 4, heaven), ROCK, heaven, 0.45))
    for depth, height, size in ((0.45, 90, 9), (0.62, 34, 22)):
        ridge = rolling(stage, shore + 2 * u, height * u, 2.4, 0.2, 5)
        backdrop.merge(
            hills(stage, depth, pine_line(stage, ridge, size * u), albedo(stage, PINE), heaven, 0.3, 0.4)
        )
    stage.add(water(stage, backdrop, heaven, shore, (0.08, 0.22, 0.26), 0.92, 3.2, 0.5))
    clouds(stage, heaven)
    veil(stage, (shore - 50 * u, shore + 60 * u), 0.3, mix(stage.palette.haze, (1, 1, 1), 0.15), 0.5)
    if stage.says("boat"):
        spot = (stage.beside(-0.1), shore + 56 * u)
        stage.add_sprite(
            props.sailboat(stage, 90 * u, 0.5), spot, 0.5, Motion((stage.side * 4 * u, 0), bob=1.2 * u)
        )
    _bank(stage, heaven)
    if stage.world.weather == "clear" and stage.world.time != "night":
        effects.birds(stage, 0.2, 5)


def _bank(stage: Stage, heaven: Heaven) -> None:
    """The near bank: grass and reeds, a few tall pines at one side, and who camps there."""
    u = stage.u
    line = headland(stage, stage.y(1.0) + 10 * u, 120 * u, stage.side, 0.62, 0.2)
    soil = albedo(stage, (0.10, 0.18, 0.14), 0.5)
    sheet = hills(stage, 1.05, line, soil, heaven, 0.5, 0.2, head=330 * u)
    for part in (*(0.26 + 0.27 * stage.rng.random(6)), *(-0.36 - 0.16 * stage.rng.random(3))):
        spot = min(stage.width - 1.0, max(0.0, stage.beside(part)))
        tall = min(320 * u, 0.62 * stage.size.height) * (0.4 + 0.6 * stage.rng.random())
        foot = min(float(line[int(spot)]), stage.y(1.02)) + 16 * u
        sheet.place(props.pine(stage, tall, 1.05, albedo(stage, (0.08, 0.15, 0.13), 0.35)), (spot, foot))
    x = stage.beside(0.2)
    foot = float(line[int(x)]) + 8 * u
    if stage.says("tent"):
        sheet.place(props.tent(stage, 74 * u, 1.0), (x, foot))
    if stage.says("deer"):
        sheet.place(props.deer(stage, 104 * u, 1.0), (x, foot))
    elif stage.says("figure"):
        sheet.place(props.figure(stage, 96 * u, 1.0), (x, foot))
    stage.add(sheet)


def paint_beach(stage: Stage) -> None:
    """A tropical beach: turquoise water, an island, pale sand and palms."""
    u, shore = stage.u, stage.y({"aerial": 0.28, "close": 0.46, "low": 0.56}.get(stage.shot.kind, 0.5))
    heaven = Heaven(stage, shore)
    backdrop = paint_sky(stage, heaven)
    isle = rolling(stage, shore + 4 * u, 120 * u, 2.2, 0.2, 5)
    columns = np.arange(stage.width)
    isle = (
        shore
        + 4
        - (shore + 4 - isle) * smoothstep(np.abs(columns - stage.beside(-0.2)) / (330 * u), 1.0, 0.25)
    )
    backdrop.merge(hills(stage, 0.3, leafy_line(stage, isle, 9 * u), (0.2, 0.42, 0.26), heaven, 0.3, 0.4))
    clear = 0.45 if stage.world.time == "day" else 0.72
    stage.add(water(stage, backdrop, heaven, shore, (0.10, 0.62, 0.62), clear, 5))
    clouds(stage, heaven)
    if stage.says("boat", "ship"):
        spot = (stage.beside(0.06), shore + 36 * u)
        stage.add_sprite(
            props.sailboat(stage, 96 * u, 0.42), spot, 0.42, Motion((stage.side * 5 * u, 0), bob=2 * u)
        )
    _sand(stage, heaven, shore)
    _palms(stage)
    if stage.world.weather == "clear" and stage.world.time != "night":
        effects.birds(stage, 0.2, 5)


def _sand(stage: Stage, heaven: Heaven, shore: float) -> None:
    u = stage.u
    columns = np.linspace(0, 1, stage.width, dtype=np.float32)
    sweep = columns if stage.side > 0 else 1 - columns
    edge = stage.y(0.97) - (stage.y(0.97) - shore) * 0.62 * sweep**1.7 + 12 * u * np.sin(sweep * 9)
    wash = Sheet(stage, 0.9, (float(edge.min()) - 30 * u, stage.height), stage.lit(SAND, 1.0, 0.8))
    foam = mix(stage.lit((0.97, 0.99, 1.0), 1.0, 1.0), stage.palette.horizon, 0.1)
    shallow = stage.lit((0.35, 0.8, 0.74), 1.0, 0.9)
    wash.fill(wash.below((edge - 18 * u).astype(np.float32), 26 * u), shallow)
    crest = wavelets(stage, stage.width, wash.height, 0.3, 0.7)
    wash.fill(wash.below((edge - 5 * u).astype(np.float32), 3 * u), foam)
    wash.tint(crest * 0.2, shallow)
    wet, dry = stage.lit((0.66, 0.53, 0.4), 1.0, 0.75), stage.lit(SAND, 1.0, 0.95)
    wash.fill(wash.below((edge + 5 * u).astype(np.float32), 4 * u), mix(wet, stage.palette.sky, 0.25))
    wash.fill(wash.below((edge + 40 * u).astype(np.float32), 36 * u), dry)
    wash.tint(smoothstep(crest, 0.3, 1.0) * 0.12, stage.lit((0.6, 0.48, 0.36), 1.0, 0.5))
    if stage.says("figure"):
        wash.place(props.figure(stage, 90 * u, 1.0), (stage.beside(0.16), stage.y(0.9)))
    stage.add(wash)


def _palms(stage: Stage) -> None:
    u = stage.u
    for part, size, depth in ((0.33, 420, 1.05), (0.47, 560, 1.2)):
        tall = min(size * u, stage.size.height * 0.95)
        sprite = props.palm(stage, tall, 0.95, stage.side * (0.8 + 0.5 * stage.rng.random()))
        sway = Motion(bob=1.0 * u, period=4.6, phase=part)
        stage.add_sprite(sprite, (stage.beside(part), stage.y(0.98) + 60 * u * (depth - 0.9)), depth, sway)
