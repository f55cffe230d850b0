"""Things that stand in a landscape, drawn small: each function gives a sprite `height` pixels high."""

import math
from itertools import pairwise

from raypipe.providers.local.palette import Colour, mix
from raypipe.providers.local.stage import Point, Sprite, Stage

WOOD: Colour = (0.34, 0.23, 0.17)
WHITE: Colour = (0.95, 0.93, 0.9)
RED: Colour = (0.78, 0.22, 0.18)
DARK: Colour = (0.13, 0.13, 0.17)


def sailboat(stage: Stage, height: float, depth: float) -> Sprite:
    """A sailing boat with two sails, and its mirror image below."""
    k = height / 100
    hull, sail, shade = (
        stage.lit(colour, depth, light) for colour, light in ((WOOD, 0.5), (WHITE, 1.0), (WHITE, 0.45))
    )
    pic = Sprite(90, 100, hull, k)
    pic.line([(44, 2), (44, 84)], 1.6, hull)
    pic.poly([(46, 4), (78, 76), (46, 76)], sail)
    pic.poly([(46, 4), (62, 76), (46, 76)], mix(sail, shade, 0.35))
    pic.poly([(42, 12), (42, 76), (14, 76)], shade)
    pic.poly([(6, 82), (86, 82), (72, 98), (20, 98)], hull)
    pic.poly([(6, 82), (86, 82), (84, 85), (8, 85)], sail)
    return pic


def ship(stage: Stage, height: float, depth: float) -> Sprite:
    """A tall ship with three masts."""
    k = height / 100
    hull, sail = stage.lit(WOOD, depth, 0.35), stage.lit((0.92, 0.86, 0.76), depth, 0.9)
    pic = Sprite(140, 100, hull, k)
    for x, top, wide in ((38, 14, 24), (70, 4, 30), (102, 16, 24)):
        pic.line([(x, top), (x, 84)], 1.6, hull)
        for row in range(3):
            y = top + 4 + row * 23
            reach = wide * (0.42 + 0.1 * row)
            pic.poly(
                [(x - reach, y), (x + reach, y), (x + reach * 1.15, y + 19), (x - reach * 1.05, y + 19)], sail
            )
    pic.poly([(118, 30), (132, 76), (112, 76)], mix(sail, hull, 0.25))
    pic.poly([(8, 74), (30, 82), (110, 82), (136, 72), (122, 98), (26, 98)], hull)
    return pic


def lighthouse(stage: Stage, height: float, depth: float) -> Sprite:
    """A banded lighthouse with a gallery and a lantern."""
    k = height / 100
    light, shade = stage.lit(WHITE, depth, 1.0), stage.lit(WHITE, depth, 0.3)
    red, dim = stage.lit(RED, depth, 0.95), stage.lit(RED, depth, 0.3)
    lamp = mix(light, stage.palette.lamp, 0.4 + 0.6 * stage.palette.dark)
    pic = Sprite(44, 100, light, k)
    for band in range(6):
        y0, y1 = 24 + band * 12.7, 24 + (band + 1) * 12.7
        pair = (red, dim) if band % 2 == 0 else (light, shade)
        half0, half1 = 6.4 + band * 0.95, 6.4 + (band + 1) * 0.95
        pic.poly([(22 - half0, y0), (22 + half0, y0), (22 + half1, y1), (22 - half1, y1)], pair[0])
        inner = (1.0, 0.15) if stage.side > 0 else (-0.15, -1.0)
        pic.poly(
            [
                (22 + half0 * inner[0], y0),
                (22 + half0 * inner[1], y0),
                (22 + half1 * inner[1], y1),
                (22 + half1 * inner[0], y1),
            ],
            pair[1],
        )
    pic.rect((12.5, 21, 31.5, 24.5), dim)
    pic.rect((17.5, 11, 26.5, 21), lamp)
    for x in (17.5, 22, 26.5):
        pic.line([(x, 11), (x, 21)], 0.9, dim)
    pic.poly([(15.5, 11.5), (28.5, 11.5), (22, 3)], red)
    pic.line([(22, 4), (22, 0)], 0.8, dim)
    return pic


