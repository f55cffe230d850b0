"""Money as rows: what is reserved before it is spent, so that no race spends more than a budget."""

import time
from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, func, select, update

from raypipe.errors import BudgetReached, DailyBudgetReached, LeaseLost, OverBudget
from raypipe.journal import tables
from raypipe.journal.records import StepRecord, VideoRecord
from raypipe.models import VideoState
from raypipe.text import dollars

DAY = 86_400
#: US dollars by which sums may differ that are equal: money is added up in floating point
ROUNDING = 1e-9

_videos, _steps = tables.videos, tables.steps


def check_daily(video: VideoRecord, budget: float) -> Callable[[Connection], None]:
    """Return a check that what a new video is estimated to cost is left of the day's budget.

    Raises:
        OverBudget: It is not. Days begin at midnight UTC.
    """

    def check(connection: Connection) -> None:
        left = budget - _lock_and_sum_today(connection, None)
        expected = video.estimated_cost or 0.0
        if expected > left + ROUNDING:
            raise OverBudget(
                f"The video is estimated at {dollars(expected)}, and {dollars(max(0.0, left))} is left of the "
                f"{dollars(budget)} that may be spent a day (RAYPIPE_DAILY_BUDGET)."
            )

    return check


def reserve(step: StepRecord, price: float, daily: float | None, epoch: int) -> Callable[[Connection], None]:
    """Return a transaction that reserves a step's price, if the video's budget, as it is now, and the day's allow it.

    Raises:
        BudgetReached: One of them does not; DailyBudgetReached if it is the day's.
        LeaseLost: That epoch of the video is over.
    """
    budget_now = _videos.c.spec["budget"].as_float().label("budget")
    as_it_is = select(_videos.c.epoch, budget_now).where(_videos.c.id == step.video_id)
    own = step.cost + step.doubtful_cost
    mine = (_steps.c.video_id == step.video_id) & (_steps.c.step == step.step) & (_steps.c.take == step.take)

    def run(connection: Connection) -> None:
        video = connection.execute(as_it_is).one_or_none()
        if video is not None and video.epoch > epoch:
            raise LeaseLost(step.video_id)
        budget = None if video is None else video.budget
        spent = connection.execute(
            select(_committed()).where(_steps.c.video_id == step.video_id, ~mine)
        ).scalar_one()
        spent += own
        if budget is not None and spent + price > budget + ROUNDING:
            raise BudgetReached(
                f"{dollars(price)} more would be {dollars(spent + price)}, and the video's budget is {dollars(budget)}"
            )
        if daily is not None:
            others = _lock_and_sum_today(connection, step.video_id)
            today = connection.execute(
                select(_committed()).where(_steps.c.video_id == step.video_id, ~mine, _is_todays())
            ).scalar_one()
            if others + today + own + price > daily + ROUNDING:
                raise DailyBudgetReached(
                    f"{dollars(price)} more would be over the {dollars(daily)} that may be spent a day "
                    "(RAYPIPE_DAILY_BUDGET)"
                )
        connection.execute(
            update(_steps).where(mine).values(reserved_cost=price, doubtful_cost=step.doubtful_cost)
        )

    return run


def sum_costs(video_id: str) -> Callable[[Connection], None]:
    """Return a transaction that makes the cost of a video, and of its phases, the sum of what its steps have cost."""
    phases = tables.phases
    cost = select(func.coalesce(func.sum(_steps.c.cost), 0.0)).where(_steps.c.video_id == video_id)
    of_phase = cost.where(_steps.c.phase == phases.c.phase).scalar_subquery()

    def run(connection: Connection) -> None:
        connection.execute(
            update(_videos).where(_videos.c.id == video_id).values(cost=cost.scalar_subquery())
        )
        connection.execute(update(phases).where(phases.c.video_id == video_id).values(cost=of_phase))

    return run


def _committed() -> ColumnElement[Any]:
    """What steps have cost and may have cost, and what is reserved for them."""
    reserved = func.coalesce(_steps.c.reserved_cost, 0.0)
    return func.coalesce(func.sum(_steps.c.cost + _steps.c.doubtful_cost + reserved), 0.0)


def _lock_and_sum_today(connection: Connection, except_video: str | None) -> float:
    """Sum what was spent today and what videos under way may still cost, with nobody else summing meanwhile."""
    connection.execute(select(tables.installation.c.id).with_for_update())
    others = _videos.c.id != (except_video or "")
    spent = connection.execute(
        select(_committed()).where(_is_todays(), _steps.c.video_id != (except_video or ""))
    ).scalar_one()
    so_far = select(_committed()).where(_steps.c.video_id == _videos.c.id).scalar_subquery()
    left = func.coalesce(_videos.c.estimated_cost, 0.0) - so_far
    under_way = _videos.c.state.in_([VideoState.QUEUED, VideoState.RUNNING])
    open_ended = connection.execute(
        select(func.coalesce(func.sum(case((left > 0, left), else_=0.0)), 0.0)).where(under_way, others)
    ).scalar_one()
    deleted = tables.deleted_costs.c
    gone = select(func.coalesce(func.sum(deleted.cost), 0.0)).where(deleted.day == int(time.time() // DAY))
    return float(spent) + float(open_ended) + float(connection.execute(gone).scalar_one())


def _is_todays() -> ColumnElement[bool]:
    """Whether a step was sent today; one whose price is reserved and that is not sent yet is today's."""
    return func.coalesce(_steps.c.sent_at, time.time()) >= _midnight()


def _midnight() -> float:
    return time.time() // DAY * DAY
