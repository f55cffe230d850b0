"""Where a scene is painted: the stage knows frame, light and shot; sheets and sprites hold the paint."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from raypipe.models import Size
from raypipe.providers.local import layers
from raypipe.providers.local.layers import STILL, Layer, Motion, Overlay, Pulse, Scene
from raypipe.providers.local.noise import Field, Line, generator, to_picture
from raypipe.providers.local.palette import Colour, Palette, bytes_of, mix, palette_of, times
from raypipe.providers.local.words import World

MARGIN = 0.1
AMBIENT = 0.13

Point = tuple[float, float]


class Shot(NamedTuple):
    """How a beat looks at its world."""

    #: wide, medium, close, aerial or low
    kind: str
    #: names everything random in the beat's composition
    seed: str

    @property
    def scale(self) -> float:
        """How much larger than in a wide shot things appear."""
        return {"wide": 1.0, "medium": 1.3, "close": 1.75, "aerial": 0.72, "low": 1.15}[self.kind]


_KINDS = (
    ("aerial", r"aerial|drone|overhead|bird|top[- ]?down|high[- ]angle|satellite|establish"),
    ("close", r"close|detail|macro|insert|texture|cutaway|extreme"),
    ("medium", r"medium|mid\b|portrait|two[- ]shot|shoulder|cowboy|product|hero"),
    ("low", r"low|worm|ground"),
)


def kind_of(shot_type: str) -> str:
    """Classify the free text of a shot type."""
    text = shot_type.lower()
    return next((kind for kind, pattern in _KINDS if re.search(pattern, text)), "wide")


class Sheet:
    """A painted surface that becomes one layer. Points are canvas pixels; colours 0 to 1."""

    def __init__(
        self, stage: "Stage", depth: float, rows: tuple[float, float], base: Colour, opaque: bool = False
    ):
        self.stage, self.depth = stage, depth
        self.top = int(max(0, rows[0])) // 2 * 2
        bottom = min(stage.height, -(-int(rows[1]) // 2) * 2)
        self.height = max(2, bottom - self.top)
        self.width = stage.width
        self.rgb = Image.new("RGB", (self.width, self.height), bytes_of(base))
        self.alpha = None if opaque else Image.new("L", self.rgb.size, 0)

    def fill(self, mask: Image.Image, paint: Colour | Image.Image) -> None:
        """Paint through a mask of the sheet's size."""
        self.rgb.paste(paint if isinstance(paint, Image.Image) else bytes_of(paint), (0, 0), mask)
        if self.alpha is not None:
            self.alpha = ImageChops.lighter(self.alpha, mask)

    def tint(self, field: Field, paint: Colour) -> None:
        """Blend a colour in by a field of any resolution, 0 to 1, without changing the opacity."""
        mask = to_picture(field).resize(self.rgb.size, Image.Resampling.BILINEAR)
        self.rgb.paste(bytes_of(paint), (0, 0), mask)

    def below(self, line: Line, soft: float = 1.0) -> Image.Image:
        """A mask of everything below a line of canvas heights, one for each column."""
        rows = np.arange(self.height, dtype=np.float32)[:, None] + (self.top + 0.5)
        level = np.clip((rows - line[None, :].astype(np.float32)) * (255.0 / soft) + 127.5, 0, 255)
        return Image.fromarray(level.astype(np.uint8))

    def gradient(self, upper: Colour, lower: Colour, rows: tuple[float, float] | None = None) -> Image.Image:
        """A picture of the sheet's size that runs from one colour to another between two canvas rows."""
        start, end = rows or (self.top, self.top + self.height)
        t = np.clip((np.arange(self.height) + self.top - start) / max(1.0, end - start), 0, 1)[:, None]
        column = np.array(upper) * (1 - t) + np.array(lower) * t
        pixels = np.clip(column * 255 + 0.5, 0, 255).astype(np.uint8)[:, None, :]
        return Image.fromarray(pixels).resize(self.rgb.size, Image.Resampling.NEAREST)

    def place(self, sprite: "Sprite", at: Point, flip: bool = False) -> None:
        """Put a sprite down so that the middle of its bottom edge is at a point of the canvas."""
        rgb, alpha = sprite.done()
        if flip:
            rgb, alpha = (part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for part in (rgb, alpha))
        corner = (round(at[0] - rgb.width / 2), round(at[1] - rgb.height) - self.top)
        self.rgb.paste(rgb, corner, alpha)
        if self.alpha is not None:
            box = (corner[0], corner[1], corner[0] + rgb.width, corner[1] + rgb.height)
            self.alpha.paste(ImageChops.lighter(self.alpha.crop(box), alpha), corner)

    def merge(self, other: "Sheet") -> None:
        """Paint another sheet of the same stage over this one."""
        corner = (0, other.top - self.top)
        self.rgb.paste(other.rgb, corner, other.alpha)
        if self.alpha is not None and other.alpha is not None:
            box = (0, corner[1], other.width, corner[1] + other.height)
            self.alpha.paste(ImageChops.lighter(self.alpha.crop(box), other.alpha), corner)

    def layer(self, **changes: object) -> Layer:
        """The finished layer, with fields changed."""
        made = layers.layer_of(self.rgb, self.alpha, 0, self.top, self.depth)
        return replace(made, **changes) if changes else made  # type: ignore[arg-type]


