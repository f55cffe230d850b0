"""What users do to a video that nobody makes: go on, try again, approve, change a beat, cancel.

Each function runs in a transaction, checks that the video stands so, and gives it to who goes on with it.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    case,
    delete,
    func,
    not_,
    null,
    or_,
    select,
    tuple_,
    update,
)

from raypipe.errors import (
    APPROVAL,
    PAUSING,
    UPSTREAM_FAILED,
    BudgetReached,
    Cancelled,
    ContentRefused,
    DeliveryExpired,
    InvalidRequest,
    MediaError,
    OutcomeUnknown,
    OverBudget,
    ProviderRejected,
    TookTooLong,
    VideoBusy,
    VideoNotFound,
    VideoOver,
)
from raypipe.journal import tables
from raypipe.journal.leases import SERVICE, Owner, hand_over, living, renew
from raypipe.journal.money import ROUNDING
from raypipe.journal.records import UNDER_WAY, StepRecord
from raypipe.models import Phase, Spec, StepState, VideoState
from raypipe.text import dollars

#: what is said of a cancelled video
CANCELLED = "cancelled; what was finished is kept"

#: codes of failures after which what a provider made is of no use, or is not there
_NOTHING_TO_FETCH = [
    each.code
    for each in (ProviderRejected, ContentRefused, MediaError, DeliveryExpired, TookTooLong, Cancelled)
]
#: phases that a beat is made in
_OF_BEATS = [Phase.STORYBOARD, Phase.REFERENCES, Phase.CHUNKS, Phase.STITCH]
_NO_OUTCOME = {"result": None, "error_code": None, "error_message": None, "finished_at": None}
_videos, _coordinators, _steps = tables.videos, tables.coordinators, tables.steps


def resume(connection: Connection, owner: Owner, video_id: str) -> None:
    """Take one video that is not over, whoever's kind it was, and make it the owner's kind.

    Raises:
        VideoNotFound: There is no such video.
        VideoOver: It has ended.
        VideoBusy: A coordinator that lives has it.
    """
    state = _state_if_free(connection, owner, video_id)
    if state.terminal:
        raise VideoOver(f"Video {video_id} is {state}: there is nothing to go on with.")
    _go_on_from(connection, video_id, PAUSING)
    if state is VideoState.WAITING and _code_of(connection, video_id) == BudgetReached.code:
        _check_own_room(connection, video_id)
    _take_one(connection, owner, video_id)


def _go_on_from(connection: Connection, video_id: str, codes: Iterable[str]) -> None:
    """Have steps that failed for reasons that made the video wait, and what depends on them, go on where they were."""
    such = _steps.c.error_code.in_([*codes, UPSTREAM_FAILED])
    there = case((_steps.c.provider_job_id.is_not(None), StepState.ACCEPTED), else_=StepState.INTENT)
    again = {"state": there, "starts": 0, "started_at": None, **_NO_OUTCOME}
    waited = and_(_in_use(connection, video_id), _steps.c.state == StepState.FAILED, such)
    connection.execute(update(_steps).where(waited).values(**again))


def _in_use(connection: Connection, video_id: str) -> ColumnElement[bool]:
    """Select a video's steps at the takes that its spec has; others are left as they are."""
    takes: dict[str, int] = _spec_of(connection, video_id).get("takes", {})
    later = [and_(_steps.c.step == step, _steps.c.take == take) for step, take in takes.items()]
    first = and_(_steps.c.step.not_in(list(takes)), _steps.c.take == 1)
    return and_(_steps.c.video_id == video_id, or_(first, *later))


