"""Mountains, and what comes out of them: snow light, lava and falling water."""

from dataclasses import replace

import numpy as np
from PIL import Image

from raypipe.providers.local import effects, layers, props
from raypipe.providers.local.ground import (
    PINE,
    ROCK,
    SNOW,
    Range,
    albedo,
    edge_light,
    hills,
    leafy_line,
    peaks,
    pine_line,
    rolling,
    water,
)
from raypipe.providers.local.layers import Motion, Pulse
from raypipe.providers.local.noise import Field, Line, fractal, ridge_line, smoothstep, to_picture
from raypipe.providers.local.palette import Colour, mix, times
from raypipe.providers.local.sky import Heaven, clouds, glow, paint_sky, twinkle, veil
from raypipe.providers.local.stage import Sheet, Sprite, Stage

LAVA: Colour = (1.0, 0.42, 0.1)


def paint_mountain(stage: Stage) -> None:
    """Snowy peaks behind wooded ridges with mist between them."""
    u = stage.u
    horizon = stage.y(
        {"wide": 0.66, "medium": 0.68, "close": 0.72, "aerial": 0.5, "low": 0.78}[stage.shot.kind]
    )
    heaven = Heaven(stage, horizon - 60 * u)
    backdrop = paint_sky(stage, heaven)
    stage.add(backdrop.layer(shimmers=twinkle(stage, heaven)))
    clouds(stage, heaven)
    sheet = peaks(
        stage,
        0.55,
        Range(stage, horizon + 40 * u, 400 * u, 4.5 / stage.shot.scale, heaven),
        ROCK,
        heaven,
        0.5,
    )
    stage.add(sheet)
    veil(
        stage,
        (horizon - 130 * u, horizon + 60 * u),
        0.3,
        mix(stage.palette.haze, stage.palette.horizon, 0.4),
        0.55,
    )
    if stage.says("balloon"):
        drift = Motion((stage.side * 3 * u, -2 * u), bob=3 * u, period=5)
        stage.add_sprite(props.balloon(stage, 120 * u, 0.8), (stage.beside(-0.16), stage.y(0.46)), 0.5, drift)
    for index, depth in enumerate((0.42, 0.64, 1.0)):
        _wooded(stage, heaven, horizon, index, depth)
    if stage.world.weather in {"clear", "clouds"} and stage.world.time != "night":
        effects.birds(stage, 0.3, 5)


def _wooded(stage: Stage, heaven: Heaven, horizon: float, index: int, depth: float) -> None:
    u = stage.u
    base = horizon + (34 + 80 * index + 34 * index**2) * u
    ridge = rolling(stage, base, (130 - 20 * index) * u, 2.6, 0.3, 5)
    size = (13 + 20 * index + 16 * index**2) * u
    sheet = hills(
        stage,
        depth,
        pine_line(stage, ridge, size),
        albedo(stage, PINE, 0.42 - 0.15 * index),
        heaven,
        0.35,
        0.45,
        head=110 * u,
    )
    x = stage.beside(0.16)
    foot = float(ridge[int(x)]) + 6 * u
    if index == 0 and stage.says("castle"):
        sheet.place(props.castle(stage, 120 * u, 0.5), (x, foot + 8 * u))
    if index == 1 and stage.says("house", "tent"):
        thing = props.tent(stage, 50 * u, 0.7) if stage.says("tent") else props.house(stage, 62 * u, 0.7)
        sheet.place(thing, (x, foot))
    stage.add(sheet)
    if index == 2 and stage.says("figure"):
        stage.add(_ledge(stage, heaven, stage.beside(-0.16)))


def _ledge(stage: Stage, heaven: Heaven, x: float) -> Sheet:
    """A rock before the trees on which somebody stands and looks out."""
    u = stage.u
    columns = np.arange(stage.width, dtype=np.float32)
    top = stage.y(0.86)
    rough = ridge_line(stage.rng, stage.width, stage.width / (70 * u), 4, 0.5, 0.8) * 16 * u
    away = (columns - x) * stage.side
    line = top + rough + 500 * u * smoothstep(away, 90 * u, 200 * u)
    rock = hills(stage, 1.0, line.astype(np.float32), times(ROCK, 0.5), heaven, 0.8, 0.5, head=100 * u)
    rock.place(props.figure(stage, 92 * u, 1.0), (x, float(line[int(x)]) + 5 * u))
    return rock