class Sprite:
    """A small thing drawn with hard edges at a multiple of its size and then reduced."""

    def __init__(self, width: float, height: float, base: Colour, unit: float = 1.0, fine: int = 3):
        """Start an empty sprite measured in units of `unit` pixels, drawn at `fine` times its size."""
        self.width, self.height = max(2, round(width * unit)), max(2, round(height * unit))
        self.fine, self.scale = fine, unit * fine
        size = (self.width * fine, self.height * fine)
        self._rgb, self._alpha = Image.new("RGB", size, bytes_of(base)), Image.new("L", size, 0)
        self._pens = (ImageDraw.Draw(self._rgb), ImageDraw.Draw(self._alpha))

    def poly(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon."""
        scaled = self._scaled(points)
        self._pens[0].polygon(scaled, fill=bytes_of(colour))
        self._pens[1].polygon(scaled, fill=255)

    def ellipse(self, box: tuple[float, float, float, float], colour: Colour, opacity: float = 1.0) -> None:
        """Fill an ellipse within left, top, right, bottom."""
        left, top, right, bottom = (edge * self.scale for edge in box)
        if right - left < 1 or bottom - top < 1:
            return
        self._pens[0].ellipse((left, top, right, bottom), fill=bytes_of(colour))
        self._pens[1].ellipse((left, top, right, bottom), fill=round(255 * opacity))

    def rect(self, box: tuple[float, float, float, float], colour: Colour) -> None:
        """Fill a rectangle of left, top, right, bottom."""
        left, top, right, bottom = box
        self.poly([(left, top), (right, top), (right, bottom), (left, bottom)], colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        """Draw a line with round joints."""
        thick = max(1, round(width * self.scale))
        scaled = self._scaled(points)
        self._pens[0].line(scaled, fill=bytes_of(colour), width=thick, joint="curve")
        self._pens[1].line(scaled, fill=255, width=thick, joint="curve")

    def done(self) -> tuple[Image.Image, Image.Image]:
        """The sprite's colours and opacity at its own size."""
        return self._rgb.reduce(self.fine), self._alpha.reduce(self.fine)

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.scale, y * self.scale) for x, y in points]


