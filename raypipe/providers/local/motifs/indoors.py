"""Indoors: a room with a window, and a thing on a table in studio light."""

from dataclasses import replace

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from raypipe.providers.local import effects, layers, props, wares
from raypipe.providers.local.ground import GRASS, albedo, hills, leafy_line, rolling
from raypipe.providers.local.layers import Motion, Pulse
from raypipe.providers.local.motifs.city import skyline_row
from raypipe.providers.local.noise import fractal, generator, smoothstep, to_picture, upsample
from raypipe.providers.local.palette import Colour, bytes_of, hexes, mix, times
from raypipe.providers.local.sky import Heaven, glow, paint_sky
from raypipe.providers.local.stage import Sheet, Sprite, Stage

WALLS: tuple[Colour, ...] = tuple(hexes("8a6f5c 5f7472 7a5c64 6a6f86"))


def paint_interior(stage: Stage) -> None:
    """A room in the evening or by day, seen towards its window."""
    stage.u = u = stage.unit * max(1.0, stage.shot.scale)
    heaven = Heaven(stage, stage.y(0.62), sun=(0.5 - stage.side * 0.16, 0.62))
    _outside(stage, heaven)
    width, height = 400 * u, 400 * u
    middle, sill = stage.beside(-0.12), stage.y(0.66)
    panes = (middle - width / 2, sill - height, middle + width / 2, sill)
    reach = (
        panes[0] - stage.margin[0],
        panes[1] - stage.margin[1],
        panes[2] + stage.margin[0],
        panes[3] + stage.margin[1],
    )
    stage.layers[:] = [layers.cropped(layer, reach) for layer in stage.layers]
    if stage.world.weather in {"rain", "storm", "snow"}:
        _streaks(stage)
    wall = _wall(stage, panes)
    _shelf(stage, wall)
    stage.add(wall)
    if stage.world.weather in {"clear", "clouds"}:
        _sunlight(stage, panes)
    _furniture(stage)
    if stage.palette.dark > 0.25:
        glow(
            stage,
            (stage.beside(0.3), stage.y(0.44)),
            420 * u,
            stage.palette.lamp,
            0.34 + 0.26 * stage.palette.dark,
            0.8,
            Pulse(0.06, 3),
        )
    effects.motes(stage, 34, None, (1, 3), (4, 3), strength=0.55)


def _outside(stage: Stage, heaven: Heaven) -> None:
    u = stage.u
    backdrop = paint_sky(stage, heaven)
    if any(word in stage.shot.seed for word in ("city", "apartment", "office", "urban", "startup")):
        skyline_row(stage, backdrop, stage.y(0.68), heaven)
    else:
        far = rolling(stage, stage.y(0.6), 90 * u, 3, 0.3)
        backdrop.merge(hills(stage, 0.3, far, albedo(stage, (0.3, 0.42, 0.36)), heaven))
        near = leafy_line(stage, rolling(stage, stage.y(0.66), 50 * u, 2), 30 * u)
        backdrop.merge(hills(stage, 0.5, near, albedo(stage, GRASS), heaven))
    stage.add(backdrop)