def retry(connection: Connection, owner: Owner | None, video_id: str, resubmit: bool) -> None:
    """Take one video that ended as failed, partial or cancelled, with its failed steps as if they had not been tried.

    A step whose outcome nobody knew stays failed, unless `resubmit` says to send it again; then its row says that it
    may be paid twice. With `resubmit` a video that was stopped is taken too, and what was not answered sent again.

    Raises:
        VideoNotFound: There is no such video.
        VideoOver: It has not ended so, or has no failed step that may be tried again.
        VideoBusy: A coordinator that lives has it.
    """
    found = _state_if_free(connection, owner, video_id)
    if found not in (VideoState.FAILED, VideoState.PARTIAL, VideoState.CANCELLED) and (
        found.terminal or not resubmit
    ):
        how = "; it waits, and can be continued" if found is VideoState.WAITING else ""
        raise VideoOver(f"Video {video_id} is {found}: it has no failed steps to retry{how}.")
    unanswered = _steps.c.state.in_([StepState.SENT, StepState.UNKNOWN] if resubmit else [])
    failed = and_(_in_use(connection, video_id), or_(_steps.c.state == StepState.FAILED, unanswered))
    some_failed = connection.execute(select(func.count()).select_from(_steps).where(failed)).scalar()
    if resubmit:
        unknown = update(_steps).where(failed, or_(unanswered, _OUTCOME_UNKNOWN))
        connection.execute(unknown.values(possible_duplicate=True))
    if (
        not _try_anew(connection, failed if resubmit else and_(failed, not_(_OUTCOME_UNKNOWN)))
        and some_failed
    ):
        raise VideoOver(f"Video {video_id} has no failed step that may be tried again without --resubmit.")
    _stitch_anew(connection, video_id)
    _reopen(connection, owner, video_id)


#: whether nobody knows what became of a step's newest create
_OUTCOME_UNKNOWN = or_(
    _steps.c.error_code == OutcomeUnknown.code,
    and_(_steps.c.provider_job_id.is_(None), _steps.c.reserved_cost.is_not(None)),
)


#: whether what a step's job has made is paid, and only to be fetched
_IS_PAID = and_(_steps.c.provider_job_id.is_not(None), _steps.c.cost > _steps.c.earlier_cost)
#: whether a step's job had delivered before it could be stopped: its cost is known, so nothing is reserved any more
_DELIVERED_TOO_LATE = and_(_steps.c.error_code == Cancelled.code, _steps.c.reserved_cost.is_(None))


_told = tables.events.c
#: whether an event is of a step
_ITS = and_(_told.video_id == _steps.c.video_id, _told.step == _steps.c.step, _told.take == _steps.c.take)
#: whether a step has come to a model that is not its first, so that its estimate is of another
_FELL_BACK = select(_told.id).where(_ITS, _told.kind == "step.fell_back").correlate(_steps).exists()


def _try_anew(connection: Connection, which: ColumnElement[bool]) -> int:
    """Have steps be as if they had not been tried; gives how many.

    What a provider has made, but could not be fetched or stored, is paid: it is fetched.
    """
    steps = _steps.c
    fetchable = or_(func.coalesce(steps.error_code, "").not_in(_NOTHING_TO_FETCH), _DELIVERED_TOO_LATE)
    made = and_(steps.provider_job_id.is_not(None), fetchable)
    kept = ("provider_job_id", "started_at", "sent_at", "reserved_cost")
    again: dict[str, Any] = {name: case((made, steps[name]), else_=None) for name in kept}
    again["state"] = case((made, StepState.ACCEPTED), else_=StepState.INTENT)
    again["model"] = case((made, steps.model), else_=None)  # the first one that the video names
    again["estimated_cost"] = case((or_(made, not_(_FELL_BACK)), steps.estimated_cost), else_=None)
    unsettled = case((made, 0.0), else_=func.coalesce(steps.reserved_cost, 0.0))
    again["doubtful_cost"] = steps.doubtful_cost + unsettled
    # with it what was delivered too late
    result = case((and_(made, _DELIVERED_TOO_LATE), steps.result), else_=null())
    values = {**again, **_NO_OUTCOME, "result": result}
    return connection.execute(update(_steps).where(which).values(**values, starts=0)).rowcount


def _stitch_anew(connection: Connection, video_id: str) -> None:
    """Have films that may lack beats, which are tried again, be made anew, of whatever takes."""
    if _spec_of(connection, video_id).get("allow_missing"):
        films = and_(
            _steps.c.video_id == video_id, _steps.c.step == "stitch", _steps.c.state == StepState.DONE
        )
        anew = {"state": StepState.INTENT, "starts": 0, **_NO_OUTCOME}
        connection.execute(update(_steps).where(films).values(**anew))


