"""The city: its skyline over the water, and a street in perspective."""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from raypipe.providers.local import effects, props
from raypipe.providers.local.ground import hills, leafy_line, water
from raypipe.providers.local.layers import Motion, Pulse
from raypipe.providers.local.noise import Field, to_picture
from raypipe.providers.local.palette import Colour, bytes_of, mix, times
from raypipe.providers.local.sky import Heaven, clouds, glow, paint_sky, veil
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
        _towers(stage, backdrop, shore, depth, tall * u, wide * u, gap, heaven)
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
        stage.add_sprite(props.sailboat(stage, 66 * u, 0.6), (stage.beside(-0.1), shore + 46 * u), 0.5,
                         Motion((stage.side * 5 * u, 0), bob=1.4 * u))  # fmt: skip
    if stage.palette.dark < 0.5 and stage.world.weather == "clear":
        effects.birds(stage, 0.2, 7)
    _parapet(stage, heaven)


def skyline_row(stage: Stage, sheet: Sheet, foot: float, heaven: Heaven) -> None:
    """Paint two rows of towers that stand on a canvas row, as seen through a window."""
    _towers(stage, sheet, foot, 0.3, 260 * stage.u, 50 * stage.u, 1.0, heaven)
    _towers(stage, sheet, foot + 30 * stage.u, 0.6, 190 * stage.u, 64 * stage.u, 1.2, heaven)


def _fog_rows(stage: Stage, backdrop: Sheet, shore: float, field: Field, colour: Colour) -> None:
    top = int(shore - 260 * stage.u)
    mask = to_picture(field).resize((backdrop.width, int(shore) - top))
    backdrop.rgb.paste(bytes_of(colour), (0, top, backdrop.width, int(shore)), mask)