def _streaks(stage: Stage) -> None:
    """Drops that run down the panes."""
    pane = stage.layers[0].y
    noise = fractal(stage.rng, max(8, pane.width // 2), max(8, pane.height // 2), (50, 6), 3, 0.7)
    field = upsample(smoothstep(noise, 0.56, 0.8), pane.width, pane.height)
    texture = layers.sparkle_texture(fractal(stage.rng, 256, 256, (22, 5), 3), 0.35, 0.7)
    falling = layers.shimmer(field * 0.4, 0, 0, texture, ((0, -260 * stage.u), (0, -140 * stage.u)))
    back = stage.layers[0]
    stage.layers[0] = replace(back, shimmers=(falling,))


def _wall(stage: Stage, panes: tuple[float, float, float, float]) -> Sheet:
    """The wall around the window, floor, frame and curtains."""
    u, pal = stage.u, stage.palette
    paper = WALLS[int(generator("wall", stage.world).integers(4))]
    warm = times(mix(stage.palette.light, stage.palette.lamp, 0.45 * pal.dark), 1.0)
    tone = times(times(paper, warm), 0.66 - 0.12 * pal.dark)
    sheet = Sheet(stage, 0.55, (0, stage.height), tone)
    sheet.alpha = Image.new("L", sheet.rgb.size, 255)
    rows, columns = np.mgrid[0 : stage.height : 6, 0 : stage.width : 6].astype(np.float32)
    centre = ((panes[0] + panes[2]) / 2, (panes[1] + panes[3]) / 2)
    away = np.hypot((columns - centre[0]) / stage.width, (rows - centre[1]) / stage.height)
    sheet.tint(smoothstep(away, 0.16, 0.75) * 0.75, times(tone, 0.28))
    grain = fractal(stage.rng, stage.width // 3, stage.height // 3, (30, 18), 3)
    sheet.tint(smoothstep(grain, 0.5, 1.0) * 0.12, times(tone, 1.5))
    _floor(stage, sheet, centre[0])
    pen, hole = ImageDraw.Draw(sheet.rgb), ImageDraw.Draw(sheet.alpha)
    frame = stage.lit((0.9, 0.86, 0.8), 1.0, 0.25)
    rim = 15 * u
    pen.rectangle((panes[0] - rim, panes[1] - rim, panes[2] + rim, panes[3] + rim), fill=bytes_of(frame))
    for column in range(2):
        for row in range(3):
            box = _pane(panes, column, row, 9 * u)
            hole.rectangle(box, fill=0)
            pen.rectangle(box, fill=bytes_of(times(frame, 1.2)))
    pen.rectangle(
        (panes[0] - 34 * u, panes[3] + rim * 0.5, panes[2] + 34 * u, panes[3] + rim * 1.9),
        fill=bytes_of(times(frame, 1.35)),
    )
    _curtains(stage, sheet, panes)
    return sheet


def _pane(
    panes: tuple[float, float, float, float], column: int, row: int, bar: float
) -> tuple[int, int, int, int]:
    width, height = (panes[2] - panes[0]) / 2, (panes[3] - panes[1]) / 3
    left, top = panes[0] + column * width, panes[1] + row * height
    return (int(left + bar / 2), int(top + bar / 2), int(left + width - bar / 2), int(top + height - bar / 2))


def _floor(stage: Stage, sheet: Sheet, vanish: float) -> None:
    """Boards that run towards the window wall."""
    top = stage.y(0.86)
    wood = stage.lit((0.42, 0.27, 0.17), 1.0, 0.28)
    line = np.full(stage.width, top, np.float32)
    sheet.fill(sheet.below(line), sheet.gradient(times(wood, 0.9), times(wood, 0.45), (top, stage.height)))
    pen = ImageDraw.Draw(sheet.rgb)
    for step in range(-14, 15):
        foot = vanish + step * 210 * stage.u
        start = vanish + step * 74 * stage.u
        pen.line(
            (start, top, foot, stage.height),
            fill=bytes_of(times(wood, 0.5)),
            width=max(1, round(2 * stage.u)),
        )
    pen.rectangle((0, top - 12 * stage.u, stage.width, top), fill=bytes_of(times(wood, 0.55)))


def _curtains(stage: Stage, sheet: Sheet, panes: tuple[float, float, float, float]) -> None:
    """Curtains gathered at both sides of the window."""
    u = stage.u
    cloth = stage.lit((0.82, 0.72, 0.6), 1.0, 0.35)
    for side in (-1, 1):
        edge = panes[0] - 20 * u if side < 0 else panes[2] + 20 * u
        top, foot = panes[1] - 50 * u, panes[3] + 130 * u
        for fold in range(9):
            x = edge + side * (fold - 3) * 13 * u
            shade = 0.6 + 0.4 * abs(np.sin(fold * 1.1 + 0.6)) + (0.3 if fold < 2 else 0)
            drawn = Sprite(30 * u, foot - top, times(cloth, shade), fine=2)
            drawn.poly(
                [
                    (6 * u, 0),
                    (22 * u, 0),
                    (24 * u, (foot - top) * 0.6),
                    (21 * u, foot - top),
                    (7 * u, foot - top),
                    (4 * u, (foot - top) * 0.6),
                ],
                times(cloth, shade),
            )
            sheet.place(drawn, (x, foot))
    rod = Sprite(panes[2] - panes[0] + 260 * u, 8 * u, (0.12, 0.1, 0.09))
    rod.rect((0, 1, panes[2] - panes[0] + 260 * u, 7 * u), stage.lit((0.3, 0.22, 0.16), 1.0, 0.3))
    sheet.place(rod, ((panes[0] + panes[2]) / 2, panes[1] - 46 * u))


def _shelf(stage: Stage, wall: Sheet) -> None:
    """Shelves with books and a picture on the other side of the wall."""
    u, rng = stage.u, stage.rng
    wood = stage.lit((0.36, 0.24, 0.16), 1.0, 0.3)
    pic = Sprite(330, 300, wood, u)
    for shelf in range(3):
        y = 84 + shelf * 100
        x = 6.0
        while x < 300:
            wide, tall = 7 + 11 * rng.random(), 46 + 26 * rng.random()
            book = hexes("a8483a 3f5f7a c09048 50704e 7a4a6a d8c8a8 2f3f50")[int(rng.integers(7))]
            if rng.random() < 0.86:
                pic.rect(
                    (x, y - tall, x + wide, y), stage.lit(times(book, 0.8), 1.0, 0.22 + 0.25 * rng.random())
                )
            x += wide + 1.2 + (26 if rng.random() < 0.06 else 0)
        pic.rect((0, y, 330, y + 8), wood)
    wall.place(pic, (stage.beside(0.32), stage.y(0.58)))


def _sunlight(stage: Stage, panes: tuple[float, float, float, float]) -> None:
    """Bright panes on the floor and a beam through the air, slanting away from the sun."""
    u, pal = stage.u, stage.palette
    strength = 0.55 * (1 - 0.75 * pal.dark)
    picture = Image.new("L", (stage.width // 4 // 2 * 2 + 2, stage.height // 4 // 2 * 2 + 2), 0)
    pen = ImageDraw.Draw(picture)
    lean = stage.side * 0.62
    for column in range(2):
        for row in range(3):
            left, top, right, foot = _pane(panes, column, row, 14 * u)
            quad = []
            for x, y in ((left, top), (right, top), (right, foot), (left, foot)):
                rise = (panes[3] - y) / (panes[3] - panes[1])
                quad.append(
                    (
                        (x + lean * (230 + 250 * rise) * u) / 4,
                        (stage.y(0.89) + (150 * (1 - rise) - 20) * u) / 4,
                    )
                )
            pen.polygon(quad, fill=round(255 * strength))
    beam = Image.new("L", picture.size, 0)
    corners = [
        (panes[0], panes[1]),
        (panes[2], panes[1]),
        (panes[2] + lean * 420 * u, stage.y(1.05)),
        (panes[0] + lean * 420 * u, stage.y(1.05)),
    ]
    ImageDraw.Draw(beam).polygon([(x / 4, y / 4) for x, y in corners], fill=round(90 * strength))
    both = ImageChops.add(
        picture.filter(ImageFilter.BoxBlur(1.2)), beam.filter(ImageFilter.BoxBlur(9 * u / 2))
    )
    stage.add_light(np.asarray(both, np.float32) / 255, mix(pal.sun, pal.light, 0.3), 0.6, Pulse(0.18, 6))


def _furniture(stage: Stage) -> None:
    """An armchair, a lamp and a plant, nearer than the wall."""
    u = stage.u
    sheet = stage.sheet(0.9, (0, stage.height), stage.lit((0.2, 0.15, 0.13), 1.0, 0.2))
    foot = stage.y(1.0) + 26 * u
    sheet.place(wares.armchair(stage, 300 * u), (stage.beside(0.2), foot), flip=stage.side > 0)
    sheet.place(wares.floor_lamp(stage, 470 * u), (stage.beside(0.33), foot - 20 * u))
    sheet.place(wares.plant(stage, 330 * u), (stage.beside(-0.4), foot))
    if stage.says("cup", "candle", "cat") or stage.shot.kind == "close":
        sheet.place(wares.side_table(stage, 150 * u), (stage.beside(-0.02), foot))
        thing = wares.candle(stage, 80 * u) if stage.says("candle") else wares.cup(stage, 60 * u)
        sheet.place(thing, (stage.beside(-0.02), foot - 146 * u))
    if stage.says("figure"):
        sheet.place(props.figure(stage, 400 * u, 1.0), (stage.beside(-0.1), foot))
    stage.add(sheet)


STUDIOS = tuple(
    tuple(hexes(text))
    for text in (
        "0d1420 23405a 8fb4d0 1a2430",
        "1a0f0c 6a3a22 e8b070 2a1812",
        "14101e 4a2f5f d090c0 20182c",
        "d8cfc4 efe8de ffffff b8a898",
        "0c1614 1f4a40 90d0b0 12201c",
    )
)
_STUDIO_OF = {"warm": 1, "epic": 1, "dark": 0, "joyful": 3, "dreamy": 2, "neon": 2, "sad": 0}


def paint_product(stage: Stage) -> None:
    """One thing on a polished table, a soft light behind it and its mirror image below."""
    stage.u = u = stage.unit * max(1.0, stage.shot.scale)
    night = stage.palette.dark > 0.5
    choice = _STUDIO_OF.get(stage.world.mood, int(generator("studio", stage.world).integers(len(STUDIOS))))
    tones = STUDIOS[0 if night and choice == 3 else choice]
    edge = stage.y(0.72)
    backdrop = Sheet(stage, 0.2, (0, stage.height), tones[0], opaque=True)
    backdrop.rgb = _studio(stage, tones, edge)
    stage.add(backdrop)
    _bokeh(stage, tones)
    thing, tall = wares.ware_of(stage, min(430 * u, 0.86 * stage.size.height, 1.1 * stage.size.width))
    stand = max(edge + 92 * stage.unit, stage.y(0.5) + tall * 0.56)
    middle = stage.beside({"wide": 0.12, "low": 0.1}.get(stage.shot.kind, 0.0) if not stage.tall else 0.0)
    table = stage.sheet(0.8, (0, stage.height), tones[3])
    _table(stage, table, tones, edge)
    _mirrored(table, thing, (middle, stand))
    table.place(thing, (middle, stand))
    stage.add(table)
    if stage.says("cup"):
        _steam(stage, (middle, stand - tall))
    if stage.says("candle"):
        glow(stage, (middle, stand - tall * 0.82), 420 * u, (1.0, 0.68, 0.3), 0.8, 0.8, Pulse(0.18, 1.1))
    _sweep(stage, tones)
    effects.motes(stage, 30, None, (1, 3.6), (5, -5), strength=0.6)


def _studio(stage: Stage, tones: tuple[Colour, ...], edge: float) -> Image.Image:
    height, width = max(16, stage.height // 6), max(16, stage.width // 6)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) * 6
    away = np.hypot((columns - stage.x(0.5)) * 0.8, rows - edge + 210 * stage.u) / (stage.unit * 620)
    side = np.hypot(columns - stage.beside(-0.5), rows - stage.y(0.1)) / (stage.unit * 900)
    light, rim = np.exp(-((away / 0.62) ** 2)), np.exp(-((side / 0.5) ** 2))
    base, middle, bright = (np.array(tone, np.float32) for tone in tones[:3])
    rgb = base + (middle - base) * np.clip(light + 0.35 * rim, 0, 1)[..., None]
    rgb = rgb + (bright - rgb) * (0.52 * light**2.6)[..., None]
    return Image.merge(
        "RGB", [to_picture(upsample(rgb[..., i], stage.width, stage.height)) for i in range(3)]
    )


def _bokeh(stage: Stage, tones: tuple[Colour, ...]) -> None:
    """Lights out of focus far behind."""
    field = np.zeros((stage.height // 4 // 2 * 2 + 2, stage.width // 4 // 2 * 2 + 2), np.float32)
    rows, columns = np.mgrid[0 : field.shape[0], 0 : field.shape[1]].astype(np.float32) * 4
    for x, y, size, light in stage.rng.random((15, 4)):
        radius = (22 + 52 * size) * stage.u
        away = np.hypot(columns - x * stage.width, rows - y * stage.y(0.62))
        field += (
            smoothstep(away, radius + 5, radius - 3)
            * (0.35 + 0.65 * np.clip(away / radius, 0, 1) ** 3)
            * (0.05 + 0.16 * light)
        )
    stage.add_light(np.clip(field, 0, 0.5), mix(tones[2], (1, 1, 1), 0.2), 0.35, Pulse(0.35, 6.5))


def _table(stage: Stage, table: Sheet, tones: tuple[Colour, ...], edge: float) -> None:
    line = np.full(stage.width, edge, np.float32)
    mask = table.below(line, 3)
    table.fill(mask, table.gradient(mix(tones[3], tones[1], 0.7), times(tones[3], 0.6), (edge, stage.height)))
    rows, columns = np.mgrid[0 : table.height : 4, 0 : table.width : 4].astype(np.float32)
    glowing = np.exp(
        -(((columns - stage.x(0.5)) / (stage.unit * 460)) ** 2) - ((rows - edge) / (stage.unit * 120)) ** 2
    )
    table.tint(glowing.astype(np.float32) * 0.55 * (rows > edge), mix(tones[1], tones[2], 0.6))


def _mirrored(table: Sheet, thing: Sprite, at: tuple[float, float]) -> None:
    """The thing's faint image in the polished table."""
    rgb, alpha = (part.transpose(Image.Transpose.FLIP_TOP_BOTTOM) for part in thing.done())
    fade = np.linspace(0.34, 0.0, alpha.height, dtype=np.float32)[:, None] * np.ones(
        (1, alpha.width), np.float32
    )
    fade[alpha.height // 2 :] *= np.linspace(1, 0, alpha.height - alpha.height // 2, dtype=np.float32)[
        :, None
    ]
    mask = ImageChops.multiply(alpha, to_picture(fade)).filter(ImageFilter.BoxBlur(1.5 * table.stage.unit))
    corner = (round(at[0] - rgb.width / 2), round(at[1]) - table.top - 1)
    table.rgb.paste(rgb, corner, mask)
    shadow = np.zeros((24, 64), np.float32)
    rows, columns = np.mgrid[-1:1:24j, -1:1:64j]
    shadow = np.clip(1 - np.hypot(rows, columns), 0, 1).astype(np.float32) ** 0.8 * 0.7
    soft = to_picture(shadow).resize(
        (round(rgb.width * 1.3), max(4, round(rgb.width * 0.16))), Image.Resampling.BICUBIC
    )
    table.rgb.paste(
        (4, 4, 6), (round(at[0] - soft.width / 2), round(at[1] - soft.height / 2) - table.top), soft
    )


def _steam(stage: Stage, at: tuple[float, float]) -> None:
    u, rng = stage.u, stage.rng
    tall, wide = int(280 * u) // 2 * 2 + 2, int(190 * u) // 2 * 2 + 2
    rows = np.linspace(1, 0, tall, dtype=np.float32)[:, None]
    columns = np.linspace(-1, 1, wide, dtype=np.float32)[None, :]
    for phase in (0.0, 0.5):
        path = 0.22 * np.sin(rows * 6 + phase * 7) * rows + 0.1 * np.sin(rows * 13 + phase * 3) * rows
        size = 0.07 + 0.2 * rows
        body = (
            np.exp(-(((columns - path - (phase - 0.25) * 0.3) / size) ** 2))
            * smoothstep(rows, 0, 0.12)
            * smoothstep(rows, 1, 0.4)
        )
        body = body * (0.3 + 0.8 * fractal(rng, wide, tall, (3, 5), 4)) * 0.4
        stage.add_soft(
            body,
            (1, 1, 1),
            (at[0] - wide / 2, at[1] - tall + 26 * u),
            0.82,
            Motion((0, 0), bob=6 * u, period=3.4, phase=phase),
            Pulse(0.6, 3.2, phase),
        )


def _sweep(stage: Stage, tones: tuple[Colour, ...]) -> None:
    """A slanting light that comes and goes across the scene."""
    height, width = stage.height // 4 // 2 * 2 + 2, stage.width // 4 // 2 * 2 + 2
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32) * 4
    across = (columns - stage.beside(-0.2) + (rows - stage.y(0.5)) * 0.5 * stage.side) / (stage.unit * 150)
    stage.add_light(np.exp(-(across**2)) * 0.13, mix(tones[2], (1, 1, 1), 0.5), 1.2, Pulse(0.9, 5))
