"""Bytes of a fuzzer as decisions: which field is next, and what stands in it."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

import atheris

ValueT = TypeVar("ValueT")

#: texts in which parsers have gone wrong before
_TEXTS = (
    "", " ", "\0", "\ud800", "é", "\U0001f469\u200d\U0001f4bb", "\u202e",
    "-1", "0", "1e999", "NaN", "9" * 400, "16:9", "1280x720", "simulated",
    "local", "data:image/png;base64,", "data:image/png;base64,AAAA",
    "data:image/gif;base64,", "http://[", "https://a",
    "//", "../../etc/passwd", "a" * 5_000, "12 s ad for soup. Then bread.", '"', "image", "clip", "storyboard",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 2, 5, 16, 30, 1e-9, 0.5, 1e308, -1e308, 2**31, 2**63, 2**64, 10**400)
_DEEPEST = 4


class Choices:
    """What a fuzzer has chosen."""

    def __init__(self, data: bytes) -> None:
        self._from = atheris.FuzzedDataProvider(data)

    def one_of(self, options: Sequence[ValueT]) -> ValueT:
        """Return one of several."""
        return options[self._from.ConsumeIntInRange(0, len(options) - 1)]

    def up_to(self, most: int) -> int:
        """Return a number from 0."""
        return int(self._from.ConsumeIntInRange(0, most))

    def yes(self) -> bool:
        """Return whether."""
        return bool(self._from.ConsumeBool())

    def rest(self) -> bytes:
        """Return all bytes that are left."""
        return bytes(self._from.ConsumeBytes(self._from.remaining_bytes()))

    def some(self, most: int = 200) -> bytes:
        """Return some bytes."""
        return bytes(self._from.ConsumeBytes(self.up_to(most)))

    def text(self) -> str:
        """Return a text; it may hold lone surrogates."""
        return self.one_of(_TEXTS) if self.yes() else str(self._from.ConsumeUnicode(self.up_to(80)))

    def value(self, names: Sequence[str], depth: int = 0) -> Any:
        """Return a value of JSON's types."""
        kinds = 7 if depth < _DEEPEST else 5
        match self.up_to(kinds - 1):
            case 0:
                return None
            case 1:
                return self.yes()
            case 2:
                return self.one_of(_NUMBERS)
            case 3:
                return self._from.ConsumeFloat()
            case 4:
                return self.text()
            case 5:
                return [self.value(names, depth + 1) for _ in range(self.up_to(4))]
            case _:
                return self.document(names, depth + 1)

    def document(self, names: Sequence[str], depth: int = 0) -> dict[str, Any]:
        """Return an object with some of those names, and others."""
        return {self._name(names): self.value(names, depth) for _ in range(self.up_to(6))}

    def body(self, names: Sequence[str]) -> bytes:
        """Return an object as JSON, or bytes that are none."""
        if not self.yes():
            return self.rest()
        return json.dumps(self.document(names), ensure_ascii=self.yes()).encode("utf-8", "surrogatepass")

    def _name(self, names: Sequence[str]) -> str:
        return self.text() if self.up_to(9) == 0 else self.one_of(names)
