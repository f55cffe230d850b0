"""What a plan will cost, before anything is paid."""

from collections.abc import Iterable
from typing import NamedTuple

from raypipe.models import Kind, Spec
from raypipe.providers.base import Model, Work
from raypipe.providers.inputs import paid_seconds
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


def estimate(spec: Spec) -> Estimate:
    """Return what the steps of a plan cost if the first model of each list does them."""
    image, clip, music = (model_of(kind, spec.models[kind][0], spec.options) for kind in Kind)
    steps = {
        f"image/{each.beat_index}": _price(image, 0.0) for each in spec.beats if each.reference_image is None
    }
    for beat in spec.beats:
        steps[f"chunk/{beat.beat_index}"] = _price(clip, clip.seconds_for(beat.duration))
    return Estimate({**steps, "music": _price(music, spec.frames / spec.fps)})


def _price(model: Model, seconds: float) -> float | None:
    return None if model.price is None else model.price.of(seconds)


def price_of(work: Work) -> float | None:
    """Return what work costs by its model's price, in US dollars; None if that is not known."""
    model = model_of(Kind(work.kind), work.model, work.job.options)
    return _price(model, paid_seconds(work, model))


def total(amounts: Iterable[float]) -> float:
    """Add amounts of money, without what floating point adds to them."""
    return round(sum(amounts), 9)
