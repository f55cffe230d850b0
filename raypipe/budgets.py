"""Whether a plan may be made for its money: whose prices count, and that it is estimated within all budgets."""

from collections.abc import Iterator
from typing import NamedTuple

from raypipe.config import Settings
from raypipe.costs import amounts_of, cost_of, estimate, listed_cost, unmeasured_unit, unpriced_inputs
from raypipe.errors import OverBudget, PriceRefused
from raypipe.journal import LOCAL_TENANT, ApiKey
from raypipe.models import Kind, Spec
from raypipe.prices import Prices
from raypipe.providers.base import Model
from raypipe.providers.registry import models_of
from raypipe.text import dollars


class Customer(NamedTuple):
    """Who has a video made; by default whoever runs raypipe, on the command line."""

    tenant: str = LOCAL_TENANT
    #: what the request was sent under
    key: ApiKey | None = None
    #: whether the price that a request brings is taken for a model whose price is not known
    sets_prices: bool = True

    @property
    def daily_budget(self) -> float | None:
        """US dollars that the customer's key allows a day; None: any."""
        return None if self.key is None else self.key.daily_budget


def check_money(spec: Spec, settings: Settings, customer: Customer) -> None:
    """Check that a plan's prices are whose they should be, and that it costs no more than it may.

    Raises:
        PriceRefused: The request says what a model costs, and that is not the customer's to say.
        OverBudget: It is estimated at more than a budget, or there is a budget and a model's price is not known.
    """
    if not customer.sets_prices:
        _check_prices(spec, settings.prices)
    budgets = {
        "its budget is": spec.budget,
        "a day's budget is": settings.daily_budget,
        "a day's budget of its key is": customer.daily_budget,
    }
    given = {whose: budget for whose, budget in budgets.items() if budget is not None}
    if not given:
        return
    _check_known(spec, settings.prices, customer)
    expected = estimate(spec, settings.prices)
    for whose, budget in given.items():
        if expected.total > budget:
            raise OverBudget(f"The video is estimated at {expected}, and {whose} {dollars(budget)}.")


def _check_prices(spec: Spec, prices: Prices) -> None:
    """Check that a request brings no price where none is known: it would be the measure of its own limits."""
    for kind, model in _models(spec):
        if model.requested_price is None:
            continue
        if any(listed_cost(model, amount, prices) is None for amount in amounts_of(spec, kind, model)):
            raise PriceRefused(
                f'"price" in the options of {model.name!r}: {_why_unknown(spec, kind, model, prices)}, and it is not '
                "the request's to say; leave it out. Who runs the service can say it with RAYPIPE_PRICES, or let "
                "requests say it with RAYPIPE_TRUST_PRICES."
            )


def _check_known(spec: Spec, prices: Prices, customer: Customer) -> None:
    """Check that the price of every model is known that may be asked."""
    for kind, model in _models(spec):
        if any(cost_of(model, amount, prices) is None for amount in amounts_of(spec, kind, model)):
            how = '"price" in its options or ' if customer.sets_prices else ""
            raise OverBudget(
                f"There is a budget, and {_why_unknown(spec, kind, model, prices)}: say so with {how}RAYPIPE_PRICES."
            )


def _models(spec: Spec) -> Iterator[tuple[Kind, Model]]:
    return ((kind, model) for kind in Kind for model in models_of(spec, kind))


def _why_unknown(spec: Spec, kind: Kind, model: Model, prices: Prices) -> str:
    inputs = unpriced_inputs(spec, kind, model, prices)
    said = f" with {', '.join(map(repr, inputs))} among its inputs" if inputs else ""
    unit = unmeasured_unit(model, prices)
    asked = (
        f", as it is paid by the {unit} and no field is filled that its price says is 'paid'" if unit else ""
    )
    return f"what {model.name!r} costs{said} is not known{asked}"
