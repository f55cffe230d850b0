"""Money as rows: what is reserved before it is spent, so that no race spends more than a budget."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, case, func, select, true, update

from raypipe.errors import BudgetReached, DailyBudgetReached, KeyBudgetReached, LeaseLost, OverBudget
from raypipe.journal import tables
from raypipe.journal.records import StepRecord, VideoRecord
from raypipe.models import StepState, VideoState
from raypipe.text import dollars

DAY = 86_400
#: US dollars by which sums may differ that are equal: money is added up in floating point
ROUNDING = 1e-9

_videos, _steps, _keys = tables.videos, tables.steps, tables.api_keys

#: whether money is reserved for a step that is not sent
UNSENT = (_steps.c.state == StepState.INTENT) & _steps.c.reserved_cost.is_not(None)


class DailyBudget(NamedTuple):
    """US dollars that may be spent a day, which begins at midnight UTC."""

    usd: float
    #: the tenant whose videos count; None: all that there are
    tenant: str | None = None
    #: name of the key that allows it
    key: str | None = None

    def __str__(self) -> str:
        if self.key is None:
            return f"{dollars(self.usd)} that may be spent a day (RAYPIPE_DAILY_BUDGET)"
        return f"{dollars(self.usd)} that the key {self.key!r} allows its tenant a day"


def check_daily(video: VideoRecord, budgets: Sequence[DailyBudget]) -> Callable[[Connection], None]:
    """Return a check that what a new video is estimated to cost is left of the budgets of the day.

    Raises:
        OverBudget: It is not.
    """

    def check(connection: Connection) -> None:
        expected = video.estimated_cost or 0.0
        for budget in budgets:
            left = budget.usd - _lock_and_sum_today(connection, budget.tenant, None)
            if expected > left + ROUNDING:
                raise OverBudget(
                    f"The video is estimated at {dollars(expected)}, and {dollars(max(0.0, left))} is left of the "
                    f"{budget}."
                )

    return check


def reserve(
    step: StepRecord, price: float, daily: float | None, epoch: int, is_known: bool
) -> Callable[[Connection], None]:
    """Return a transaction that reserves a step's price, if the video's budget, as it is now, and the day's allow it.

    Args:
        step: Which.
        price: US dollars.
        daily: What may be spent a day; None for any sum.
        epoch: Of the video, under which the step is made.
        is_known: Whether that is all that it may cost.

    Raises:
        BudgetReached: One of them does not, or there is one and the price is not known; DailyBudgetReached if it is the
            day's, KeyBudgetReached if it is what the key allows a day.
        LeaseLost: That epoch of the video is over.
    """

    def run(connection: Connection) -> None:
        video = _payer(connection, step.video_id)
        if video is not None and video.epoch > epoch:
            raise LeaseLost(step.video_id)
        budgets = [] if daily is None else [DailyBudget(daily)]
        if video is not None and video.daily_budget is not None:
            budgets.append(DailyBudget(video.daily_budget, video.tenant, video.api_key))
        own_budget = None if video is None else video.budget
        if not is_known and (budgets or own_budget is not None):
            raise BudgetReached(f"there is a budget, and what {step.model} costs is not known")
        if own_budget is not None:
            _check_own(connection, step, price, own_budget)
        for budget in budgets:
            _check_day(connection, step, price, budget)
        reserved = {"reserved_cost": price, "doubtful_cost": step.doubtful_cost}
        connection.execute(update(_steps).where(_is(step)).values(**reserved))

    return run


def sum_costs(video_id: str) -> Callable[[Connection], None]:
    """Return a transaction that makes the cost of an ended video, and of its phases, the sum of its steps' costs.

    What is reserved for steps that were never sent is free again.
    """
    phases = tables.phases
    cost = select(func.coalesce(func.sum(_steps.c.cost), 0.0)).where(_steps.c.video_id == video_id)
    of_phase = cost.where(_steps.c.phase == phases.c.phase).scalar_subquery()

    def run(connection: Connection) -> None:
        unsent = update(_steps).where(_steps.c.video_id == video_id, UNSENT).values(reserved_cost=None)
        connection.execute(unsent)
        sums = cost.scalar_subquery()
        connection.execute(
            update(_videos).where(_videos.c.id == video_id, _videos.c.cost != sums).values(cost=sums)
        )
        stale = phases.c.video_id == video_id, phases.c.cost != of_phase
        connection.execute(update(phases).where(*stale).values(cost=of_phase))

    return run


def _payer(connection: Connection, video_id: str) -> Any:
    """Read a video's epoch, budget and tenant, and name and daily budget of the key that it is made under."""
    budget = _videos.c.spec["budget"].as_float().label("budget")
    columns = _videos.c.epoch, budget, _videos.c.api_key, _videos.c.tenant, _keys.c.daily_budget
    with_key = _videos.outerjoin(_keys, _keys.c.name == _videos.c.api_key)
    query = select(*columns).select_from(with_key).where(_videos.c.id == video_id)
    return connection.execute(query).one_or_none()