def house(stage: Stage, height: float, depth: float, windows: bool = True, tone: int = 0) -> Sprite:
    """A cottage with a pitched roof, chimney and lit windows."""
    k = height / 100
    walls = ((0.93, 0.88, 0.8), (0.72, 0.42, 0.32), (0.85, 0.75, 0.58), (0.55, 0.6, 0.66))[tone % 4]
    snowy = stage.world.weather == "snow" or stage.world.motif == "aurora"
    roof = (0.95, 0.97, 1.0) if snowy else ((0.55, 0.24, 0.2), (0.3, 0.3, 0.36))[tone % 2]
    wall, side = stage.lit(walls, depth, 0.75), stage.lit(walls, depth, 0.3)
    top, under = stage.lit(roof, depth, 0.8), stage.lit(roof, depth, 0.3)
    pic = Sprite(140, 100, wall, k)
    pic.rect((84, 6, 96, 40), side)
    pic.rect((48, 52, 128, 100), wall)
    pic.poly([(12, 52), (48, 14), (52, 52), (52, 100), (14, 100), (14, 52)], side)
    pic.poly([(48, 10), (118, 10), (136, 54), (52, 54)], top)
    pic.poly([(48, 10), (8, 54), (14, 54), (48, 17)], under)
    glow = mix(
        stage.lit((0.25, 0.3, 0.36), depth, 0.6),
        stage.palette.lamp,
        (0.25 + 0.75 * stage.palette.dark) * windows,
    )
    for x in (62, 84, 106):
        pic.rect((x, 66, x + 12, 82), glow)
        pic.line([(x + 6, 66), (x + 6, 82)], 1.2, side)
        pic.line([(x, 74), (x + 12, 74)], 1.2, side)
    pic.rect((27, 74, 40, 100), mix(side, (0.1, 0.06, 0.05), 0.5))
    return pic


def castle(stage: Stage, height: float, depth: float) -> Sprite:
    """A castle of towers with pointed roofs."""
    k = height / 100
    stone, shade = stage.lit((0.72, 0.68, 0.66), depth, 0.7), stage.lit((0.6, 0.57, 0.6), depth, 0.2)
    roof = stage.lit((0.3, 0.35, 0.5), depth, 0.5)
    pic = Sprite(150, 100, stone, k)
    for x, top, wide in ((8, 56, 18), (124, 50, 18), (28, 40, 20), (100, 34, 20), (58, 16, 22), (80, 30, 14)):
        pic.rect((x, top, x + wide, 100), stone)
        pic.rect((x + wide * 0.55, top, x + wide, 100), shade)
        pic.poly([(x - 2, top), (x + wide + 2, top), (x + wide / 2, top - wide * 1.1)], roof)
        lamp = mix(shade, stage.palette.lamp, 0.25 + 0.75 * stage.palette.dark)
        for row in range(2):
            pic.rect((x + wide * 0.32, top + 6 + row * 14, x + wide * 0.52, top + 12 + row * 14), lamp)
    for x in range(20, 132, 8):
        pic.rect((x, 66, x + 5, 72), stone)
    pic.rect((18, 71, 132, 100), mix(stone, shade, 0.4))
    pic.ellipse((66, 80, 84, 120), mix(shade, (0, 0, 0), 0.5))
    return pic


def windmill(stage: Stage, height: float, depth: float) -> Sprite:
    """A windmill with four sails."""
    k = height / 100
    wall, shade = stage.lit(WHITE, depth, 0.8), stage.lit(WHITE, depth, 0.25)
    wood = stage.lit(WOOD, depth, 0.5)
    pic = Sprite(90, 100, wall, k)
    pic.poly([(35, 46), (55, 46), (62, 100), (28, 100)], wall)
    pic.poly([(46, 46), (55, 46), (62, 100), (48, 100)], shade)
    pic.poly([(33, 47), (57, 47), (45, 33)], wood)
    for turn in range(4):
        angle = 0.45 + turn * math.pi / 2
        dx, dy = math.cos(angle), math.sin(angle)
        tip, foot = (45 + 43 * dx, 43 + 43 * dy), (45 + 10 * dx, 43 + 10 * dy)
        wide = (-dy * 8, dx * 8)
        pic.line([(45, 43), tip], 1.6, wood)
        pic.poly(
            [foot, tip, (tip[0] + wide[0], tip[1] + wide[1]), (foot[0] + wide[0], foot[1] + wide[1])],
            mix(wall, wood, 0.35),
        )
    return pic


