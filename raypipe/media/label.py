"""A label that people can see, in the lower right corner of every frame."""

from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image, ImageDraw
from PIL.ImageFont import FreeTypeFont

from raypipe.errors import MediaError
from raypipe.film_label import FilmLabel, load_font
from raypipe.media.video import Plane, Planes
from raypipe.models import Size

#: how much of the picture is left behind the text, and the luma of the text (BT.709, limited range)
_LEFT, _WHITE = 0.35, 235.0
#: height of the text, and its distance from the edges, as parts of the smaller side
_HEIGHT, _MARGIN = 1 / 28, 1 / 40
_GREY = 128.0


def labelled(frames: Iterable[Planes], label: FilmLabel, size: Size) -> Iterator[Planes]:
    """Give frames with a label on a darkened patch; frames of another size than `size` cannot be."""
    letters = _letters(label, size)
    rows, columns = letters.shape
    margin = 2 * round(min(size.width, size.height) * _MARGIN / 2)
    top, left = max(0, size.height - margin - rows), max(0, size.width - margin - columns)
    where = np.s_[top : top + rows, left : left + columns]
    half = np.s_[top // 2 : (top + rows) // 2, left // 2 : (left + columns) // 2]
    for frame in frames:
        y, u, v = (plane.copy() for plane in frame)
        y[where] = _mixed(y[where] * _LEFT, letters, _WHITE)
        for chroma in (u, v):
            chroma[half] = (chroma[half] * _LEFT + _GREY * (1 - _LEFT)).round().astype(np.uint8)
        yield Planes(y, u, v)


def _letters(label: FilmLabel, size: Size) -> np.ndarray:
    """Draw a label, from 0 where there is none of it to 1, in even numbers of rows and columns that fit the size."""
    height = max(8.0, min(size.width, size.height) * _HEIGHT)
    across = _font_of(label, height).getlength(label.text)
    font = _font_of(label, height * min(1.0, 0.9 * size.width / max(1.0, across)))
    left, top, right, bottom = font.getbbox(label.text)
    pad = (bottom - top) * 0.3
    columns = min(size.width, 2 * round((right - left + 2 * pad) / 2))
    rows = min(size.height, 2 * round((bottom - top + 2 * pad) / 2))
    patch = Image.new("L", (columns, rows), 0)
    ImageDraw.Draw(patch).text((pad - left, pad - top), label.text, fill=255, font=font)
    return np.asarray(patch, np.float32) / 255


def _font_of(label: FilmLabel, height: float) -> FreeTypeFont:
    try:
        return load_font(label.font, height)
    except ValueError as error:
        raise MediaError(
            f"the label cannot be drawn, because what RAYPIPE_LABEL_FONT names {error}"
        ) from error


def _mixed(below: np.ndarray, letters: np.ndarray, level: float) -> Plane:
    mixed: Plane = (below * (1 - letters) + level * letters).round().clip(16, 235).astype(np.uint8)
    return mixed
