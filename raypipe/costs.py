"""What a plan will cost, before anything is paid.

What limits somebody is not measured by what he says himself: a price in a request can only raise what counts. Where
neither the operator nor the vendor's list has a price, it is all that there is: `budgets` decides whose may be taken.
"""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from raypipe.models import Kind, Spec
from raypipe.prices import Amount, Price, Prices
from raypipe.providers.base import ImageWork, Model, Work
from raypipe.providers.inputs import music_seconds, paid_seconds
from raypipe.providers.registry import model_of
from raypipe.text import dollars

#: words with which a described model's field can be filled, at no other price, whatever its name: pictures are neither
#: numbers nor words such as "1080p"
_PICTURES: tuple[str, ...] = ("start_image", "reference", "references")
#: others, each with the only names of fields that are surely what it says: a beat's prompt may be "4", or "1080p"
_HARMLESS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "prompt": ("prompt", "text", "text_prompt", "prompt_text", "input_text", "caption", "description"),
        "seed": ("seed",),
        "aspect_ratio": ("aspect_ratio",),
    }
)
_LENGTHS: tuple[str, ...] = ("seconds", "seconds_text")
#: by what a price is paid, the words, by the alphabet, that the fields must be filled with that it says are paid
_MEASURES: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "run": ((),),
        "second": (("seconds",), ("seconds_text",)),
        "megapixel": (("size",), ("height", "width")),
    }
)


class Estimate(NamedTuple):
    """US dollars by step; None where the model's price is not known."""

    steps: dict[str, float | None]

    @property
    def total(self) -> float:
        """The sum of what is known."""
        return total(price or 0.0 for price in self.steps.values())

    @property
    def unknown(self) -> list[str]:
        """Names of the steps whose price is not known."""
        return [step for step, price in self.steps.items() if price is None]

    def __str__(self) -> str:
        kinds = {"image": "images", "chunk": "clips", "music": "music"}
        sums = dict.fromkeys(kinds, 0.0)
        for step, price in self.steps.items():
            sums[step.partition("/")[0]] += price or 0.0
        parts = ", ".join(f"{kinds[kind]} {dollars(cost)}" for kind, cost in sums.items() if cost)
        return f"{dollars(self.total)} ({parts})" if parts else dollars(self.total)


def estimate(spec: Spec, prices: Prices) -> Estimate:
    """Return what the steps of a plan cost if the first model of each list does them.

    Args:
        spec: The plan.
        prices: The operator's.
    """
    image, clips, music = (_costs(spec, kind, prices) for kind in Kind)
    steps = {f"image/{beat.beat_index}": image[0] for beat in spec.beats if beat.reference_image is None}
    steps |= {f"chunk/{beat.beat_index}": cost for beat, cost in zip(spec.beats, clips, strict=True)}
    return Estimate({**steps, "music": music[0]})


def _costs(spec: Spec, kind: Kind, prices: Prices) -> list[float | None]:
    model = model_of(kind, spec.models[kind][0], spec.options)
    return [cost_of(model, amount, prices) for amount in amounts_of(spec, kind, model)]


def amounts_of(spec: Spec, kind: Kind, model: Model) -> list[Amount]:
    """Return what a model is paid for in a plan: of an image, of the clip of each beat, or of the track."""
    if kind is Kind.IMAGE:
        return [Amount.of_image(spec.size)]
    if kind is Kind.MUSIC:
        return [Amount(seconds=music_seconds(spec.frames / spec.fps, model))]
    return [Amount(seconds=model.seconds_for(beat.duration)) for beat in spec.beats]


class Charge(NamedTuple):
    """What work costs."""

    #: US dollars, as far as they are known
    usd: float
    #: whether that is all
    is_known: bool


def charge_of(work: Work, prices: Prices) -> Charge:
    """Return what work costs, and whether that is all that it may cost."""
    model = model_of(Kind(work.kind), work.model, work.job.options)
    amount = _amount_of(work, model)
    return Charge(_least_cost(model, amount, prices), cost_of(model, amount, prices) is not None)


