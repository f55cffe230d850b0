"""Who makes which video: coordinators hold a lease, and what one that died has left is taken over by others."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, case, delete, func, insert, not_, or_, select, update

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
from raypipe.models import StepState, VideoState

#: kinds of coordinators: one that makes what it is given, in a program or on the command line, and a service
LOCAL, SERVICE = "local", "service"
#: seconds after which a coordinator that has not renewed its lease is taken for dead
LEASE_SECONDS = 8.0
#: coordinators that may die over a video before it is not tried again
CRASHES = 3
#: error code of a video that is not tried again because of that
QUARANTINED = "quarantined"
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
_NO_OUTCOME = {"result": None, "error_code": None, "error_message": None, "finished_at": None}
_videos, _coordinators = tables.videos, tables.coordinators


class Owner(NamedTuple):
    """A coordinator, as its lease names it."""

    id: str
    #: its kind; it takes videos of this kind alone
    runner: str


def renew(
    connection: Connection, owner: Owner, survived: Sequence[str] = (), running: Sequence[str] = ()
) -> list[str]:
    """Hold the owner's lease from now on; gives those of the videos it runs that others have taken over.

    Videos it has survived are no longer suspected of killing coordinators.
    """
    until = {"runner": owner.runner, "lease_until": time.time() + LEASE_SECONDS}
    changed = connection.execute(update(_coordinators).where(_coordinators.c.id == owner.id).values(until))
    if not changed.rowcount:
        connection.execute(insert(_coordinators).values(id=owner.id, **until))
    if survived:
        mine = and_(_videos.c.id.in_(survived), _videos.c.lease_owner == owner.id)
        connection.execute(update(_videos).where(mine).values(crash_count=0))
    if not running:
        return []
    not_mine = or_(_videos.c.lease_owner.is_(None), _videos.c.lease_owner != owner.id)
    lost = select(_videos.c.id).where(_videos.c.id.in_(running), not_mine)
    return list(connection.execute(lost).scalars())


def release(connection: Connection, owner: Owner) -> bool:
    """Give the lease up; tells whether no other coordinator lives, and if so has the next gateways get new names."""
    connection.execute(delete(_coordinators).where(_coordinators.c.id == owner.id))
    living = select(func.count()).select_from(_coordinators).where(_coordinators.c.lease_until > time.time())
    if connection.execute(living).scalar():
        return False
    ended = tables.installation.c.gateways_ended + 1
    connection.execute(update(tables.installation).values(gateways_ended=ended))
    return True


def take(connection: Connection, owner: Owner, limit: int, own_only: bool) -> list[str]:
    """Take videos, oldest first: the owner's queued ones, anybody's, and those whose coordinator has died.

    A video over which coordinators have died twice is taken alone, so that it is seen whether it was the one; after a
    third time it fails.
    """
    renew(connection, owner)
    columns = _videos.c.id, _videos.c.state, _videos.c.crash_count
    oldest = select(*columns).where(_claimable(owner, own_only)).order_by(_videos.c.id)
    found = connection.execute(oldest.limit(limit).with_for_update(skip_locked=True)).all()
    crashes = {row.id: row.crash_count + (row.state == VideoState.RUNNING) for row in found}
    suspects = [video_id for video_id, count in crashes.items() if count == CRASHES - 1]
    on_trial = suspects[: 0 if _has_suspect(connection, owner) else 1]
    taken = [each for each, count in crashes.items() if count < CRASHES - 1 or each in on_trial]
    for video_id in taken:
        _hand_over(connection, video_id, owner, crashes[video_id])
    for video_id, count in crashes.items():
        if count >= CRASHES:
            _quarantine(connection, video_id)
    return taken


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
    # what failed for a reason that made it wait is tried again, and what depends on it
    steps = tables.steps.c
    failed = and_(steps.video_id == video_id, steps.state == StepState.FAILED)
    waited = and_(failed, steps.error_code.in_([*PAUSING, UPSTREAM_FAILED]))
    there = case((steps.provider_job_id.is_not(None), StepState.ACCEPTED), else_=StepState.INTENT)
    again = {"state": there, "starts": 0, "started_at": None, **_NO_OUTCOME}
    connection.execute(update(tables.steps).where(waited).values(**again))
    _take_one(connection, owner, video_id)


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
    steps = tables.steps.c
    unanswered = steps.state.in_([StepState.SENT, StepState.UNKNOWN] if resubmit else [])
    failed = and_(steps.video_id == video_id, or_(steps.state == StepState.FAILED, unanswered))
    maybe_taken = and_(steps.provider_job_id.is_(None), steps.reserved_cost.is_not(None))
    unknown = or_(steps.error_code == OutcomeUnknown.code, unanswered, maybe_taken)
    if resubmit:
        doubtful = update(tables.steps).where(failed, unknown)
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
    tried = update(tables.steps).where(failed if resubmit else and_(failed, not_(unknown)))
    none_failed = not connection.execute(
        select(func.count()).select_from(tables.steps).where(failed)
    ).scalar()
    if not connection.execute(tried.values(**again, **_NO_OUTCOME, starts=0)).rowcount and not none_failed:
        raise VideoOver(f"Video {video_id} has no failed step that may be tried again without --resubmit.")
    if _spec_of(connection, video_id).get(
        "allow_missing"
    ):  # a film without the beats that failed is made anew
        film = and_(steps.video_id == video_id, steps.step == "stitch", steps.state == StepState.DONE)
        anew = {"state": StepState.INTENT, "starts": 0, **_NO_OUTCOME}
        connection.execute(update(tables.steps).where(film).values(**anew))
        _change_spec(connection, video_id, allow_missing=False)
    reopened = {"finished_at": None, "result": None}
    connection.execute(update(_videos).where(_videos.c.id == video_id).values(reopened))
    _take_one(connection, owner, video_id)


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
    query = select(_videos.c.state, _videos.c.lease_owner.in_(_living()).label("held"))
    found = connection.execute(query.where(_videos.c.id == video_id).with_for_update()).first()
    if found is None:
        raise VideoNotFound(video_id)
    state = VideoState(found.state)
    if state.terminal:
        raise VideoOver(f"Video {video_id} is {state}: there is nothing to cancel.")
    if state is VideoState.CANCELLING:
        return state
    steps = tables.steps.c
    under_way = and_(steps.video_id == video_id, steps.state.in_(UNDER_WAY))
    rests = (
        state is not VideoState.RUNNING
        and not connection.execute(select(func.count()).select_from(tables.steps).where(under_way)).scalar()
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


def take_cancelling(connection: Connection, owner: Owner, video_ids: Sequence[str] | None) -> list[str]:
    """Take videos of the owner's kind that are to be cancelled and that no living coordinator has."""
    free = or_(_videos.c.lease_owner.is_(None), _videos.c.lease_owner.not_in(_living()))
    chosen = [_videos.c.state == VideoState.CANCELLING, _videos.c.runner == owner.runner, free]
    if video_ids is not None:
        chosen.append(_videos.c.id.in_(video_ids))
    free_now = select(_videos.c.id).where(*chosen).with_for_update(skip_locked=True)
    taken = list(connection.execute(free_now).scalars())
    if taken:
        hand_over = {"lease_owner": owner.id, "epoch": _videos.c.epoch + 1}
        connection.execute(update(_videos).where(_videos.c.id.in_(taken)).values(**hand_over))
    return taken