def paint_aurora(stage: Stage) -> None:
    """Ice and snow under northern lights, or icebergs by day."""
    u = stage.u
    shore = stage.y({"aerial": 0.5, "close": 0.6, "low": 0.72}.get(stage.shot.kind, 0.66))
    heaven = Heaven(stage, shore, strength=0.2 if stage.palette.dark > 0.5 else None)
    backdrop = paint_sky(stage, heaven, disc=stage.palette.dark < 0.5)
    if stage.palette.dark > 0.5:
        _curtains(stage, backdrop, shore)
    range_ = Range(stage, shore + 12 * u, 210 * u, 5, heaven)
    backdrop.merge(peaks(stage, 0.6, range_, times(ROCK, 0.8), heaven, 0.95))
    woods = pine_line(stage, rolling(stage, shore + 2 * u, 22 * u, 3, 0.2, 4), 16 * u)
    backdrop.merge(hills(stage, 0.6, woods, albedo(stage, PINE), heaven, 0.2))
    stage.add(water(stage, backdrop, heaven, shore, (0.16, 0.32, 0.4), 0.92, 2.6, 0.35))
    if stage.palette.dark > 0.5:
        _moving_curtain(stage, shore)
    else:
        clouds(stage, heaven)
    _ice(stage, heaven)


def _curtain_fields(stage: Stage, width: int, height: int, phase: float) -> tuple[Field, Field]:
    """Strength and height within the curtain, at low resolution; tiles sideways."""
    x = np.linspace(0, 2 * np.pi, width, endpoint=False, dtype=np.float32)
    base = 0.7 + 0.1 * np.sin(x + phase) + 0.035 * np.sin(2 * x + phase * 2) + 0.014 * np.sin(5 * x + phase)
    rays = fractal(stage.rng, width, 2, (26, 2), 4, 0.7)[0]
    folds = fractal(stage.rng, width, 2, (5, 2), 3)[0]
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    rise = base[None, :] - v
    reach = (0.22 + 0.45 * rays)[None, :]
    body = smoothstep(rise, -0.03, 0.045) * np.exp(-np.maximum(rise, 0) / reach * 1.5)
    return body * (0.05 + 1.25 * rays * smoothstep(folds, 0.15, 0.75))[None, :], np.clip(rise / 0.5, 0, 1)


def _curtain_picture(stage: Stage, level: Field) -> Image.Image:
    low, high, top = (0.30, 1.0, 0.62), (0.25, 0.72, 0.85), (0.72, 0.36, 0.9)
    if stage.world.mood in {"dreamy", "warm", "neon"}:
        low, high, top = (0.45, 1.0, 0.75), (0.75, 0.45, 0.95), (1.0, 0.35, 0.65)
    stops = np.array((low, high, top), np.float32)
    rgb = np.stack([np.interp(level, (0, 0.4, 1), stops[:, i]) for i in range(3)], axis=-1)
    return Image.fromarray(np.clip(rgb * 255, 0, 255).astype(np.uint8))


