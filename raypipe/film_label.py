"""The label that people see on films, and the font that it is drawn with: Open Sans, or one that a setting names.

Open Sans has Latin with all accents, Greek and Cyrillic. What a font does not have it draws as boxes, so a label is
looked at before anything is made: one that nobody can read is worse than none.
"""

import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

#: no font has it (Unicode 23.7), so it looks like what a font does not have
_IN_NO_FONT = "\uffff"
#: height of text in pixels at which two characters of a font are told apart
_TELLING_HEIGHT = 40.0
#: kinds of characters that are not drawn: blanks and marks of format
_UNSEEN = ("Zs", "Cf")


class FilmLabel(NamedTuple):
    """A text, and the file of the font that it is drawn with; None for Open Sans."""

    text: str
    font: Path | None = None


def load_font(path: Path | None, height: float) -> "FreeTypeFont":
    """Open the font that labels are drawn with.

    Args:
        path: Its file; None for Open Sans.
        height: Height of its text, in pixels.

    Raises:
        ValueError: The file is no font, or is not there.
    """
    from PIL.ImageFont import FreeTypeFont  # it takes long to load, and most commands draw nothing
    from ttf_opensans import OPENSANS_REGULAR

    try:
        return FreeTypeFont(str(path or OPENSANS_REGULAR.path), height)
    except OSError as error:
        raise ValueError(
            f"is no font that text can be drawn with on this machine ({error}): {path}"
        ) from error


def undrawable(label: FilmLabel) -> str:
    """Return the characters of a label that its font does not have.

    Raises:
        ValueError: There is no such font.
    """
    font = load_font(label.font, _TELLING_HEIGHT)
    box = _shape(font, _IN_NO_FONT)
    drawn = (character for character in label.text if unicodedata.category(character) not in _UNSEEN)
    return "".join(dict.fromkeys(character for character in drawn if _shape(font, character) == box))


def _shape(font: "FreeTypeFont", character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)