def balloon(stage: Stage, height: float, depth: float, hue: int = 0) -> Sprite:
    """A striped hot-air balloon with its basket."""
    k = height / 100
    pairs = (
        ((0.86, 0.27, 0.2), (0.98, 0.8, 0.42)),
        ((0.2, 0.42, 0.62), (0.95, 0.92, 0.85)),
        ((0.6, 0.25, 0.5), (0.98, 0.62, 0.4)),
    )
    one, two = pairs[hue % 3]
    pic = Sprite(76, 100, stage.lit(one, depth, 0.8), k)
    for stripe in range(7):
        left, right = -1 + stripe * 2 / 7, -1 + (stripe + 1) * 2 / 7
        shade = 1.0 - 0.16 * abs(stripe - (2 if stage.side > 0 else 4))
        edge = [_balloon_edge(left, row / 14) for row in range(15)]
        back = [_balloon_edge(right, row / 14) for row in range(14, -1, -1)]
        pic.poly(edge + back, stage.lit(two if stripe % 2 else one, depth, shade))
    rope = stage.lit(DARK, depth, 0.3)
    for x in (-1, 1):
        pic.line([(38 + 8 * x, 77), (38 + 4 * x, 91)], 0.7, rope)
    pic.rect((33.5, 90, 42.5, 98), stage.lit(WOOD, depth, 0.7))
    return pic


def _balloon_edge(across: float, down: float) -> Point:
    wide = math.sin(math.pi * min(1.0, 0.04 + down * 0.62) ** 0.72) if down < 0.6 else 1.0
    wide = 36 * (
        math.sin(math.pi / 2 * min(1, down / 0.5)) ** 0.7
        if down < 0.5
        else 1 - ((down - 0.5) / 0.5) ** 1.8 * 0.76
    )
    return (38 + math.sin(across * math.pi / 2) * wide, 2 + down * 75)


def figure(stage: Stage, height: float, depth: float) -> Sprite:
    """A lone person seen from behind, in a long coat."""
    k = height / 100
    dark, edge = stage.lit(DARK, depth, 0.15), stage.lit((0.5, 0.35, 0.3), depth, 0.6)
    pic = Sprite(44, 100, dark, k)
    pic.ellipse((15.5, 1, 28.5, 17), dark)
    pic.poly([(15, 19), (29, 19), (34, 30), (36, 62), (31, 70), (13, 70), (8, 62), (10, 30)], dark)
    pic.poly([(13, 66), (21, 66), (20.5, 99), (13.5, 99)], dark)
    pic.poly([(23, 66), (31, 66), (30, 99), (23.5, 99)], dark)
    x = 33 if stage.side < 0 else 9
    pic.line([(x, 31), (x + (2 if stage.side < 0 else -2), 60)], 1.4, edge)
    return pic


def deer(stage: Stage, height: float, depth: float) -> Sprite:
    """A standing stag in silhouette."""
    k = height / 100
    dark = stage.lit((0.16, 0.12, 0.1), depth, 0.2)
    pic = Sprite(92, 100, dark, k)
    pic.poly(
        [
            (14, 46),
            (22, 42),
            (56, 44),
            (66, 38),
            (70, 28),
            (76, 26),
            (86, 33),
            (84, 37),
            (76, 38),
            (72, 52),
            (66, 62),
            (40, 63),
            (20, 62),
            (13, 56),
        ],
        dark,
    )
    for x, lean in ((17, -1), (24, 1), (58, -1), (65, 2)):
        pic.poly(
            [
                (x - 2, 58),
                (x + 5, 58),
                (x + 2 + lean, 80),
                (x + 2 + lean, 99),
                (x - 1 + lean, 99),
                (x - 1 + lean, 80),
            ],
            dark,
        )
    for side in (-1, 1):
        pic.line([(75, 27), (74 + 5 * side, 16), (73 + 10 * side, 4)], 1.8, dark)
        pic.line([(74 + 5 * side, 16), (74 + 12 * side, 13)], 1.6, dark)
        pic.line([(74 + 7.5 * side, 10), (72 + 4 * side, 3)], 1.5, dark)
    return pic


def camel(stage: Stage, height: float, depth: float) -> Sprite:
    """A walking camel in silhouette."""
    k = height / 100
    dark = stage.lit((0.24, 0.15, 0.1), depth, 0.2)
    pic = Sprite(120, 100, dark, k)
    pic.poly(
        [
            (12, 48),
            (24, 40),
            (38, 20),
            (48, 36),
            (56, 36),
            (66, 20),
            (78, 40),
            (88, 40),
            (94, 14),
            (99, 8),
            (114, 14),
            (113, 19),
            (102, 21),
            (98, 46),
            (86, 60),
            (30, 60),
            (14, 58),
        ],
        dark,
    )
    for x, lean in ((20, -5), (30, 4), (74, -5), (84, 5)):
        pic.poly([(x - 3, 54), (x + 6, 54), (x + 2 + lean, 99), (x - 1 + lean, 99)], dark)
    return pic


