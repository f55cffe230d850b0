"""What a plan will cost, before anything is paid.

What limits somebody is not measured by what he says himself: a price in a request can only raise what counts. Where
neither the operator nor the vendor's list has a price, it is all that there is: `budgets` decides whose may be taken.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

from raypipe.models import Kind, Spec
from raypipe.prices import Amount, Price, Prices
from raypipe.providers.base import ImageWork, Model, Work
from raypipe.providers.inputs import music_seconds, paid_seconds
from raypipe.providers.registry import model_of
from raypipe.text import dollars


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
    return None if price is None else price.of(amount, _inputs_of(model, amount, price))


def unpriced_inputs(model: Model, prices: Prices) -> list[str]:
    """Name the inputs that a request sets of a model and of which its price does not say what they do to it."""
    price = price_in(model, prices)
    return [] if price is None else price.unpriced(_inputs_of(model, Amount(), price))


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
    """Return the inputs that a request sets, with their values; the length is none of them where it is what is paid."""
    lengths = {name for name, word in model.filled.items() if word in ("seconds", "seconds_text")}
    filled = {name: word for name, word in model.filled.items() if name not in lengths}
    length = {} if price.per == "second" else dict.fromkeys(lengths, amount.seconds)
    return {**filled, **length, **model.inputs}


def _amount_of(work: Work, model: Model) -> Amount:
    if isinstance(work, ImageWork):
        return Amount.of_image(work.job.size)
    return Amount(seconds=paid_seconds(work, model))


def total(amounts: Iterable[float]) -> float:
    """Add amounts of money, without what floating point adds to them."""
    return round(sum(amounts), 9)
