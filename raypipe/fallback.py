"""A step's models in turn: the first that delivers makes it, and what the others have said is journalled."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from raypipe.costs import price_of
from raypipe.errors import (
    InternalError,
    OutcomeUnknown,
    OutOfFunds,
    ProviderError,
    ProviderRejected,
    TookTooLong,
)
from raypipe.models import Artifact
from raypipe.prices import Prices
from raypipe.providers.base import Work
from raypipe.step_log import StepLog

#: has a model of that name do the work
Provide = Callable[[str], Awaitable[Artifact]]


class _Unpaid(NamedTuple):
    """A model that had no funds, and what it said."""

    model: str
    error: OutOfFunds


async def in_turn(log: StepLog, work: Work, provide: Provide, prices: Prices) -> Artifact:
    """Have the job's models do a piece of work, in turn until one has; from the one on that the step's row names.

    Args:
        log: The step.
        work: What to make.
        provide: Has one of the models do it.
        prices: The operator's.

    Raises:
        OutOfFunds: None has, and one had no funds: the step goes on with that one.
        ProviderError: What the last one said, or one whose job may still deliver.
    """
    models, unpaid = await _left(log, work)
    while models:
        model, *models = models
        if log.record.model is None:
            planned = log.record.estimated_cost
            log.note_model(model, _price(work, model, prices) if planned is None else planned)
        try:
            return await provide(model)
        except ProviderError as error:
            if isinstance(error, OutOfFunds) and unpaid is None:
                unpaid = _Unpaid(model, error)
            following = models[0] if models else unpaid.model if unpaid else model
            if following == model or _may_deliver(log, error):
                raise
            await log.fell_back(following, _price(work, following, prices), error)
            if not models and unpaid is not None:
                raise unpaid.error from error
    raise InternalError(f"{work.step} names no model")


async def _left(log: StepLog, work: Work) -> tuple[list[str], _Unpaid | None]:
    """Return the models that a step may ask, in order, and the first before them that had no funds.

    Those before the one that the row names were asked. One that failed at a job is not asked twice: it may be paid.
    """
    models, own = list(work.job.models[work.kind]), log.record.model
    if own is None or models == [own] or log.record.attempt == 0:
        return models, None
    said = await log.fallbacks()
    # what an older raypipe has journalled has no code, and does not say whether there was a job
    no_funds = {each for each, data in said.items() if data.get("code") == OutOfFunds.code}
    had_job = {each for each, data in said.items() if data.get("had_job", True)}
    at = models.index(own) if own in models else -1
    broke = [each for each in models[: max(at, 0)] if each in no_funds]
    later = [each for each in models[at + 1 :] if each not in had_job]
    return [own, *later], _Unpaid(broke[0], OutOfFunds(said[broke[0]]["reason"])) if broke else None


def _may_deliver(log: StepLog, error: ProviderError) -> bool:
    """Tell whether a model may still deliver: a job that is there is only given up for what is wrong with itself."""
    its_own = isinstance(error, ProviderRejected | TookTooLong)
    return isinstance(error, OutcomeUnknown) or (log.record.provider_job_id is not None and not its_own)


def _price(work: Work, model: str, prices: Prices) -> float | None:
    return price_of(work.model_copy(update={"model": model}), prices)