def cactus(stage: Stage, height: float, depth: float) -> Sprite:
    """A saguaro."""
    k = height / 100
    dark = stage.lit((0.2, 0.3, 0.18), depth, 0.3)
    rim = stage.lit((0.4, 0.5, 0.3), depth, 0.9)
    pic = Sprite(70, 100, dark, k)
    pic.line([(35, 7), (35, 100)], 11, dark)
    pic.ellipse((29.5, 1, 40.5, 13), dark)
    for side, y, rise in ((-1, 58, 26), (1, 46, 24)):
        pic.line([(35, y), (35 + side * 20, y - 2), (35 + side * 20, y - rise)], 8, dark)
        pic.ellipse((31 + side * 20, y - rise - 4, 39 + side * 20, y - rise + 4), dark)
    x = 35 + 4 * stage.side * -1
    pic.line([(x, 10), (x, 99)], 1.2, rim)
    return pic


def palm(stage: Stage, height: float, depth: float, lean: float = 1.0) -> Sprite:
    """A palm tree that leans to one side."""
    k = height / 100
    rng = stage.rng
    trunk, leaf = stage.lit((0.42, 0.32, 0.24), depth, 0.4), stage.lit((0.2, 0.42, 0.2), depth, 0.35)
    bright = stage.lit((0.42, 0.6, 0.26), depth, 0.9)
    pic = Sprite(120, 100, leaf, k)
    path = [(60 - lean * (22 - 30 * (i / 12) ** 1.6), 100 - 66 * i / 12) for i in range(13)]
    for i in range(12):
        pic.line([path[i], path[i + 1]], 4.2 - 0.15 * i, trunk)
    cx, cy = path[-1]
    for index in range(13):
        angle = math.pi * (0.98 + 1.04 * index / 12) + 0.12 * rng.standard_normal()
        _frond(pic, (cx, cy), angle, 25 + 6 * rng.random(), bright if index in (3, 5, 8, 10) else leaf)
    return pic


def _frond(pic: Sprite, at: Point, angle: float, length: float, colour: Colour) -> None:
    """A feathered leaf that arches over."""
    spine, flat = [], abs(math.cos(angle))
    for step in range(17):
        s = step / 16
        droop = s**2.2 * length * (0.35 + 0.55 * flat)
        spine.append(
            (at[0] + math.cos(angle) * length * s, at[1] + math.sin(angle) * length * s * 0.75 + droop)
        )
    pic.line(spine, 0.7, colour)
    for step, ((x0, y0), (x1, y1)) in enumerate(pairwise(spine[1:])):
        dx, dy = x1 - x0, y1 - y0
        size = (3.4 - 0.13 * step) / (math.hypot(dx, dy) + 1e-6)
        for side in (-1, 1):
            tip = (x1 + (dx * 0.8 - side * dy * 0.75) * size, y1 + (dy * 0.8 + side * dx * 0.75) * size + 1.2)
            pic.poly([(x0, y0), (x1, y1), tip], colour)


def pine(stage: Stage, height: float, depth: float, colour: Colour) -> Sprite:
    """A tall conifer in silhouette, with drooping branches."""
    k, rng = height / 100, stage.rng
    dark = stage.lit(colour, depth, 0.12)
    pic = Sprite(56, 100, dark, k)
    pic.poly([(27.4, 4), (28.6, 4), (29.6, 100), (26.4, 100)], dark)
    for tier in range(17):
        y = 2 + tier * 5.6
        for side in (-1, 1):
            reach = (2.2 + tier * 1.3) * (0.72 + 0.45 * rng.random())
            drop = 3.5 + reach * 0.22
            edge = [(28, y - 3), (28 + side * reach * 0.5, y + drop * 0.35), (28 + side * reach, y + drop)]
            under = [(28 + side * reach * 0.72, y + drop * 0.9), (28 + side * reach * 0.5, y + drop * 1.15)]
            pic.poly([*edge, *under, (28 + side * reach * 0.25, y + drop * 0.85), (28, y + 6.5)], dark)
    return pic