def continue_(connection: Connection, owner: Owner | None, video_id: str, budget: float | None) -> None:
    """Take a video that waits, and have the rest of it made; a storyboard that waits for approval is approved by that.

    Args:
        connection: Where.
        owner: Who makes it; None has it queued for a service.
        video_id: Which.
        budget: US dollars that it may cost from now on; None leaves that as it is.

    Raises:
        VideoNotFound: There is no such video.
        VideoOver: It does not wait.
        VideoBusy: A coordinator that lives has it.
        InvalidRequest: The budget is none, or the video was begun without one.
        OverBudget: The budget, as it is or as it is to be, has no room for what is to come.
    """
    state = _state_if_free(connection, owner, video_id)
    if state is not VideoState.WAITING:
        raise VideoOver(f"Video {video_id} is {state}, and does not wait for anybody.")
    code = _code_of(connection, video_id)
    if code == APPROVAL:
        _change_spec(connection, video_id, until=None)
    _go_on_from(connection, video_id, PAUSING)
    if budget is not None:
        _change_budget(connection, video_id, budget)
    elif code == BudgetReached.code:
        _check_own_room(connection, video_id)
    _take_one(connection, owner, video_id)


def allow_missing(connection: Connection, owner: Owner | None, video_id: str) -> None:
    """Take a video that ended without some of its beats, and have a film made of the others.

    Raises:
        VideoNotFound: There is no such video.
        VideoOver: It has not ended so.
        VideoBusy: A coordinator that lives has it.
    """
    state = _state_if_free(connection, owner, video_id)
    if state is not VideoState.PARTIAL:
        raise VideoOver(f"Video {video_id} is {state}: there are no chunks of some of its beats alone.")
    _change_spec(connection, video_id, allow_missing=True)
    _reopen(connection, owner, video_id)


def edit(
    connection: Connection,
    owner: Owner | None,
    video_id: str,
    change: Callable[[Spec], tuple[Spec, Sequence[StepRecord]]],
) -> list[StepRecord]:
    """Take a video that nobody makes, with a changed spec; gives the rows to be put, of steps that have none.

    Takes that something has happened to stay as they are.

    Args:
        connection: Where.
        owner: Who makes it; None has it queued for a service.
        video_id: Which.
        change: Gives the new spec, and rows for all steps that it has.

    Raises:
        VideoNotFound: There is no such video.
        VideoOver: It is being cancelled.
        VideoBusy: A coordinator that lives has it.
        OverBudget: The budget has no room for what the change adds.
    """
    if _state_if_free(connection, owner, video_id) is VideoState.RUNNING:  # its coordinator died
        owner_gone = (
            "its process is gone. A service takes its own over; of a command line, `raypipe resume` does"
        )
        raise VideoBusy(f"Video {video_id} is not over: {owner_gone}.")
    spec, planned = change(Spec.model_validate(_spec_of(connection, video_id)))
    _change_spec(connection, video_id, **spec.model_dump(mode="json"))
    _go_on_from(connection, video_id, PAUSING)
    cancelled = and_(_in_use(connection, video_id), _steps.c.error_code == Cancelled.code)
    if _try_anew(connection, and_(cancelled, not_(_OUTCOME_UNKNOWN))):
        _stitch_anew(connection, video_id)
    missing = _missing(connection, video_id, planned)
    _check_budget(connection, spec, video_id, missing)
    of_beats = tables.phases.c.phase.in_(_OF_BEATS)
    connection.execute(delete(tables.phases).where(tables.phases.c.video_id == video_id, of_beats))
    there = select(_steps.c.estimated_cost).where(_steps.c.video_id == video_id)
    expected = [*connection.execute(there).scalars(), *(step.estimated_cost for step in missing)]
    estimated = {"estimated_cost": round(sum(each or 0.0 for each in expected), 9)}
    connection.execute(update(_videos).where(_videos.c.id == video_id).values(**estimated))
    _reopen(connection, owner, video_id)
    return missing


