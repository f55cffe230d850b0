"""Things that stand in a room or on a table: each function gives a sprite `height` pixels high."""

import math

from raypipe.providers.local.noise import generator
from raypipe.providers.local.palette import Colour, hexes, mix, times
from raypipe.providers.local.stage import Sprite, Stage

INK: Colour = (0.09, 0.09, 0.11)
GOLD: Colour = (0.86, 0.66, 0.36)


def ware_of(stage: Stage, height: float) -> tuple[Sprite, float]:
    """The thing the prompt names, or a box; and its height in pixels."""
    makers = (
        ("watch", watch, 1.0),
        ("cup", cup, 0.62),
        ("phone", phone, 1.0),
        ("candle", candle, 0.8),
        ("bottle", bottle, 1.0),
    )
    for name, maker, part in makers:
        if stage.says(name):
            return maker(stage, height * part), height * part
    if stage.says("box"):
        return box(stage, height * 0.62), height * 0.62
    return bottle(stage, height), height


def _tone(stage: Stage) -> Colour:
    """The colour of the video's product; the same in each of its shots."""
    colours = hexes("c8643c 2f6f8f 8a3f5f 3f7a5f d0a050 4a4f8a")
    return colours[int(generator("ware", stage.world).integers(len(colours)))]


def _shaded(
    pic: Sprite, edges: list[tuple[float, float]], x: float, colour: Colour, gloss: float = 1.0
) -> None:
    """Draw a turned body around the axis x, lit from both sides; edges are (row, half width)."""
    steps = 72
    for index in range(steps):
        a, b = -1 + 2 * index / steps, -1 + 2 * (index + 1) / steps + 0.05
        s = (a + b) / 2
        light = (
            0.32
            + 0.75 * math.exp(-(((s + 0.52) / 0.2) ** 2)) * gloss
            + 0.42 * math.exp(-(((s - 0.74) / 0.13) ** 2)) * gloss
        )
        light += 0.34 * (1 - s * s)
        tint = mix(times(colour, min(1.25, light)), (1.0, 1.0, 1.0), max(0.0, light - 0.8) * 0.55 * gloss)
        pic.poly(
            [(x + a * half, row) for row, half in edges] + [(x + b * half, row) for row, half in edges[::-1]],
            tint,
        )


def bottle(stage: Stage, height: float) -> Sprite:
    """A bottle of coloured glass with a label and a metal cap."""
    k, glass = height / 100, _tone(stage)
    pic = Sprite(50, 100, glass, k)
    edges = [
        (22.0, 6.2),
        (28.0, 6.4),
        (32.0, 7.5),
        (35.0, 10.0),
        (38.0, 14.0),
        (41.0, 17.0),
        (45.0, 18.2),
        (95.0, 18.2),
        (98.0, 17.2),
        (100.0, 15.0),
    ]
    _shaded(pic, edges, 25, glass)
    _shaded(pic, [(58.0, 18.25), (84.0, 18.25)], 25, (0.94, 0.91, 0.86), 0.35)
    pic.rect((17, 65, 33, 66.2), times(glass, 0.6))
    pic.rect((14.5, 69.5, 35.5, 72.5), times(glass, 0.55))
    pic.rect((19, 76, 31, 77), times(glass, 0.7))
    _shaded(pic, [(4.0, 7.0), (5.0, 7.6), (22.0, 7.6), (23.0, 7.0)], 25, GOLD)
    return pic


def cup(stage: Stage, height: float) -> Sprite:
    """A cup on its saucer."""
    k, glaze = height / 100, mix(_tone(stage), (0.95, 0.92, 0.88), 0.35)
    pic = Sprite(170, 100, glaze, k)
    ring = [(122 + 26 * math.cos(a * 0.21 - 1.5), 46 + 24 * math.sin(a * 0.21 - 1.5)) for a in range(16)]
    pic.line(ring, 8, times(glaze, 0.62))
    pic.line(ring, 3, times(glaze, 1.1))
    pic.ellipse((14, 82, 150, 100), times(glaze, 0.5))
    pic.ellipse((14, 79, 150, 96), times(glaze, 0.85))
    pic.ellipse((42, 82, 122, 92), times(glaze, 0.45))
    edges = [(14.0, 50.0), (40.0, 48.0), (58.0, 43.0), (72.0, 35.0), (82.0, 26.0), (88.0, 22.0)]
    _shaded(pic, edges, 82, glaze, 0.8)
    pic.ellipse((32, 3, 132, 25), times(glaze, 1.15))
    pic.ellipse((36, 5.5, 128, 23.5), times(glaze, 0.5))
    pic.ellipse((39, 9, 125, 23.5), (0.24, 0.13, 0.08))
    pic.ellipse((52, 12.5, 92, 19), (0.48, 0.3, 0.18))
    return pic