def tree(stage: Stage, height: float, depth: float, leaf: Colour = (0.28, 0.42, 0.2)) -> Sprite:
    """A broad tree with a full crown, darker underneath."""
    k = height / 100
    rng = stage.rng
    trunk = stage.lit((0.25, 0.18, 0.14), depth, 0.25)
    pic = Sprite(110, 100, stage.lit(leaf, depth, 0.3), k)
    pic.poly(
        [(50, 100), (53, 60), (44, 46), (48, 44), (55, 55), (64, 42), (67, 45), (58, 62), (62, 100)], trunk
    )
    for layer, light in ((0, 0.12), (1, 0.4), (2, 0.75), (3, 1.0)):
        for _ in range(34 - 5 * layer):
            angle, reach = rng.random() * 6.28, rng.random() ** 0.6
            x = 55 + math.cos(angle) * reach * 40 - stage.side * layer * 3.2
            y = 34 + math.sin(angle) * reach * 23 - layer * 4.0
            size = (10 - 1.7 * layer) * (0.6 + 0.6 * rng.random())
            pic.ellipse((x - size, y - size * 0.85, x + size, y + size * 0.85), stage.lit(leaf, depth, light))
    return pic


def car(stage: Stage, height: float, depth: float, paint: Colour = (0.75, 0.2, 0.16)) -> Sprite:
    """A car from behind, tail lights on."""
    k = height / 100
    body, shade = stage.lit(paint, depth, 0.7), stage.lit(paint, depth, 0.25)
    glass = mix(stage.lit((0.3, 0.35, 0.42), depth, 0.6), stage.palette.sky, 0.4)
    pic = Sprite(150, 100, body, k)
    pic.poly([(34, 44), (46, 10), (104, 10), (116, 44)], body)
    pic.poly([(44, 40), (52, 16), (98, 16), (106, 40)], glass)
    pic.poly([(18, 50), (32, 42), (118, 42), (132, 50), (134, 80), (16, 80)], body)
    pic.rect((16, 66, 134, 82), shade)
    for x in (24, 108):
        pic.rect((x - 4, 80, x + 22, 98), (0.05, 0.05, 0.06))
    for x in (20, 110):
        pic.rect((x, 50, x + 20, 60), (1.0, 0.22, 0.14))
    pic.rect((60, 62, 90, 72), stage.lit(WHITE, depth, 0.6))
    return pic


def tent(stage: Stage, height: float, depth: float) -> Sprite:
    """A tent lit from within."""
    k = height / 100
    cloth = mix(stage.lit((0.85, 0.5, 0.2), depth, 0.7), stage.palette.lamp, 0.25 + 0.5 * stage.palette.dark)
    pic = Sprite(150, 100, cloth, k)
    pic.poly([(75, 6), (146, 98), (4, 98)], cloth)
    pic.poly([(75, 6), (146, 98), (104, 98)], mix(cloth, stage.lit(DARK, depth, 0.3), 0.4))
    pic.poly([(62, 40), (78, 98), (46, 98)], mix(cloth, (1.0, 0.95, 0.75), 0.6))
    return pic


def lamp_post(stage: Stage, height: float, depth: float) -> Sprite:
    """A street lamp with a hanging head."""
    k = height / 100
    iron = stage.lit(DARK, depth, 0.3)
    pic = Sprite(30, 100, iron, k)
    pic.line([(15, 14), (15, 100)], 1.8, iron)
    pic.rect((12.5, 92, 17.5, 100), iron)
    pic.poly([(11, 4), (19, 4), (20.5, 14), (9.5, 14)], mix(stage.palette.lamp, (1.0, 1.0, 0.95), 0.4))
    pic.poly([(8.5, 5), (21.5, 5), (15, 0)], iron)
    return pic


def rocket(stage: Stage, height: float, depth: float) -> Sprite:
    """A rocket on its flame."""
    k = height / 100
    white, grey, red = (stage.lit(c, depth, light) for c, light in ((WHITE, 1.0), (WHITE, 0.4), (RED, 0.9)))
    pic = Sprite(40, 100, white, k)
    pic.poly([(15, 66), (25, 66), (20, 99)], (1.0, 0.72, 0.3))
    pic.poly([(17, 66), (23, 66), (20, 86)], (1.0, 0.97, 0.85))
    pic.poly([(20, 2), (27, 18), (28, 62), (12, 62), (13, 18)], white)
    pic.poly([(20, 2), (27, 18), (28, 62), (21, 62)], grey)
    pic.poly([(20, 2), (25, 12), (15, 12)], red)
    for side in (-1, 1):
        pic.poly([(20 + 8 * side, 46), (20 + 15 * side, 68), (20 + 8 * side, 63)], red)
    pic.ellipse((16.5, 22, 23.5, 29), (0.2, 0.35, 0.5))
    return pic
