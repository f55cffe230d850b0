"""The city: its skyline over the water."""

import numpy as np
from PIL import ImageDraw

from raypipe.providers.local import effects, props
from raypipe.providers.local.ground import hills, leafy_line, water
from raypipe.providers.local.layers import Motion, Pulse
from raypipe.providers.local.noise import Field, to_picture
from raypipe.providers.local.palette import Colour, bytes_of, mix, times
from raypipe.providers.local.sky import Heaven, clouds, glow, paint_sky
from raypipe.providers.local.stage import Sheet, Sprite, Stage

NEON: tuple[Colour, ...] = (
    (1.0, 0.25, 0.6),
    (0.2, 0.85, 1.0),
    (1.0, 0.72, 0.25),
    (0.6, 0.4, 1.0),
    (0.3, 1.0, 0.7),
)


def paint_skyline(stage: Stage) -> None:
    """Towers in the haze, mirrored in the water before them."""
    u = stage.u
    shore = stage.y({"aerial": 0.7, "low": 0.74, "close": 0.72}.get(stage.shot.kind, 0.7))
    heaven = Heaven(
        stage, shore, sun=(0.5 - stage.side * 0.2, 0.7) if stage.world.time in {"dawn", "sunset"} else None
    )
    backdrop = paint_sky(stage, heaven)
    for depth, tall, wide, gap in ((0.25, 300, 44, 1.0), (0.45, 360, 58, 1.05), (0.68, 250, 74, 1.35)):
        towers(stage, backdrop, shore, depth, tall * u, wide * u, gap, heaven)
        if depth < 0.6:
            haze = mix(stage.palette.haze, stage.palette.horizon, 0.4)
            fade = np.linspace(0, 1, 40, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32)
            _fog_rows(stage, backdrop, shore, fade**2 * 0.6, haze)
    quay = np.full(stage.width, shore - 7 * u, np.float32)
    quay = leafy_line(stage, quay, 9 * u)
    land = hills(stage, 0.75, quay, (0.13, 0.17, 0.14), heaven, 0.0)
    backdrop.merge(land)
    stage.add(water(stage, backdrop, heaven, shore, (0.08, 0.16, 0.24), 0.86, 4.0, 0.7))
    clouds(stage, heaven, bottom=shore - 150 * u)
    _beacons(stage, shore)
    if stage.says("bridge", "train"):
        _bridge(stage, shore)
    if stage.says("boat", "ship") or stage.rng.random() < 0.4:
        stage.add_sprite(
            props.sailboat(stage, 66 * u, 0.6),
            (stage.beside(-0.1), shore + 46 * u),
            0.5,
            Motion((stage.side * 5 * u, 0), bob=1.4 * u),
        )
    if stage.palette.dark < 0.5 and stage.world.weather == "clear":
        effects.birds(stage, 0.2, 7)
    _parapet(stage, heaven)


def skyline_row(stage: Stage, sheet: Sheet, foot: float, heaven: Heaven) -> None:
    """Paint two rows of towers that stand on a canvas row, as seen through a window."""
    towers(stage, sheet, foot, 0.3, 260 * stage.u, 50 * stage.u, 1.0, heaven)
    towers(stage, sheet, foot + 30 * stage.u, 0.6, 190 * stage.u, 64 * stage.u, 1.2, heaven)


def _fog_rows(stage: Stage, backdrop: Sheet, shore: float, field: Field, colour: Colour) -> None:
    top = int(shore - 260 * stage.u)
    mask = to_picture(field).resize((backdrop.width, int(shore) - top))
    backdrop.rgb.paste(bytes_of(colour), (0, top, backdrop.width, int(shore)), mask)


def towers(
    stage: Stage,
    sheet: Sheet,
    foot: float,
    depth: float,
    tall: float,
    wide: float,
    gap: float,
    heaven: Heaven,
) -> None:
    """A row of buildings, tallest towards the beat's own side of the middle."""
    rng, x = stage.rng, -wide
    centre = stage.beside(0.14)
    while x < stage.width + wide:
        breadth = wide * (0.55 + 0.8 * rng.random())
        peak = np.exp(-(((x - centre) / (stage.size.width * 0.34)) ** 2))
        height = tall * (0.22 + 0.45 * rng.random() + 0.75 * peak * rng.random())
        _tower(stage, sheet, (x, foot - height, x + breadth, foot + 2), depth, heaven)
        x += breadth * gap * (0.86 + 0.4 * rng.random())


def _tower(
    stage: Stage, sheet: Sheet, box: tuple[float, float, float, float], depth: float, heaven: Heaven
) -> None:
    rng, u = stage.rng, stage.u
    left, top, right, foot = (int(edge) for edge in box)
    foot -= sheet.top
    top -= sheet.top
    tone = 0.75 + 0.5 * rng.random()
    stone: Colour = times(mix((0.42, 0.46, 0.54), (0.56, 0.46, 0.42), float(rng.random())), tone)
    face, shade = stage.lit(stone, depth, 0.5), stage.lit(stone, depth, 0.12)
    split = left + int((right - left) * (0.62 if heaven.sun[0] < left else 0.38))
    pair = (face, shade) if heaven.sun[0] < left else (shade, face)
    pen = ImageDraw.Draw(sheet.rgb)
    pen.rectangle((left, top, split, foot), fill=bytes_of(pair[0]))
    pen.rectangle((split, top, right, foot), fill=bytes_of(pair[1]))
    crown, middle = int((right - left) * 0.22), (left + right) // 2
    style = int(rng.integers(5))
    if style == 0:
        pen.polygon([(left, top), (right, top), (middle, top - crown * 2)], fill=bytes_of(pair[1]))
    elif style in (1, 2):
        pen.rectangle((left + crown, top - crown, right - crown, top), fill=bytes_of(pair[1]))
        pen.line((middle, top - crown * 3, middle, top), fill=bytes_of(shade), width=max(1, round(1.6 * u)))
    if sheet.alpha is not None:
        ImageDraw.Draw(sheet.alpha).rectangle((left, top, right, foot), fill=255)
    _windows(stage, sheet, (left, top, right, foot), depth)