def _living() -> Any:
    return select(_coordinators.c.id).where(_coordinators.c.lease_until > time.time())


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
        _hand_over(connection, video_id, owner, crashes=0)
        return
    queued = {"state": VideoState.QUEUED, "lease_owner": None, "runner": SERVICE, "crash_count": 0}
    connection.execute(statement.values(**queued, error_code=None, error_message=None))


def _claimable(owner: Owner, own_only: bool) -> ColumnElement[bool]:
    queued, own = _videos.c.state == VideoState.QUEUED, _videos.c.lease_owner == owner.id
    if own_only:
        return and_(queued, own)
    free = or_(_videos.c.lease_owner.is_(None), _videos.c.lease_owner.not_in(_living()))
    left = _videos.c.state.in_([VideoState.QUEUED, VideoState.RUNNING])
    return and_(_videos.c.runner == owner.runner, or_(and_(queued, own), and_(left, free)))


def _has_suspect(connection: Connection, owner: Owner) -> bool:
    mine = and_(_videos.c.lease_owner == owner.id, _videos.c.state == VideoState.RUNNING)
    suspected = and_(mine, _videos.c.crash_count >= CRASHES - 1)
    return bool(connection.execute(select(_videos.c.id).where(suspected).limit(1)).first())


def _hand_over(connection: Connection, video_id: str, owner: Owner, crashes: int) -> None:
    begun = func.coalesce(_videos.c.started_at, time.time())
    now_its = {"lease_owner": owner.id, "epoch": _videos.c.epoch + 1, "crash_count": crashes}
    statement = update(_videos).where(_videos.c.id == video_id)
    no_error = {"error_code": None, "error_message": None}
    connection.execute(statement.values(state=VideoState.RUNNING, started_at=begun, **now_its, **no_error))


def _quarantine(connection: Connection, video_id: str) -> None:
    said = f"{CRASHES} coordinators died while they made it; it is not tried again, and what was finished is kept"
    fail(connection, video_id, QUARANTINED, said)


def fail(connection: Connection, video_id: str, code: str, message: str) -> None:
    """End a video that nobody runs."""
    ended: dict[str, Any] = {"state": VideoState.FAILED, "finished_at": time.time()}
    statement = update(_videos).where(_videos.c.id == video_id)
    epoch = _videos.c.epoch + 1
    connection.execute(statement.values(**ended, error_code=code, error_message=message, epoch=epoch))