def watch(stage: Stage, height: float) -> Sprite:
    """A wrist watch standing upright, seen from the front."""
    k, strap = height / 100, times(_tone(stage), 0.5)
    pic = Sprite(70, 100, strap, k)
    for top, foot, narrow, wide in ((0.0, 30.0, 11.0, 15.0), (100.0, 68.0, 11.0, 15.0)):
        pic.poly([(35 - narrow, top), (35 + narrow, top), (35 + wide, foot), (35 - wide, foot)], strap)
        pic.poly(
            [(35 - narrow, top), (35 - narrow + 5, top), (35 - wide + 6, foot), (35 - wide, foot)],
            times(strap, 1.7),
        )
        for side in (-1, 1):
            pic.line(
                [(35 + side * (narrow - 2), top), (35 + side * (wide - 2.4), foot)], 0.5, times(strap, 1.9)
            )
    for radius, colour in (
        (26, times(GOLD, 0.55)),
        (25.2, GOLD),
        (24, mix(GOLD, (1, 1, 1), 0.55)),
        (22.6, times(GOLD, 0.7)),
        (21, INK),
    ):
        pic.ellipse((35 - radius, 49 - radius, 35 + radius, 49 + radius), colour)
    pic.ellipse((16, 30, 54, 60), (0.14, 0.15, 0.19))
    for hour in range(12):
        a = hour * math.pi / 6
        inner, wide = (15.5, 1.5) if hour % 3 == 0 else (17, 0.8)
        pic.line(
            [
                (35 + inner * math.sin(a), 49 - inner * math.cos(a)),
                (35 + 19.3 * math.sin(a), 49 - 19.3 * math.cos(a)),
            ],
            wide,
            mix(GOLD, (1, 1, 1), 0.5),
        )
    for a, reach, wide in ((-1.05, 10.5, 1.9), (1.05, 15.5, 1.3), (2.9, 16.5, 0.5)):
        pic.line(
            [
                (35 - 2.5 * math.sin(a), 49 + 2.5 * math.cos(a)),
                (35 + reach * math.sin(a), 49 - reach * math.cos(a)),
            ],
            wide,
            (0.96, 0.95, 0.92),
        )
    pic.ellipse((33.3, 47.3, 36.7, 50.7), GOLD)
    pic.rect((60.5, 46.5, 64.5, 51.5), times(GOLD, 0.85))
    return pic


def phone(stage: Stage, height: float) -> Sprite:
    """A phone whose screen shows a sunset of the video's own colours."""
    k, pal = height / 100, stage.palette
    pic = Sprite(54, 100, INK, k)
    _rounded(pic, (2, 1, 52, 100), 7, (0.45, 0.46, 0.5))
    _rounded(pic, (3, 2, 51, 99), 6.3, INK)
    tone = _tone(stage)
    for row in range(44):
        t = row / 43
        colour = mix(
            mix(times(tone, 0.5), tone, min(1, t * 1.6)), mix(pal.sun, tone, 0.25), max(0.0, t * 1.5 - 0.6)
        )
        y = 6 + row * 2.0
        pic.rect((5, y, 49, min(95.5, y + 2.2)), colour)
    pic.ellipse((19, 50, 35, 66), mix(pal.sun, (1, 1, 1), 0.6))
    pic.poly([(5, 76), (18, 62), (28, 73), (36, 66), (49, 78), (49, 95.5), (5, 95.5)], times(tone, 0.38))
    pic.ellipse((24.5, 7.5, 29.5, 10.5), INK)
    pic.poly([(5, 6), (22, 6), (5, 52)], mix(tone, (1, 1, 1), 0.22))
    return pic


def _rounded(pic: Sprite, edges: tuple[float, float, float, float], radius: float, colour: Colour) -> None:
    left, top, right, foot = edges
    pic.rect((left + radius, top, right - radius, foot), colour)
    pic.rect((left, top + radius, right, foot - radius), colour)
    for x in (left, right - 2 * radius):
        for y in (top, foot - 2 * radius):
            pic.ellipse((x, y, x + 2 * radius, y + 2 * radius), colour)


def candle(stage: Stage, height: float) -> Sprite:
    """A thick candle with its flame."""
    k, wax = height / 100, mix(_tone(stage), (0.98, 0.93, 0.84), 0.7)
    pic = Sprite(60, 100, wax, k)
    pic.ellipse((22, 0, 38, 34), (1.0, 0.62, 0.2), 0.35)
    pic.poly([(30, 4), (34.5, 18), (33.5, 26), (30, 29), (26.5, 26), (25.5, 18)], (1.0, 0.72, 0.25))
    pic.poly([(30, 11), (32.4, 20), (30, 27), (27.6, 20)], (1.0, 0.97, 0.8))
    pic.line([(30, 26), (30, 36)], 1, INK)
    _shaded(pic, [(36.0, 19.0), (38.0, 20.0), (99.0, 20.0), (100.0, 19.0)], 30, wax, 0.5)
    pic.ellipse((11, 32, 49, 41), times(wax, 1.05))
    pic.ellipse((16, 33.5, 44, 39.5), mix(wax, (1.0, 0.8, 0.5), 0.5))
    return pic