def _curtains(stage: Stage, backdrop: Sheet, shore: float) -> None:
    """A still glow of green in the sky, which the water mirrors."""
    width, height = max(16, stage.width // 4), max(16, int(shore) // 4)
    field, level = _curtain_fields(stage, width, height, 0.4)
    size = (stage.width, int(shore))
    mask = to_picture(np.clip(field * 0.75, 0, 1)).resize(size, Image.Resampling.BICUBIC)
    backdrop.rgb.paste(_curtain_picture(stage, level).resize(size, Image.Resampling.BICUBIC), (0, 0), mask)


def _moving_curtain(stage: Stage, shore: float) -> None:
    for phase, speed in ((2.4, 11), (4.4, -8)):
        grain = 4
        period, height = stage.width // grain // 2 * 2, int(shore * 0.92) // grain // 2 * 2
        field, level = _curtain_fields(stage, period, max(8, height), phase)
        mask = to_picture(np.clip(np.tile(field, (1, 3)) * 0.6, 0, 1))
        wide = stage.width // grain + period + 2
        mask = mask.crop((0, 0, wide // 2 * 2, mask.height))
        picture = _curtain_picture(stage, np.tile(level, (1, 3))).crop((0, 0, mask.width, mask.height))
        layer = layers.layer_of(picture, mask, 0, 0, 0.12, grain)
        motion = Motion(speed=(speed * stage.unit, 0), wrap=period * grain)
        stage.add(replace(layer, motion=motion, pulse=Pulse(0.5, 5.5, phase), solid=None))


def _ice(stage: Stage, heaven: Heaven) -> None:
    """A near shore of snow with pines at one side, and who lives there."""
    u = stage.u
    line = rolling(stage, stage.y(0.97), 60 * u, 1.3, 0.1, 4)
    sheet = hills(stage, 1.0, line, SNOW, heaven, 0.3, 0.35, head=330 * u)
    x = stage.beside(0.26)
    for index in range(6):
        px = stage.beside(0.16 + 0.075 * index)
        tall = (110 + 150 * stage.rng.random()) * u
        if 0 <= px < stage.width:
            sheet.place(_snowy_pine(stage, tall), (px, float(line[int(px)]) + 12 * u))
    x = stage.beside(-0.16)
    foot = float(line[int(x)]) + 8 * u
    if stage.says("house", "tent"):
        thing = props.tent(stage, 62 * u, 1.0) if stage.says("tent") else props.house(stage, 90 * u, 1.0)
        sheet.place(thing, (x, foot))
        glow(stage, (x, foot - 30 * u), 130 * u, stage.palette.lamp, 0.5, 0.9, Pulse(0.2, 2.7))
    if stage.says("deer"):
        sheet.place(props.deer(stage, 110 * u, 1.0), (x, foot))
    elif stage.says("figure"):
        sheet.place(
            props.figure(stage, 96 * u, 1.0),
            (stage.beside(-0.06), float(line[int(stage.beside(-0.06))]) + 6 * u),
        )
    stage.add(sheet)


def _snowy_pine(stage: Stage, height: float) -> Sprite:
    k = height / 100
    dark, snow = stage.lit(PINE, 1.0, 0.2), stage.lit(SNOW, 1.0, 0.65)
    pic = Sprite(60, 100, dark, k)
    pic.rect((28, 88, 32, 100), stage.lit(props.WOOD, 1.0, 0.1))
    for tier in range(5):
        y, wide = 3 + tier * 16, 8 + tier * 4.8
        pic.poly([(30, y - 3), (30 + wide, y + 25), (30, y + 21), (30 - wide, y + 25)], dark)
        pic.poly(
            [
                (30, y - 3),
                (30 + wide * 0.8, y + 18),
                (30 + wide * 0.3, y + 13),
                (30, y + 17),
                (30 - wide * 0.35, y + 12),
                (30 - wide * 0.8, y + 18),
            ],
            snow,
        )
    return pic


def paint_volcano(stage: Stage) -> None:
    """A volcano with glowing streams of lava, smoke and embers."""
    u, horizon = stage.u, stage.y({"aerial": 0.56, "low": 0.8}.get(stage.shot.kind, 0.72))
    heaven = Heaven(stage, horizon)
    backdrop = paint_sky(stage, heaven)
    stage.add(backdrop)
    clouds(stage, heaven)
    x, top = stage.beside(0.1), horizon - 370 * u
    columns = np.arange(stage.width, dtype=np.float32)
    away = np.abs(columns - x)
    rough = ridge_line(stage.rng, stage.width, stage.width / (40 * u), 5, 0.55, 0.8) - 0.5
    line = (
        top + np.maximum(away - 46 * u, 0) ** 0.86 * 1.55 * u**0.14 + rough * np.minimum(away * 0.3, 26 * u)
    )
    line = np.minimum(line, horizon + 20 * u) + np.where(away < 46 * u, (46 * u - away) * 0.28, 0)
    _plume(stage, (x, top + 20 * u))
    glow(stage, (x, top + 10 * u), 330 * u, LAVA, 0.85, 0.25, Pulse(0.3, 1.9))
    sheet = hills(stage, 0.6, line.astype(np.float32), (0.28, 0.24, 0.26), heaven, 0.5, 0.7)
    streams = _streams(stage, sheet, line, x, top)
    stage.add(sheet.layer(shimmers=(streams,)))
    veil(stage, (horizon - 60 * u, horizon + 70 * u), 0.5, mix(stage.palette.haze, LAVA, 0.2), 0.5)
    for index, depth in enumerate((0.7, 1.05)):
        ridge = rolling(stage, horizon + (60 + 110 * index) * u, 70 * u, 2.4, 0.3, 5)
        grown = pine_line(stage, ridge, (24 + 44 * index) * u) if index else leafy_line(stage, ridge, 16 * u)
        stage.add(hills(stage, depth, grown, (0.09, 0.1, 0.1), heaven, 0.2, 0.3))
    effects.motes(stage, 30, (1.0, 0.5, 0.15), (1.3, 3.6), (8, -30), (0, 0, 1, 1), blink=0.9)


def _streams(stage: Stage, sheet: Sheet, line: Line, x: float, top: float) -> layers.Shimmer:
    """Paint lava that runs down from the crater; its light flows."""
    u = stage.u
    height, width = sheet.height // 2, stage.width // 2
    rows = np.arange(height, dtype=np.float32)[:, None] * 2 + sheet.top - top
    columns = np.arange(width, dtype=np.float32)[None, :] * 2 - x
    field = np.zeros((height, width), np.float32)
    for lean in (-0.55, -0.1, 0.32, 0.75):
        path = (ridge_line(stage.rng, height, height / (50 * u), 4, 0.6, 0.5) - 0.5)[:, None] * 70 * u
        middle = lean * (26 * u + rows * 0.62) + path * np.clip(rows / (160 * u), 0, 1)
        size = (8 - 5 * np.clip(rows / (330 * u), 0, 1)) * u
        core = np.exp(-(((columns - middle) / size) ** 2)) * smoothstep(
            rows, (330 - 90 * abs(lean)) * u, 60 * u
        )
        field = np.maximum(field, core * (rows > 4 * u))
    below = np.asarray(sheet.below(line.astype(np.float32)).resize((width, height))) / 255.0
    field = (field * below).astype(np.float32)
    sheet.tint(np.clip(field * 1.4, 0, 1), LAVA)
    sheet.tint(smoothstep(field, 0.55, 1.0), (1.0, 0.82, 0.4))
    noise = layers.sparkle_texture(fractal(stage.rng, 128, 128, (6, 10), 3), 0.3, 0.75)
    wide = np.repeat(np.repeat(field, 2, axis=0), 2, axis=1)[: sheet.height, : sheet.width]
    return layers.shimmer(wide * 0.5, 0, 0, noise, ((0, -30 * u), (6 * u, -18 * u)))


def _plume(stage: Stage, at: tuple[float, float]) -> None:
    """Smoke from the crater, lit from below."""
    grain = 4
    height, width = max(8, int(at[1]) // grain // 2 * 2), stage.width // grain // 2 * 2
    rows = np.linspace(1, 0, height, dtype=np.float32)[:, None]
    columns = (np.arange(width, dtype=np.float32)[None, :] * grain - at[0]) / (stage.unit * 720)
    noise = fractal(stage.rng, width, height, (9, 6), 6, 0.58)
    bend = stage.side * -0.34 * rows**1.6
    size = 0.05 + 0.34 * rows
    body = np.exp(-(((columns - bend + (noise - 0.5) * 0.16) / size) ** 2)) * (0.4 + 0.9 * noise)
    alpha = np.clip(body * 1.15, 0, 0.94) * smoothstep(rows, 1.02, 0.6)
    ash, fire = stage.lit((0.4, 0.36, 0.38), 0.6, 0.5), mix(LAVA, stage.palette.horizon, 0.25)
    heat = np.clip(np.exp(-rows * 3.6) * (0.4 + noise), 0, 1)[..., None]
    shade = (0.55 + 0.75 * (noise - np.roll(noise, 3, axis=1) * 0.5))[..., None]
    rgb = np.array(ash, np.float32) * shade * (1 - heat) + np.array(fire, np.float32) * heat
    picture = Image.fromarray(np.clip(rgb * 255, 0, 255).astype(np.uint8))
    layer = layers.layer_of(picture, to_picture(alpha.astype(np.float32)), 0, 0, 0.2, grain)
    stage.add(replace(layer, motion=Motion(bob=3 * stage.u, period=7), solid=None))


def paint_waterfall(stage: Stage) -> None:
    """A waterfall between wooded cliffs that drops into a pool."""
    u = stage.u
    pool = stage.y({"aerial": 0.66, "low": 0.82}.get(stage.shot.kind, 0.74))
    top, x, half = stage.y(0.2), stage.beside(-0.04), 74 * u
    heaven = Heaven(stage, stage.y(0.5))
    backdrop = paint_sky(stage, heaven)
    backdrop.merge(peaks(stage, 0.5, Range(stage, stage.y(0.5), 240 * u, 4, heaven), ROCK, heaven, 0.4))
    woods = pine_line(stage, rolling(stage, stage.y(0.42), 60 * u, 2, 0.2, 4), 24 * u)
    backdrop.merge(hills(stage, 0.45, woods, albedo(stage, PINE), heaven, 0.3, 0.5))
    _cliff(stage, backdrop, heaven, top, x, half)
    falling = _falling(stage, backdrop, (top, pool), x, half)
    pond = water(stage, backdrop, heaven, pool, (0.10, 0.34, 0.34), 0.6, 5, 0.5)
    stage.add(replace(pond, shimmers=(*falling, *pond.shimmers)))
    veil(stage, (pool - 120 * u, pool + 50 * u), 0.4, mix(stage.palette.haze, (1, 1, 1), 0.4), 0.75, 18)
    effects.motes(stage, 26, None, (1, 3), (3, -16), (0.3, 0.4, 0.7, 0.9), strength=0.5)
    _frame_of_leaves(stage, heaven)


def _cliff(stage: Stage, backdrop: Sheet, heaven: Heaven, top: float, x: float, half: float) -> None:
    u = stage.u
    line = rolling(stage, top + 10 * u, 70 * u, 2.6, 0.5, 5)
    columns = np.arange(stage.width, dtype=np.float32)
    notch = smoothstep(np.abs(columns - x), half * 1.5, half * 0.9)
    line = line * (1 - notch) + (top + 14 * u) * notch
    sheet = hills(stage, 0.6, line.astype(np.float32), (0.40, 0.37, 0.34), heaven, 0.3, 0.0)
    cracks = fractal(stage.rng, stage.width // 2, sheet.height // 2, (54 / stage.shot.scale, 6), 5, 0.62)
    sheet.tint(smoothstep(cracks, 0.45, 0.2) * 0.7, stage.lit((0.2, 0.19, 0.2), 0.6, 0.05))
    sheet.tint(smoothstep(cracks, 0.6, 0.9) * 0.6, stage.lit((0.6, 0.55, 0.48), 0.6, 0.9))
    moss = fractal(stage.rng, stage.width // 3, sheet.height // 3, (16, 15), 5, 0.6)
    ledge = np.linspace(0.14, -0.08, sheet.height // 3, dtype=np.float32)[:, None]
    sheet.tint(
        smoothstep(moss + ledge, 0.56, 0.7) * 0.7, stage.lit(albedo(stage, (0.26, 0.4, 0.18)), 0.6, 0.6)
    )
    backdrop.merge(sheet)
    grown = leafy_line(stage, (line + 6 * u + notch * 60 * u).astype(np.float32), 30 * u)
    trees = hills(
        stage,
        0.62,
        np.where(notch > 0.3, stage.height, grown).astype(np.float32),
        albedo(stage, (0.2, 0.34, 0.16)),
        heaven,
        0.4,
    )
    band = trees.below((grown + 34 * u).astype(np.float32), 20 * u)
    if trees.alpha is not None:
        from PIL import ImageChops

        trees.alpha = ImageChops.subtract(trees.alpha, band)
    backdrop.merge(trees)
    edge_light(backdrop, line, heaven, 0.3)


def _falling(
    stage: Stage, backdrop: Sheet, rows: tuple[float, float], x: float, half: float
) -> tuple[layers.Shimmer, ...]:
    """Paint the falling water; its streaks run down."""
    u, (top, pool) = stage.u, rows
    height, left, width = int(pool - top) // 2 * 2, int(x - half * 2), int(half * 4) // 2 * 2
    v = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    across = (np.arange(width, dtype=np.float32)[None, :] + left - x) / (half * (0.8 + 0.35 * v))
    streaks = fractal(stage.rng, width, height, (22, 2), 4, 0.65)
    edge = smoothstep(np.abs(across) + (streaks - 0.5) * 0.3, 1.0, 0.72)
    veil_ = edge * (0.62 + 0.5 * streaks)
    white, shade = stage.lit((0.97, 0.99, 1.0), 0.9, 0.9), stage.lit((0.6, 0.72, 0.78), 0.8, 0.4)
    tones = (
        np.array(shade, np.float32)
        + (np.array(white, np.float32) - np.array(shade, np.float32)) * streaks[..., None]
    )
    picture = Image.fromarray(np.clip(tones * 255, 0, 255).astype(np.uint8))
    backdrop.rgb.paste(picture, (left, int(top)), to_picture(np.clip(veil_, 0, 0.96)))
    texture = layers.sparkle_texture(fractal(stage.rng, 256, 256, (34, 4), 4, 0.62), 0.35, 0.8)
    light = layers.shimmer(edge * 0.55, max(0, left), int(top), texture, ((0, -330 * u), (2 * u, -210 * u)))
    return (light,)


def _frame_of_leaves(stage: Stage, heaven: Heaven) -> None:
    """Dark banks at both lower corners."""
    u = stage.u
    columns = np.abs(np.linspace(-1, 1, stage.width, dtype=np.float32))
    base = stage.y(1.12) - 200 * u * smoothstep(columns, 0.35, 1.0)
    line = leafy_line(stage, base.astype(np.float32), 56 * u)
    stage.add(hills(stage, 1.1, line, albedo(stage, (0.07, 0.12, 0.07)), heaven, 0.3, 0.2))
