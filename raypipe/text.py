"""Text that comes from elsewhere, made fit to be stored, sent and printed; and numbers as people write them."""

import math
import re
import unicodedata
from typing import Any

#: longest foreign text that is kept, in characters
MAX_FOREIGN = 2_000
#: how deep values of JSON's types may be nested
MAX_DEPTH = 50

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


def valid_text(text: object, limit: int = MAX_FOREIGN) -> str:
    """Return a text as valid Unicode of at most `limit` characters, without what a terminal would obey.

    Surrogates that form a pair become their character, lone ones U+FFFD, since no encoding can store them.
    """
    whole = _ESCAPE_SEQUENCE.sub("", _as_text(text)[: 4 * limit])
    whole = _CONTROL.sub(" ", _without_lone_surrogates(whole)).strip()
    return whole if len(whole) <= limit else whole[: limit - 1] + "…"


def valid_json(value: Any, depth: int = 0) -> Any:
    """Return a value of JSON's types with all its texts made valid Unicode.

    Raises:
        ValueError: A number in it is infinite or not a number, which JSON cannot say, or it is nested too deeply.
    """
    if depth > MAX_DEPTH:
        raise ValueError(f"must not be nested more than {MAX_DEPTH} deep")
    if isinstance(value, str):
        return _without_lone_surrogates(value)
    if isinstance(value, dict):
        return {valid_json(name): valid_json(each, depth + 1) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [valid_json(each, depth + 1) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("numbers must be finite")
    return value


def printable(text: str) -> str:
    """Return a text on one line, valid and without anything that a terminal would obey."""
    return _UNPRINTABLE.sub(" ", _without_lone_surrogates(text)).strip()


def _as_text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001 - an exception of a vendor's library may not even tell its own message
        return f"{type(value).__name__} without a message"


def _without_lone_surrogates(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def seconds(value: float) -> str:
    """Write a length of time as people do: 0.31 s, 12 s, 5 min."""
    value = max(0.0, value)
    if value < 10:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 36_000 else f"{value / 3600:.0f} h"


def clock(value: float) -> str:
    """Write a length of time as on a clock: 1:05 or 2:01:05."""
    minutes, second = divmod(int(max(0.0, value)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def size_of(count: int) -> str:
    """Write a number of bytes as people do."""
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def without_controls(text: str) -> str:
    """Drop control characters and the blanks around a text; lines stay."""
    kept = (char if unicodedata.category(char) != "Cc" or char == "\n" else " " for char in text)
    return "".join(kept).strip()


def dollars(amount: float) -> str:
    """Write an amount of money, with tenths of a cent where there are any."""
    return f"${amount:.2f}" if round(amount, 2) == round(amount, 3) else f"${amount:.3f}"