def _windows(stage: Stage, sheet: Sheet, box: tuple[int, int, int, int], depth: float) -> None:
    """A grid of windows, some of them lit; at night more of them."""
    rng, dark = stage.rng, stage.palette.dark
    left, top, right, foot = box
    cell = max(3, round(stage.u * (3.4 + 5.2 * depth)))
    columns, rows = (right - left) // cell, (foot - top) // (cell + 1)
    if columns < 2 or rows < 2:
        return
    on = rng.random((rows, columns)) < 0.10 + 0.42 * dark
    level = np.where(on, 0.35 + 0.65 * rng.random((rows, columns)), 0.0)
    pane = np.zeros((cell + 1, cell), np.float32)
    pane[1 : max(2, cell - 1), 1 : max(2, cell - 1)] = 1.0
    mask = np.kron(level, pane) * (0.25 + 0.75 * dark)
    warm = mix(stage.palette.lamp, (1.0, 0.95, 0.85), float(rng.random()) * 0.5)
    neon = stage.world.mood == "neon" and rng.random() < 0.35
    colour = NEON[int(rng.integers(5))] if neon else warm
    picture = to_picture(np.clip(mask, 0, 1).astype(np.float32))
    sheet.rgb.paste(
        bytes_of(stage.aired(colour, 0.4 + 0.6 * depth)),
        (left, top, left + picture.width, top + picture.height),
        picture,
    )


def _beacons(stage: Stage, shore: float) -> None:
    if stage.palette.dark < 0.5:
        return
    for index, part in enumerate((0.08, 0.2, -0.22)):
        at = (stage.beside(part), shore - (240 - 60 * index) * stage.u)
        glow(stage, at, 13 * stage.u, (1.0, 0.25, 0.2), 0.9, 0.12, Pulse(0.9, 1.9, index * 0.37))


def _bridge(stage: Stage, shore: float) -> None:
    """A suspension bridge with lights, over which cars or a train run."""
    u, dark = stage.u, stage.lit((0.32, 0.2, 0.18), 0.7, 0.3)
    sheet = stage.sheet(0.55, (shore - 240 * u, shore + 40 * u), dark)
    pic = Sprite(stage.width, 280 * u, dark, fine=2)
    deck, low = 190 * u, 280 * u
    towers = [stage.x(0.2) - 40 * u, stage.x(0.8)]
    pic.rect((0, deck, stage.width, deck + 9 * u), dark)
    for x in towers:
        for side in (-1, 1):
            pic.rect((x + side * 9 * u - 3 * u, 16 * u, x + side * 9 * u + 3 * u, low), dark)
        for y in (22, 90, 150):
            pic.rect((x - 11 * u, y * u, x + 11 * u, (y + 7) * u), dark)
    for start, end in (
        (towers[0] - (towers[1] - towers[0]), towers[0]),
        tuple(towers),
        (towers[1], 2 * towers[1] - towers[0]),
    ):
        steps = np.linspace(0, 1, 25)
        cable = [(start + (end - start) * s, 18 * u + (deck - 34 * u) * 4 * s * (1 - s)) for s in steps]
        pic.line(cable, 2.2 * u, dark)
        for x, y in cable[1:-1]:
            pic.line([(x, y), (x, deck)], 0.8 * u, dark)
    sheet.place(pic, (stage.width / 2, shore + 40 * u))
    stage.add(sheet)
    lamps = stage.palette.lamp
    for index in range(3):
        runner = Sprite(150, 10, lamps, u, fine=2)
        for x in (3, 60, 118) if not stage.says("train") else range(2, 146, 12):
            runner.rect((x, 2, x + 8, 7), mix(lamps, (1, 1, 1), 0.3))
        start = stage.x((0.1, 0.5, 0.85)[index])
        stage.add_sprite(
            runner, (start, shore - 240 * u + deck), 0.55, Motion((stage.side * (60 + 22 * index) * u, 0))
        )


def _parapet(stage: Stage, heaven: Heaven) -> None:
    """The near bank, with somebody who looks across if the prompt names a person."""
    u = stage.u
    line = np.full(stage.width, stage.y(0.985), np.float32)
    sheet = hills(stage, 1.1, leafy_line(stage, line, 34 * u), (0.07, 0.09, 0.09), heaven, 0.3, head=120 * u)
    if stage.says("figure", "cat"):
        sheet.place(props.figure(stage, 120 * u, 1.1), (stage.beside(-0.18), stage.y(0.99)))
    stage.add(sheet)
