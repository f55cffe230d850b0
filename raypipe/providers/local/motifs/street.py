"""A street in perspective, its lights mirrored in the asphalt."""

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from raypipe.providers.local import effects, props
from raypipe.providers.local.layers import Pulse
from raypipe.providers.local.motifs.city import NEON, towers
from raypipe.providers.local.noise import to_picture
from raypipe.providers.local.palette import Colour, bytes_of, mix, times
from raypipe.providers.local.sky import Heaven, glow, paint_sky, veil
from raypipe.providers.local.stage import Sheet, Sprite, Stage


def paint_street(stage: Stage) -> None:
    """A street that recedes between houses, its lights mirrored in the asphalt."""
    u = stage.u
    horizon = stage.y({"aerial": 0.4, "low": 0.66, "close": 0.6}.get(stage.shot.kind, 0.57))
    vanish = stage.beside(-0.08)
    heaven = Heaven(stage, horizon + 30 * u, sun=((vanish - stage.margin[0]) / stage.size.width, 0.9))
    backdrop = paint_sky(stage, heaven, disc=stage.world.time in {"dawn", "sunset"})
    towers(stage, backdrop, horizon + 20 * u, 0.35, 210 * u, 40 * u, 1.0, heaven)
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
    thick = 0.16 + 0.36 * stage.palette.dark + (0.2 if stage.world.weather == "fog" else 0.0)
    veil(stage, (horizon - 110 * u, horizon + 70 * u), 0.4, haze, thick)
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
    pic.poly(
        [
            view.at(-0.62, GROUND, near),
            view.at(-0.62, GROUND, far),
            view.at(0.62, GROUND, far),
            view.at(0.62, GROUND, near),
        ],
        asphalt,
    )
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
        pic.poly(
            [
                view.at(x * 0.975, height, z0),
                view.at(x * 0.975, height + 0.04, z0),
                view.at(x * 0.975, height + 0.04, z1),
                view.at(x * 0.975, height, z1),
            ],
            cornice,
        )
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
    shop = [
        view.at(x, y, z)
        for y, z in (
            (GROUND + 0.04, z0 + 0.1 * (z1 - z0)),
            (GROUND + 0.24, z0 + 0.1 * (z1 - z0)),
            (GROUND + 0.24, z1 - 0.1 * (z1 - z0)),
            (GROUND + 0.04, z1 - 0.1 * (z1 - z0)),
        )
    ]
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
    wet = {"rain": 0.62, "storm": 0.62, "snow": 0.3}.get(
        stage.world.weather, 0.08 + 0.36 * stage.palette.dark
    )
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
                glow(
                    stage,
                    (x, foot - lamp_y),
                    150 * u / z,
                    stage.palette.lamp,
                    0.3 + 0.55 * stage.palette.dark,
                    depth,
                    Pulse(0.12, 2.3, z),
                )
