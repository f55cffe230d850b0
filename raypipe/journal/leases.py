"""Who makes which video: coordinators hold a lease, and what one that died has left is taken over by others."""

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, or_, select, update

from raypipe.journal import tables
from raypipe.journal.statements import append_event
from raypipe.models import VideoState

#: kinds of coordinators: one that makes what it is given, in a program or on the command line, and a service
LOCAL, SERVICE = "local", "service"
#: seconds after which a coordinator that has not renewed its lease is taken for dead
LEASE_SECONDS = 8.0
#: coordinators that may die over a video before it is not tried again
CRASHES = 3
#: error code of a video that is not tried again because of that
QUARANTINED = "quarantined"
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

    Videos it has survived are no longer suspected of killing coordinators. No lease ends later than one that is renewed
    now, whoever holds it.
    """
    longest = time.time() + LEASE_SECONDS
    # a clock that was set back would let those of dead coordinators live on for as long
    too_long = update(_coordinators).where(_coordinators.c.lease_until > longest)
    connection.execute(too_long.values(lease_until=longest))
    until = {"runner": owner.runner, "lease_until": longest}
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
        hand_over(connection, video_id, owner, crashes[video_id])
    for video_id, count in crashes.items():
        if count >= CRASHES:
            _quarantine(connection, video_id)
    return taken


def take_cancelling(connection: Connection, owner: Owner, video_ids: Sequence[str] | None) -> list[str]:
    """Take videos of the owner's kind that are to be cancelled and that no living coordinator has."""
    free = or_(_videos.c.lease_owner.is_(None), _videos.c.lease_owner.not_in(living()))
    chosen = [_videos.c.state == VideoState.CANCELLING, _videos.c.runner == owner.runner, free]
    if video_ids is not None:
        chosen.append(_videos.c.id.in_(video_ids))
    free_now = select(_videos.c.id).where(*chosen).with_for_update(skip_locked=True)
    taken = list(connection.execute(free_now).scalars())
    if taken:
        hand_over = {"lease_owner": owner.id, "epoch": _videos.c.epoch + 1}
        connection.execute(update(_videos).where(_videos.c.id.in_(taken)).values(**hand_over))
    return taken


def living() -> Any:
    """Select the coordinators whose lease has not run out."""
    return select(_coordinators.c.id).where(_coordinators.c.lease_until > time.time())


def _claimable(owner: Owner, own_only: bool) -> ColumnElement[bool]:
    queued, own = _videos.c.state == VideoState.QUEUED, _videos.c.lease_owner == owner.id
    if own_only:
        return and_(queued, own)
    free = or_(_videos.c.lease_owner.is_(None), _videos.c.lease_owner.not_in(living()))
    left = _videos.c.state.in_([VideoState.QUEUED, VideoState.RUNNING])
    return and_(_videos.c.runner == owner.runner, or_(and_(queued, own), and_(left, free)))


def _has_suspect(connection: Connection, owner: Owner) -> bool:
    mine = and_(_videos.c.lease_owner == owner.id, _videos.c.state == VideoState.RUNNING)
    suspected = and_(mine, _videos.c.crash_count >= CRASHES - 1)
    return bool(connection.execute(select(_videos.c.id).where(suspected).limit(1)).first())


def hand_over(connection: Connection, video_id: str, owner: Owner, crashes: int) -> None:
    """Have a coordinator make a video, under a new epoch."""
    begun = func.coalesce(_videos.c.started_at, time.time())
    now_its = {"lease_owner": owner.id, "epoch": _videos.c.epoch + 1, "crash_count": crashes}
    statement = update(_videos).where(_videos.c.id == video_id)
    no_error = {"error_code": None, "error_message": None}
    connection.execute(statement.values(state=VideoState.RUNNING, started_at=begun, **now_its, **no_error))


def _quarantine(connection: Connection, video_id: str) -> None:
    said = f"{CRASHES} coordinators died while they made it; it is not tried again, and what was finished is kept"
    fail(connection, video_id, QUARANTINED, said)


def fail(connection: Connection, video_id: str, code: str, message: str) -> None:
    """End a video that nobody runs, with what its steps have cost, and tell those who follow it."""
    now, mine = time.time(), tables.steps.c.video_id == video_id
    spent = select(func.coalesce(func.sum(tables.steps.c.cost), 0.0)).where(mine).scalar_subquery()
    ended: dict[str, Any] = {"state": VideoState.FAILED, "finished_at": now, "cost": spent}
    ended |= {"error_code": code, "error_message": message, "epoch": _videos.c.epoch + 1}
    connection.execute(update(_videos).where(_videos.c.id == video_id).values(**ended))
    happened = {"kind": f"video.{VideoState.FAILED}", "at": now, "data": {"error": message}}
    row = {f"e_{name}": value for name, value in happened.items()}
    connection.execute(append_event(), {"e_video_id": video_id, **row})