class Stage:
    """The frame, light and shot of a scene under construction, and the layers made so far, back to front."""

    def __init__(self, world: World, shot: Shot, size: Size):
        self.world, self.shot, self.size = world, shot, size
        self.margin = (_even(size.width * MARGIN + 4), _even(size.height * MARGIN + 4))
        self.width, self.height = size.width + 2 * self.margin[0], size.height + 2 * self.margin[1]
        self.palette: Palette = palette_of(world)
        self.rng = generator("stage", shot.seed)
        self.tall = size.height > size.width
        self.side = 1 if self.rng.random() < 0.5 else -1
        #: length of one unit in pixels: 1 for a wide shot at 1280x720
        self.unit = (size.width * size.height) ** 0.5 / 960
        self.u = self.unit * shot.scale
        self.layers: list[Layer] = []
        self.overlays: list[Overlay] = []

    def x(self, part: float) -> float:
        """Canvas column of a fraction of the frame's width."""
        return self.margin[0] + part * self.size.width

    def y(self, part: float) -> float:
        """Canvas row of a fraction of the frame's height."""
        return self.margin[1] + part * self.size.height

    def beside(self, part: float) -> float:
        """Canvas column of a fraction of the frame's width, on the beat's own side of the middle."""
        return self.x(0.5 + self.side * part)

    def says(self, *subjects: str) -> bool:
        """Whether the prompt names any of the subjects."""
        return any(subject in self.world.subjects for subject in subjects)

    def lit(self, albedo: Colour, depth: float, light: float = 1.0) -> Colour:
        """A surface in this light, seen through this much air; light = 0 is full shade, 1 full light."""
        share = AMBIENT * (1 + self.palette.dark)
        lamp, ambient = mix(self.palette.shade, self.palette.light, light), times(self.palette.shade, share)
        red, green, blue = (
            a * b + c for a, b, c in zip(times(albedo, 1 - share), lamp, ambient, strict=True)
        )
        return self.aired((red, green, blue), depth)

    def aired(self, colour: Colour, depth: float) -> Colour:
        """A colour seen through the air between it and us; depth 1 is near."""
        near = min(1.0, max(0.0, depth))
        veil = mix(self.palette.haze, self.palette.shade, 0.32 + 0.45 * near)
        return mix(colour, veil, self.palette.air * (1.0 - near) ** 1.15)

    def sheet(self, depth: float, rows: tuple[float, float], base: Colour) -> Sheet:
        """Start a layer between two canvas rows."""
        return Sheet(self, depth, rows, base)

    def add(self, layer: Layer | Sheet) -> None:
        """Put a finished layer in front of the others."""
        self.layers.extend(layers.strips(layer.layer() if isinstance(layer, Sheet) else layer))

    def add_sprite(
        self, sprite: Sprite, at: Point, depth: float, motion: Motion = STILL, pulse: Pulse | None = None
    ) -> None:
        """Put a sprite in front as a layer of its own, the middle of its bottom edge at a point."""
        rgb, alpha = _padded(*sprite.done())
        left, top = at[0] - rgb.width / 2, at[1] - rgb.height
        made = layers.layer_of(rgb, alpha, left, top, depth)
        self.layers.append(replace(made, motion=motion, pulse=pulse, solid=None))

    def add_light(
        self, field: Field, colour: Colour, depth: float, pulse: Pulse | None = None, grain: int = 4
    ) -> None:
        """Put light in front over the whole canvas: a field of opacity at 1/`grain` of its size."""
        mask = to_picture(field).resize((_even(self.width / grain), _even(self.height / grain)))
        made = layers.layer_of_light(bytes_of(colour), mask, 0, 0, depth, grain)
        self.add(replace(made, pulse=pulse))

    def add_soft(
        self,
        field: Field,
        colour: Colour,
        corner: Point,
        depth: float,
        motion: Motion = STILL,
        pulse: Pulse | None = None,
    ) -> None:
        """Put something soft in front, such as smoke: a field of opacity with even sides, from a corner."""
        mask = to_picture(field.astype(np.float32))
        made = layers.layer_of_light(bytes_of(colour), mask, *corner, depth)
        self.add(replace(made, motion=motion, pulse=pulse))

    def scene(self) -> Scene:
        """The finished scene."""
        return Scene(self.size.width, self.size.height, self.margin, tuple(self.layers), tuple(self.overlays))


def _padded(rgb: Image.Image, alpha: Image.Image) -> tuple[Image.Image, Image.Image]:
    """Give a sprite a transparent edge and an even size."""
    size = (_even(rgb.width + 4), _even(rgb.height + 4))
    wide = rgb.resize(size, Image.Resampling.NEAREST)
    wide.paste(rgb, (2, 2))
    mask = Image.new("L", size, 0)
    mask.paste(alpha, (2, 2))
    return wide, mask


def _even(length: float) -> int:
    return -(-int(length) // 2) * 2