def _check_own(connection: Connection, step: StepRecord, price: float, budget: float) -> None:
    spent = _sum_others(connection, step) + step.cost + step.doubtful_cost
    if spent + price > budget + ROUNDING:
        raise BudgetReached(
            f"{dollars(price)} more would be {dollars(spent + price)}, and the video's budget is {dollars(budget)}"
        )


def _check_day(connection: Connection, step: StepRecord, price: float, budget: DailyBudget) -> None:
    others = _lock_and_sum_today(connection, budget.tenant, step.video_id)
    today = others + _sum_others(connection, step, _is_todays()) + step.cost + step.doubtful_cost
    if today + price > budget.usd + ROUNDING:
        reached = DailyBudgetReached if budget.key is None else KeyBudgetReached
        raise reached(f"{dollars(price)} more would be over the {budget}")


def _is(step: StepRecord) -> ColumnElement[bool]:
    """Select a step's row."""
    its_video = _steps.c.video_id == step.video_id
    return its_video & (_steps.c.step == step.step) & (_steps.c.take == step.take)


def _sum_others(connection: Connection, step: StepRecord, which: ColumnElement[bool] | None = None) -> float:
    """Sum what the other steps of a step's video have cost, may have and have reserved."""
    others = _steps.c.video_id == step.video_id, ~_is(step), true() if which is None else which
    return float(connection.execute(select(_committed()).where(*others)).scalar_one())


def _committed() -> ColumnElement[Any]:
    """What steps have cost and may have cost, and what is reserved for them."""
    reserved = func.coalesce(_steps.c.reserved_cost, 0.0)
    return func.coalesce(func.sum(_steps.c.cost + _steps.c.doubtful_cost + reserved), 0.0)


def _lock_and_sum_today(connection: Connection, tenant: str | None, except_video: str | None) -> float:
    """Sum what was spent today and what videos under way may still cost, with nobody else summing meanwhile.

    Of all videos, or of a tenant's.
    """
    connection.execute(select(tables.installation.c.id).with_for_update())
    return sum(_parts_of_today(connection, tenant, except_video))


def _parts_of_today(connection: Connection, tenant: str | None, except_video: str | None) -> Iterator[float]:
    deleted = tables.deleted_costs.c
    theirs, gone = true() if tenant is None else _videos.c.tenant == tenant, deleted.day == time.time() // DAY
    others = theirs, _videos.c.id != (except_video or "")
    joined = _steps.join(_videos, _videos.c.id == _steps.c.video_id)
    yield connection.execute(
        select(_committed()).select_from(joined).where(_is_todays(), *others)
    ).scalar_one()
    so_far = select(_committed()).where(_steps.c.video_id == _videos.c.id).scalar_subquery()
    left = func.coalesce(_videos.c.estimated_cost, 0.0) - so_far
    open_ended = select(func.coalesce(func.sum(case((left > 0, left), else_=0.0)), 0.0))
    under_way = _videos.c.state.in_([VideoState.QUEUED, VideoState.RUNNING])
    yield connection.execute(open_ended.where(under_way, *others)).scalar_one()
    their_deleted = true() if tenant is None else deleted.tenant == tenant
    costs = select(func.coalesce(func.sum(deleted.cost), 0.0))
    yield connection.execute(costs.where(gone, their_deleted)).scalar_one()


def _is_todays() -> ColumnElement[bool]:
    """Whether a step was sent today; one whose price is reserved and that is not sent yet is today's."""
    return func.coalesce(_steps.c.sent_at, time.time()) >= _midnight()


def _midnight() -> float:
    return time.time() // DAY * DAY
