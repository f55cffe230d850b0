"""What users do to a video that nobody makes: go on, try again, approve, change a beat, cancel.

Each function runs in a transaction, checks that the video stands so, and gives it to who goes on with it.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, and_, case, delete, func, not_, or_, select, tuple_, update

from raypipe.errors import (
    APPROVAL,
    PAUSING,
    UPSTREAM_FAILED,
    Cancelled,
    ContentRefused,
    DeliveryExpired,
    MediaError,
    OutcomeUnknown,
    ProviderRejected,
    TookTooLong,
    VideoBusy,
    VideoNotFound,
    VideoOver,
)
from raypipe.journal import tables
from raypipe.journal.leases import SERVICE, Owner, hand_over, living, renew
from raypipe.journal.records import StepRecord
from raypipe.models import Phase, Spec, StepState, VideoState

#: what is said of a cancelled video
CANCELLED = "cancelled; what was finished is kept"
#: states of a step that something is being done for
UNDER_WAY = [
    StepState.QUEUED, StepState.SENT, StepState.ACCEPTED, StepState.RUNNING, StepState.UNKNOWN,
]  # fmt: skip

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
    _try_again(connection, video_id, PAUSING)
    _take_one(connection, owner, video_id)


def _try_again(connection: Connection, video_id: str, codes: Iterable[str]) -> None:
    """Have steps that failed for such reasons, and what depends on them, be as if they had not been tried."""
    steps = _steps.c
    failed = and_(steps.video_id == video_id, steps.state == StepState.FAILED)
    such = and_(failed, steps.error_code.in_([*codes, UPSTREAM_FAILED]))
    there = case((steps.provider_job_id.is_not(None), StepState.ACCEPTED), else_=StepState.INTENT)
    again = {"state": there, "starts": 0, "started_at": None, **_NO_OUTCOME}
    connection.execute(update(_steps).where(such).values(**again))


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
        how = "" if found.terminal else "; `raypipe resume` goes on with it"
        raise VideoOver(f"Video {video_id} is {found}: it has no failed steps to retry{how}.")
    steps = _steps.c
    unanswered = steps.state.in_([StepState.SENT, StepState.UNKNOWN] if resubmit else [])
    failed = and_(steps.video_id == video_id, or_(steps.state == StepState.FAILED, unanswered))
    maybe_taken = and_(steps.provider_job_id.is_(None), steps.reserved_cost.is_not(None))
    unknown = or_(steps.error_code == OutcomeUnknown.code, unanswered, maybe_taken)
    if resubmit:
        doubtful = update(_steps).where(failed, unknown)
        connection.execute(doubtful.values(possible_duplicate=True))
    # what a provider has made, but could not be fetched or stored, is paid: it is fetched
    made = and_(
        steps.provider_job_id.is_not(None), func.coalesce(steps.error_code, "").not_in(_NOTHING_TO_FETCH)
    )
    kept = ("provider_job_id", "started_at", "sent_at", "reserved_cost")
    again: dict[str, Any] = {name: case((made, steps[name]), else_=None) for name in kept}
    again["state"] = case((made, StepState.ACCEPTED), else_=StepState.INTENT)
    unsettled = case((made, 0.0), else_=func.coalesce(steps.reserved_cost, 0.0))
    again["doubtful_cost"] = steps.doubtful_cost + unsettled
    tried = update(_steps).where(failed if resubmit else and_(failed, not_(unknown)))
    none_failed = not connection.execute(select(func.count()).select_from(_steps).where(failed)).scalar()
    if not connection.execute(tried.values(**again, **_NO_OUTCOME, starts=0)).rowcount and not none_failed:
        raise VideoOver(f"Video {video_id} has no failed step that may be tried again without --resubmit.")
    spec = _spec_of(connection, video_id)
    if spec.get("allow_missing"):  # a film without the beats that failed is made anew
        take = spec.get("takes", {}).get("stitch", 1)
        film = and_(steps.video_id == video_id, steps.step == "stitch", steps.take == take)
        anew = {"state": StepState.INTENT, "starts": 0, **_NO_OUTCOME}
        connection.execute(update(_steps).where(film, steps.state == StepState.DONE).values(**anew))
        _change_spec(connection, video_id, allow_missing=False)
    _reopen(connection, owner, video_id)


def approve(connection: Connection, owner: Owner | None, video_id: str) -> None:
    """Take a video that waits for approval, and have the rest of it made.

    Raises:
        VideoNotFound: There is no such video.
        VideoOver: It does not wait for approval.
        VideoBusy: A coordinator that lives has it.
    """
    state = _state_if_free(connection, owner, video_id)
    code = connection.execute(select(_videos.c.error_code).where(_videos.c.id == video_id)).scalar()
    if (state, code) != (VideoState.WAITING, APPROVAL):
        raise VideoOver(f"Video {video_id} is {state}, and does not wait for approval.")
    _change_spec(connection, video_id, until=None)
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
    """
    if _state_if_free(connection, owner, video_id) is VideoState.RUNNING:  # its coordinator died
        owner_gone = "its process is gone; `raypipe resume` goes on with it first"
        raise VideoBusy(f"Video {video_id} is not over: {owner_gone}.")
    spec, planned = change(Spec.model_validate(_spec_of(connection, video_id)))
    _change_spec(connection, video_id, **spec.model_dump(mode="json"))
    _try_again(connection, video_id, [*PAUSING, Cancelled.code])
    missing = _missing(connection, video_id, planned)
    of_beats = tables.phases.c.phase.in_(_OF_BEATS)
    connection.execute(delete(tables.phases).where(tables.phases.c.video_id == video_id, of_beats))
    there = select(func.coalesce(func.sum(_steps.c.estimated_cost), 0.0)).where(_steps.c.video_id == video_id)
    expected = there.scalar_subquery() + sum(step.estimated_cost or 0.0 for step in missing)
    connection.execute(update(_videos).where(_videos.c.id == video_id).values(estimated_cost=expected))
    _reopen(connection, owner, video_id)
    return missing


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