def price_of(work: Work, prices: Prices) -> float | None:
    """Return what work costs, in US dollars; None if that is not known."""
    charge = charge_of(work, prices)
    return charge.usd if charge.is_known else None


def cost_of(model: Model, amount: Amount, prices: Prices) -> float | None:
    """Return what a run of a model costs, in US dollars: what the request says of it can only raise that.

    None if neither the operator, nor the vendor's list, nor the request says it.
    """
    if model.requested_price is None:
        return listed_cost(model, amount, prices)
    return _least_cost(model, amount, prices)


def listed_cost(model: Model, amount: Amount, prices: Prices) -> float | None:
    """Return what a run of a model costs by the operator's price or else the vendor's list; None if they do not say."""
    price = price_in(model, prices)
    if price is None or not _is_measured(model, price):
        return None
    return price.of(amount, _inputs_of(model, amount, price))


def unpriced_inputs(spec: Spec, kind: Kind, model: Model, prices: Prices) -> list[str]:
    """Name the inputs that a request sets of a model and of which its price does not say what they do to it."""
    price = price_in(model, prices)
    if price is None:
        return []
    runs = (_inputs_of(model, amount, price) for amount in amounts_of(spec, kind, model))
    return list(dict.fromkeys(name for inputs in runs for name in price.unpriced(inputs)))


def unmeasured_unit(model: Model, prices: Prices) -> str | None:
    """Name what a model is paid by where it makes as much of that as it likes; None where it is asked for an amount."""
    price = price_in(model, prices)
    return None if price is None or _is_measured(model, price) else price.per


def price_in(model: Model, prices: Prices) -> Price | None:
    """Return a model's price: the operator's, or else the vendor's; what inputs do, both say, the operator first."""
    listed, operators = model.price, prices.get(model.name)
    if listed is None or operators is None:
        return operators or listed
    return operators.model_copy(update={"inputs": {**listed.inputs, **operators.inputs}})


def _least_cost(model: Model, amount: Amount, prices: Prices) -> float:
    price = price_in(model, prices)
    listed = None if price is None else price.at_least(amount, _inputs_of(model, amount, price))
    return max(listed or 0.0, model.requested_price or 0.0)


def _inputs_of(model: Model, amount: Amount, price: Price) -> dict[str, Any]:
    """Return the inputs of a request that may change a price, with their values; None where one is not known here.

    What is paid is none of them where it is filled with its measure: the amount has it.
    """
    values = dict.fromkeys(_LENGTHS, amount.seconds)
    paid = price.paid if model.is_described and _is_measured(model, price) else ()
    filled = {
        field: values.get(word)
        for field, word in model.filled.items()
        if field not in paid and not _is_harmless(model, field, word, price)
    }
    return {**filled, **model.inputs}


def _is_measured(model: Model, price: Price) -> bool:
    """Tell whether a model is asked for the length, or the size, that is paid.

    What a request describes it asks for nothing else; and only the operator knows which field is the length: vendors
    leave fields alone that they do not know, and then make as much as they like.
    """
    words = tuple(sorted(model.filled.get(field, "") for field in price.paid))
    return not model.is_described or words in _MEASURES[price.per]


def _is_harmless(model: Model, field: str, word: str, price: Price) -> bool:
    """Tell whether a field that a request has filled costs nothing: where there is a table, its own are all."""
    if not model.is_described or field in price.inputs:
        return False
    return word in _PICTURES or field in _HARMLESS.get(word, ())


def _amount_of(work: Work, model: Model) -> Amount:
    if isinstance(work, ImageWork):
        return Amount.of_image(work.job.size)
    return Amount(seconds=paid_seconds(work, model))


def total(amounts: Iterable[float]) -> float:
    """Add amounts of money, without what floating point adds to them."""
    return round(sum(amounts), 9)
