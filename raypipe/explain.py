"""What pydantic says of a bad value, in words for people; the same for the command line and over HTTP."""

from collections.abc import Mapping, Sequence
from typing import Any

from raypipe.text import printable

#: names that pydantic puts into a place to tell the alternatives of a union apart
ALTERNATIVES = {"stored artifact", "text"}


def place(error: Mapping[str, Any]) -> list[Any]:
    """Return where in the value an error is: names and indices from the outside in."""
    return [part for part in error["loc"] if part not in ALTERNATIVES]


def reason(error: Mapping[str, Any]) -> str:
    """Return what is wrong, with the value if it is short."""
    words = _WORDS.get(error["type"])
    message = words.format(**error.get("ctx", {})) if words else _unprefixed(str(error["msg"]))
    value = error.get("input")
    if message.startswith("is "):
        return message
    if isinstance(value, int | float) or (isinstance(value, str) and 0 < len(value) <= 40):
        return f"{message}, not {printable(str(value))}"
    return message


def others(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return how many places besides the first have errors, as " (2 more like it)"; nothing if there are none."""
    places = {tuple(place(error)) for error in errors}
    # a list is also said to be too short when one of its entries is bad: that is no problem of its own
    places -= {outer for outer in places for inner in places if inner[: len(outer)] == outer != inner}
    return f" ({len(places) - 1} more like it)" if len(places) > 1 else ""


def _unprefixed(message: str) -> str:
    message = message.removeprefix("Value error, ").rstrip(".")
    return message[:1].lower() + message[1:] if message.startswith("Input") else message


_WORDS = {
    "bool_type": "must be true or false",
    "dict_type": "must be a JSON object",
    "extra_forbidden": "is no known field",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number",
    "float_type": "must be a number",
    "greater_than_equal": "must be at least {ge:.15g}",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt:.15g}",
    "less_than_equal": "must be at most {le:.15g}",
    "missing": "is missing",
    "multiple_of": "must be a multiple of {multiple_of:.15g}",
    "string_pattern_mismatch": "must be of the form {pattern}",
    "string_too_long": "must have at most {max_length} characters",
    "string_too_short": "must not be empty",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "too_long": "must have at most {max_length} entries",
    "too_short": "must not be empty",
    "tuple_type": "must be a list",
}