def _change_budget(connection: Connection, video_id: str, budget: float) -> None:
    """Give a video that has a budget another.

    Raises:
        InvalidRequest: It is no sum of dollars, or the video was begun without one.
        OverBudget: It has no room for what is to come.
    """
    if not 0 <= budget < math.inf:
        raise InvalidRequest(f"A budget is a sum of US dollars, not {budget}.")
    if _spec_of(connection, video_id).get("budget") is None:
        raise InvalidRequest(f"Video {video_id} was begun without a budget: continue it without one.")
    _check_room(connection, video_id, budget)
    _change_spec(connection, video_id, budget=budget)


def _check_own_room(connection: Connection, video_id: str) -> None:
    """Check that a video's own budget, if it has one, has room: what was reserved may have cost less.

    Raises:
        OverBudget: It has not.
    """
    if (budget := _spec_of(connection, video_id).get("budget")) is not None:
        _check_room(connection, video_id, budget)


def _check_room(connection: Connection, video_id: str, budget: float) -> None:
    """Check that a budget has room for what a video has spent and what is to come.

    Raises:
        OverBudget: It has not.
    """
    open_ = and_(
        _in_use(connection, video_id), _steps.c.state.not_in([StepState.DONE, StepState.FAILED]),
        _steps.c.reserved_cost.is_(None), not_(_IS_PAID),
    )  # fmt: skip
    more = connection.execute(select(func.sum(_steps.c.estimated_cost)).where(open_)).scalar() or 0.0
    spent = _spent(connection, video_id)
    if spent + more > budget + ROUNDING:
        raise OverBudget(
            f"{dollars(spent)} is spent and the rest is estimated at {dollars(more)}: "
            f"a budget of {dollars(budget)} has no room for it; it takes {dollars(spent + more)} or more."
        )


def _spent(connection: Connection, video_id: str) -> float:
    """Sum what a video has cost, may have cost and has reserved, in US dollars."""
    paid = _steps.c.cost + _steps.c.doubtful_cost + func.coalesce(_steps.c.reserved_cost, 0.0)
    return connection.execute(select(func.sum(paid)).where(_steps.c.video_id == video_id)).scalar() or 0.0


def _check_budget(connection: Connection, spec: Spec, video_id: str, missing: Sequence[StepRecord]) -> None:
    """Check that what a change adds fits into the video's budget.

    Raises:
        OverBudget: It does not; nothing is changed.
    """
    if spec.budget is None:
        return
    spent = _spent(connection, video_id)
    more = sum(step.estimated_cost or 0.0 for step in missing)
    if more and spent + more > spec.budget + ROUNDING:
        raise OverBudget(
            f"The change is estimated at {dollars(more)} more, {dollars(spent)} is spent, and the video's budget is "
            f"{dollars(spec.budget)}. Going back to an earlier take costs nothing."
        )


def _missing(connection: Connection, video_id: str, planned: Sequence[StepRecord]) -> list[StepRecord]:
    """Return steps that have no row, and delete the rows of others that nothing has happened to."""
    mine, key = _steps.c.video_id == video_id, tuple_(_steps.c.step, _steps.c.take)
    wanted = [(step.step, step.take) for step in planned]
    untouched = and_(_steps.c.state == StepState.INTENT, _steps.c.attempt == 0)
    connection.execute(delete(_steps).where(mine, untouched, key.not_in(wanted)))
    rows = connection.execute(select(_steps.c.step, _steps.c.take).where(mine))
    there = {(row.step, row.take) for row in rows}
    return [step for step in planned if (step.step, step.take) not in there]


def _reopen(connection: Connection, owner: Owner | None, video_id: str) -> None:
    """Have a video that may have ended be made again."""
    reopened = {"finished_at": None, "result": None}
    connection.execute(update(_videos).where(_videos.c.id == video_id).values(reopened))
    _take_one(connection, owner, video_id)