def _towers(
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


def paint_street(stage: Stage) -> None:
    """A street that recedes between houses, its lights mirrored in the asphalt."""
    u = stage.u
    horizon = stage.y({"aerial": 0.4, "low": 0.66, "close": 0.6}.get(stage.shot.kind, 0.57))
    vanish = stage.beside(-0.08)
    heaven = Heaven(stage, horizon + 30 * u, sun=((vanish - stage.margin[0]) / stage.size.width, 0.9))
    backdrop = paint_sky(stage, heaven, disc=stage.world.time in {"dawn", "sunset"})
    _towers(stage, backdrop, horizon + 20 * u, 0.35, 210 * u, 40 * u, 1.0, heaven)
    walls = Sprite(stage.width, stage.height, stage.lit((0.4, 0.36, 0.36), 0.8, 0.3), fine=2)
    view = _View(vanish, horizon, u)
    _pavement(stage, walls, view)
    lights = Image.new("RGB", (stage.width, stage.height))
    for side in (-1, 1):
        _facades(stage, walls, view, side, ImageDraw.Draw(lights))
    backdrop.place(walls, (stage.width / 2, stage.height))
    _bloom(stage, backdrop, lights)
    _wet(stage, backdrop, horizon + 8 * u)
    stage.add(backdrop)
    haze = mix(stage.palette.haze, stage.palette.lamp, 0.25 * stage.palette.dark)
    veil(stage, (horizon - 110 * u, horizon + 70 * u), 0.4, haze, 0.55)
    _furniture(stage, view)
    effects.motes(stage, 16, None, (1, 2.6), (6, -3), strength=0.4)


class _View:
    """One-point perspective: x and y in street widths from the middle, z from the camera."""

    def __init__(self, vanish: float, horizon: float, unit: float):
        self.vanish, self.horizon, self.unit = vanish, horizon, unit

    def at(self, x: float, y: float, z: float) -> tuple[float, float]:
        """Canvas point of a point in the street."""
        return (self.vanish + x * 620 * self.unit / z, self.horizon - y * 620 * self.unit / z)


GROUND = -0.42


def _pavement(stage: Stage, pic: Sprite, view: _View) -> None:
    near, far = 0.55, 40.0
    asphalt, kerb = stage.lit((0.24, 0.24, 0.27), 0.9, 0.35), stage.lit((0.5, 0.47, 0.46), 0.85, 0.45)
    pic.poly(
        [
            view.at(-3, GROUND, near),
            view.at(-3, GROUND, far),
            view.at(3, GROUND, far),
            view.at(3, GROUND, near),
        ],
        kerb,
    )
    pic.poly([view.at(-0.62, GROUND, near), view.at(-0.62, GROUND, far), view.at(0.62, GROUND, far),
              view.at(0.62, GROUND, near)], asphalt)  # fmt: skip
    paint = stage.lit((0.9, 0.88, 0.8), 0.85, 0.6)
    z = 0.6
    while z < 14:
        pic.poly(
            [
                view.at(x, GROUND, d)
                for x, d in ((-0.012, z), (-0.012, z + 0.3), (0.012, z + 0.3), (0.012, z))
            ],
            paint,
        )
        z += 0.75


def _facades(stage: Stage, pic: Sprite, view: _View, side: int, lights: ImageDraw.ImageDraw) -> None:
    """House fronts along one side, from far to near."""
    rng = stage.rng
    edges = [0.5]
    while edges[-1] < 16:
        edges.append(edges[-1] + (0.55 + 0.6 * rng.random()) * (0.6 + edges[-1] * 0.22))
    bricks: tuple[Colour, ...] = (
        (0.62, 0.36, 0.28),
        (0.72, 0.62, 0.5),
        (0.46, 0.48, 0.54),
        (0.58, 0.45, 0.4),
        (0.76, 0.7, 0.64),
    )
    for z0, z1 in zip(edges[-2::-1], edges[:0:-1], strict=True):
        depth = max(0.25, 1 - 0.075 * z0)
        height = 0.9 + 0.75 * rng.random()
        colour = bricks[int(rng.integers(5))]
        wall = stage.lit(times(colour, 0.8), depth, 0.42 if side == stage.side else 0.22)
        x = side * 0.95
        pic.poly(
            [view.at(x, GROUND, z0), view.at(x, height, z0), view.at(x, height, z1), view.at(x, GROUND, z1)],
            wall,
        )
        end = stage.lit(times(colour, 0.7), depth, 0.1)
        pic.poly(
            [
                view.at(x, GROUND, z0),
                view.at(x, height, z0),
                view.at(x * 1.6, height, z0),
                view.at(x * 1.6, GROUND, z0),
            ],
            end,
        )
        cornice = stage.lit(times(colour, 1.15), depth, 0.6)
        pic.poly([view.at(x * 0.975, height, z0), view.at(x * 0.975, height + 0.04, z0),
                  view.at(x * 0.975, height + 0.04, z1), view.at(x * 0.975, height, z1)], cornice)  # fmt: skip
        _front(stage, pic, view, lights, (x, z0, z1, height, depth))


def _front(
    stage: Stage,
    pic: Sprite,
    view: _View,
    lights: ImageDraw.ImageDraw,
    wall: tuple[float, float, float, float, float],
) -> None:
    """Windows, a shop and now and then a sign on one house front."""
    rng, dark = stage.rng, stage.palette.dark
    x, z0, z1, height, depth = wall
    count, floors = 4, int((height - GROUND - 0.34) / 0.2)
    off = mix(stage.lit((0.2, 0.24, 0.3), depth, 0.4), stage.palette.sky, 0.3)
    warm = stage.aired(stage.palette.lamp, depth)
    for floor in range(floors):
        y = GROUND + 0.36 + floor * 0.2
        for index in range(count):
            a, b = z0 + (z1 - z0) * (index + 0.22) / count, z0 + (z1 - z0) * (index + 0.72) / count
            quad = [view.at(x, y, a), view.at(x, y + 0.12, a), view.at(x, y + 0.12, b), view.at(x, y, b)]
            lit = rng.random() < 0.12 + 0.38 * dark
            pic.poly(quad, mix(off, warm, 0.35 + 0.55 * dark) if lit else off)
            if lit and dark > 0.4:
                lights.polygon(quad, fill=bytes_of(times(warm, 0.35)))
    neon = stage.world.mood == "neon" or stage.says("neon")
    sign = NEON[int(rng.integers(5))] if neon or rng.random() < 0.3 else stage.palette.lamp
    shop = [view.at(x, y, z) for y, z in ((GROUND + 0.04, z0 + 0.1 * (z1 - z0)), (GROUND + 0.24, z0 + 0.1 * (z1 - z0)),
                                          (GROUND + 0.24, z1 - 0.1 * (z1 - z0)), (GROUND + 0.04, z1 - 0.1 * (z1 - z0)))]  # fmt: skip
    pic.poly(shop, mix(stage.lit((0.3, 0.28, 0.26), depth, 0.5), mix(warm, sign, 0.4), 0.3 + 0.6 * dark))
    lights.polygon(shop, fill=bytes_of(times(mix(warm, sign, 0.5), 0.25 + 0.4 * dark)))
    if neon and rng.random() < 0.8:
        y, z, reach = 0.05 + 0.5 * rng.random(), (z0 + z1) / 2, 0.16
        inner = x - (reach if x > 0 else -reach)
        board = [view.at(x, y, z), view.at(x, y + 0.34, z), view.at(inner, y + 0.34, z), view.at(inner, y, z)]
        pic.poly(board, mix(sign, (1, 1, 1), 0.25))
        lights.polygon(board, fill=bytes_of(sign))


def _bloom(stage: Stage, backdrop: Sheet, lights: Image.Image) -> None:
    """Let lamps and signs glow."""
    small = lights.resize((max(2, stage.width // 8), max(2, stage.height // 8)), Image.Resampling.BOX)
    radius = max(0.6, 26 * stage.u / 8)
    soft = small.filter(ImageFilter.BoxBlur(radius)).filter(ImageFilter.BoxBlur(radius))
    strength = (0.35 + 1.1 * stage.palette.dark) * (1.4 if stage.world.mood == "neon" else 1.0)
    soft = soft.point([min(255, int(level * strength)) for level in range(256)] * 3)
    backdrop.rgb = ImageChops.add(backdrop.rgb, soft.resize(backdrop.rgb.size, Image.Resampling.BICUBIC))


def _wet(stage: Stage, backdrop: Sheet, row: float) -> None:
    """Mirror the street's lights in the ground, more when it rains and at night."""
    top = int(row)
    height = stage.height - top
    above = backdrop.rgb.crop((0, max(0, top - height), stage.width, top)).transpose(
        Image.Transpose.FLIP_TOP_BOTTOM
    )
    small = above.resize((max(2, stage.width // 4), max(2, height // 10)), Image.Resampling.BOX)
    mirror = small.filter(ImageFilter.BoxBlur(1)).resize((stage.width, height), Image.Resampling.BICUBIC)
    wet = {"rain": 0.62, "storm": 0.62, "snow": 0.3}.get(stage.world.weather, 0.26 + 0.2 * stage.palette.dark)
    fade = (wet * np.linspace(1.0, 0.75, 16, dtype=np.float32)[:, None] * np.ones((1, 4), np.float32)).astype(
        np.float32
    )
    mask = to_picture(fade).resize(mirror.size, Image.Resampling.BILINEAR)
    backdrop.rgb.paste(mirror, (0, top), mask)


def _furniture(stage: Stage, view: _View) -> None:
    """Street lamps, cars and people at several depths."""
    u = stage.u
    for z in (3.6, 2.1, 1.25):
        depth = 0.45 + 0.5 / z
        sheet = stage.sheet(depth, (0, stage.height), stage.lit(props.DARK, depth, 0.3))
        for side in (-1, 1):
            x, foot = view.at(side * 0.68, GROUND, z)
            sheet.place(props.lamp_post(stage, 560 * u / z, depth), (x, foot))
        if z > 3 or (stage.says("car") and z > 2):
            x, foot = view.at(0.3, GROUND, z * 1.1)
            sheet.place(
                props.car(
                    stage,
                    190 * u / z,
                    depth,
                    (0.85, 0.68, 0.2) if stage.rng.random() < 0.5 else (0.5, 0.14, 0.14),
                ),
                (x, foot),
            )
        if z < 1.5 and stage.says("figure", "cat"):
            x, foot = view.at(-stage.side * 0.34, GROUND, 1.6)
            sheet.place(props.figure(stage, 310 * u / 1.6, 0.9), (x, foot))
        stage.add(sheet)
        lamp_y = 560 * u / z * 0.91
        if stage.palette.dark > 0.2:
            for side in (-1, 1):
                x, foot = view.at(side * 0.68, GROUND, z)
                glow(stage, (x, foot - lamp_y), 150 * u / z, stage.palette.lamp, 0.3 + 0.55 * stage.palette.dark, depth,
                     Pulse(0.12, 2.3, z))  # fmt: skip
