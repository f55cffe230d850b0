"""Prices: what a run of a model costs by a list, and what the inputs that a request sets do to that."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, model_validator

from raypipe.models import Size, Value

#: what one of a model's inputs does to the price of a run: nothing, multiplies it by its number, or by a factor for
#: each value that it may have; or it is the length, or the size, that is paid
Effect = Literal["none", "times", "paid"] | dict[str, Annotated[float, Field(ge=0, allow_inf_nan=False)]]
#: stands for all inputs that a price does not name
ANY_INPUT = "*"
#: pixels of a megapixel, as vendors count them: 1024 x 1024
MEGAPIXEL = 2**20


class Amount(NamedTuple):
    """What a run delivers, as far as it is paid for; None where it has none of that."""

    seconds: float | None = None
    megapixels: int | None = None

    @classmethod
    def of_image(cls, size: Size) -> "Amount":
        """Return what an image is paid for: megapixels that have begun."""
        return cls(megapixels=math.ceil(size.width * size.height / MEGAPIXEL))


class Price(Value):
    """What a model costs, in US dollars."""

    usd: float = Field(ge=0, allow_inf_nan=False)
    #: what is paid: each run, or each second or megapixel that is delivered
    per: Literal["run", "second", "megapixel"] = "run"
    #: the day the vendor said so, as 2026-11-24
    as_of: str = ""
    #: what inputs that a request sets do to it; what others do is not known
    inputs: dict[str, Effect] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check_paid(self) -> "Price":
        if self.paid and (self.per == "run" or ANY_INPUT in self.paid):
            raise ValueError(
                f"inputs.{self.paid[0]}: 'paid' is said of the length of a price per second, or the size of one per "
                "megapixel, by the input's own name"
            )
        return self

    @property
    def paid(self) -> tuple[str, ...]:
        """Names of the inputs that are what is paid: the length, or the size."""
        return tuple(name for name, effect in self.inputs.items() if effect == "paid")

    def of(self, amount: Amount, inputs: Mapping[str, Any]) -> float | None:
        """Return what a run costs with the inputs that a request sets; None if the price does not say.

        Args:
            amount: What the run delivers.
            inputs: The inputs with their values; None for one that is not known before the run.
        """
        return None if self.unpriced(inputs) else self.at_least(amount, inputs)

    def at_least(self, amount: Amount, inputs: Mapping[str, Any]) -> float | None:
        """Return what a run costs if inputs of which the price says nothing leave it alone.

        None if the run delivers nothing that is paid by this price.
        """
        units = {"run": 1.0, "second": amount.seconds, "megapixel": amount.megapixels}[self.per]
        known = (self._factor(name, value) for name, value in inputs.items())
        return None if units is None else self.usd * units * math.prod(f for f in known if f is not None)

    def unpriced(self, inputs: Mapping[str, Any]) -> list[str]:
        """Name the inputs of which the price does not say what they do to it."""
        return [name for name, value in inputs.items() if self._factor(name, value) is None]

    def _factor(self, name: str, value: Any) -> float | None:
        effect = self.inputs.get(name, self.inputs.get(ANY_INPUT))
        if isinstance(effect, dict):
            known = {each.lower(): factor for each, factor in effect.items()}
            return None if value is None else known.get(_text(value))
        # what is paid is counted by the amount, and is an input where the request sets it otherwise
        return {None: None, "paid": None, "none": 1.0, "times": _number(value)}[effect]

    def __str__(self) -> str:
        unit = {"second": "s", "megapixel": "MP"}.get(self.per, self.per)
        return "free" if self.usd == 0 else f"${self.usd:g}/{unit}"


#: prices of the operator's, by the full names of models
Prices = Mapping[str, Price]
NO_PRICES: Prices = MappingProxyType({})


def _text(value: Any) -> str:
    """Write a value as it stands in a price: 10 for 10.0, true for True."""
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _number(value: Any) -> float | None:
    """Read a number that a price is multiplied by: it may raise it alone."""
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return max(1.0, number) if math.isfinite(number) else None