def _code_of(connection: Connection, video_id: str) -> str | None:
    return connection.execute(select(_videos.c.error_code).where(_videos.c.id == video_id)).scalar()


def _spec_of(connection: Connection, video_id: str) -> dict[str, Any]:
    query = select(_videos.c.spec).where(_videos.c.id == video_id).with_for_update()
    found: dict[str, Any] = connection.execute(query).scalar_one()
    return found


def _change_spec(connection: Connection, video_id: str, **changes: Any) -> None:
    changed = {"spec": {**_spec_of(connection, video_id), **changes}}
    connection.execute(update(_videos).where(_videos.c.id == video_id).values(**changed))


def cancel(connection: Connection, video_id: str, by_service: bool) -> VideoState:
    """Have a video cancelled: whoever makes it can write nothing of it any more, and so send nothing.

    A video of which nothing is under way is cancelled at once; else a coordinator of its kind cancels what is, or, with
    `by_service`, a service, if nobody makes the video.

    Raises:
        VideoNotFound: There is no such video.
        VideoOver: It has ended.
    """
    query = select(_videos.c.state, _videos.c.lease_owner.in_(living()).label("held"))
    found = connection.execute(query.where(_videos.c.id == video_id).with_for_update()).first()
    if found is None:
        raise VideoNotFound(video_id)
    state = VideoState(found.state)
    if state.terminal:
        raise VideoOver(f"Video {video_id} is {state}: there is nothing to cancel.")
    if state is VideoState.CANCELLING:
        return state
    steps = _steps.c
    under_way = and_(steps.video_id == video_id, steps.state.in_(UNDER_WAY))
    rests = (
        state is not VideoState.RUNNING
        and not connection.execute(select(func.count()).select_from(_steps).where(under_way)).scalar()
    )
    now_its: dict[str, Any] = {"state": VideoState.CANCELLING, "cancel_requested_at": time.time()}
    if rests:
        spent = select(func.coalesce(func.sum(steps.cost), 0.0)).where(steps.video_id == video_id)
        ended = {"state": VideoState.CANCELLED, "finished_at": time.time(), "cost": spent.scalar_subquery()}
        now_its |= {**ended, "error_code": Cancelled.code, "error_message": CANCELLED}
    no_longer: dict[str, Any] = {"lease_owner": None, "epoch": _videos.c.epoch + 1}
    no_longer |= {"runner": SERVICE} if by_service and not found.held else {}
    connection.execute(update(_videos).where(_videos.c.id == video_id).values(**now_its, **no_longer))
    return VideoState(now_its["state"])


def _state_if_free(connection: Connection, owner: Owner | None, video_id: str) -> VideoState:
    if owner is not None:
        renew(connection, owner)
    columns = _videos.c.state, _videos.c.lease_owner, _coordinators.c.lease_until
    joined = _videos.outerjoin(_coordinators, _coordinators.c.id == _videos.c.lease_owner)
    query = select(*columns).select_from(joined).where(_videos.c.id == video_id)
    row = connection.execute(query.with_for_update(of=_videos)).first()
    if row is None:
        raise VideoNotFound(video_id)
    state, held = VideoState(row.state), (row.lease_until or 0) > time.time()
    if not state.terminal and row.lease_owner not in (None, owner and owner.id) and held:
        raise VideoBusy(f"Video {video_id} is being made by another process.")
    if state is VideoState.CANCELLING:
        raise VideoOver(f"Video {video_id} is being cancelled: there is nothing to go on with.")
    return state


def _take_one(connection: Connection, owner: Owner | None, video_id: str) -> None:
    """Have the owner make a video; without one it is queued for a service."""
    statement = update(_videos).where(_videos.c.id == video_id)
    if owner is not None:
        connection.execute(statement.values(runner=owner.runner))
        hand_over(connection, video_id, owner, crashes=0)
        return
    queued = {"state": VideoState.QUEUED, "lease_owner": None, "runner": SERVICE, "crash_count": 0}
    connection.execute(statement.values(**queued, error_code=None, error_message=None))