def box(stage: Stage, height: float) -> Sprite:
    """A gift box with a ribbon."""
    k, card = height / 100, _tone(stage)
    pic = Sprite(124, 100, card, k)
    ribbon = mix(GOLD, (1, 1, 1), 0.25)
    pic.poly([(10, 34), (72, 44), (72, 100), (10, 86)], times(card, 0.95))
    pic.poly([(72, 44), (114, 32), (114, 82), (72, 100)], times(card, 0.5))
    pic.poly([(6, 22), (50, 12), (118, 20), (72, 32)], mix(card, (1, 1, 1), 0.28))
    pic.poly([(6, 22), (72, 32), (72, 48), (6, 36)], times(card, 1.12))
    pic.poly([(72, 32), (118, 20), (118, 34), (72, 48)], times(card, 0.62))
    pic.poly([(34, 26.5), (48, 28.5), (48, 95), (34, 92)], ribbon)
    pic.poly([(90, 27.5), (99, 25), (99, 90), (90, 92.5)], times(ribbon, 0.6))
    for side in (-1, 1):
        pic.poly(
            [(60, 21), (60 + side * 8, 4), (60 + side * 26, 6), (60 + side * 24, 16)],
            times(ribbon, 1.0 if side < 0 else 0.75),
        )
    pic.ellipse((54, 15, 66, 24), ribbon)
    return pic


def armchair(stage: Stage, height: float) -> Sprite:
    """An armchair turned a little to the window."""
    k = height / 100
    cloth, dim = stage.lit((0.5, 0.3, 0.22), 1.0, 0.5), stage.lit((0.36, 0.2, 0.16), 1.0, 0.12)
    pic = Sprite(130, 100, dim, k)
    _rounded(pic, (26, 4, 104, 84), 14, dim)
    _rounded(pic, (32, 10, 98, 70), 11, cloth)
    _rounded(pic, (14, 44, 38, 92), 10, mix(cloth, dim, 0.35))
    _rounded(pic, (92, 44, 116, 92), 10, dim)
    _rounded(pic, (34, 58, 96, 82), 8, mix(cloth, (1.0, 0.9, 0.8), 0.10))
    for x in (24, 100):
        pic.rect((x, 90, x + 6, 100), (0.1, 0.07, 0.05))
    return pic


def floor_lamp(stage: Stage, height: float) -> Sprite:
    """A floor lamp with a fabric shade, lit when it is dark."""
    k = height / 100
    iron = stage.lit(INK, 1.0, 0.4)
    shade = mix(stage.lit((0.8, 0.7, 0.55), 1.0, 0.4), stage.palette.lamp, 0.2 + 0.75 * stage.palette.dark)
    pic = Sprite(44, 100, iron, k)
    pic.line([(22, 24), (22, 97)], 1.2, iron)
    pic.ellipse((12, 95, 32, 100), iron)
    pic.poly([(14, 4), (30, 4), (38, 26), (6, 26)], shade)
    pic.poly(
        [(17, 4), (27, 4), (31, 26), (13, 26)], mix(shade, (1.0, 0.96, 0.85), 0.45 * stage.palette.dark + 0.1)
    )
    return pic


def plant(stage: Stage, height: float) -> Sprite:
    """A house plant with broad leaves in a pot."""
    k, rng = height / 100, stage.rng
    pot = stage.lit((0.62, 0.36, 0.26), 1.0, 0.4)
    pic = Sprite(110, 100, stage.lit((0.16, 0.26, 0.14), 1.0, 0.2), k)
    for index in range(13):
        angle = -math.pi * (0.1 + 0.8 * (index + rng.random() * 0.6) / 13)
        reach = 34 + 22 * rng.random()
        light = float(0.1 + 0.55 * rng.random())
        green = stage.lit((0.2, 0.36, 0.18), 1.0, light)
        tip = (55 + math.cos(angle) * reach, 70 + math.sin(angle) * reach * 1.15)
        middle = (55 + math.cos(angle) * reach * 0.62, 70 + math.sin(angle) * reach * 0.85)
        wide = (-math.sin(angle) * 7.5, math.cos(angle) * 7.5)
        pic.line([(55, 74), middle], 1.1, green)
        pic.poly(
            [
                (55 + math.cos(angle) * reach * 0.3, 70 + math.sin(angle) * reach * 0.42),
                (middle[0] + wide[0], middle[1] + wide[1]),
                tip,
                (middle[0] - wide[0], middle[1] - wide[1]),
            ],
            green,
        )
    pic.poly([(38, 72), (72, 72), (67, 100), (43, 100)], pot)
    pic.poly([(56, 72), (72, 72), (67, 100), (58, 100)], times(pot, 0.6))
    pic.rect((36, 69, 74, 75), times(pot, 1.15))
    return pic


def side_table(stage: Stage, height: float) -> Sprite:
    """A small round table."""
    k, wood = height / 100, stage.lit((0.4, 0.26, 0.17), 1.0, 0.4)
    pic = Sprite(130, 100, wood, k)
    for x0, x1 in ((40, 30), (90, 100), (65, 65)):
        pic.line([(x0, 10), (x1, 100)], 4, times(wood, 0.6))
    pic.ellipse((5, 0, 125, 18), wood)
    pic.ellipse((5, 0, 125, 13), times(wood, 1.5))
    return pic
