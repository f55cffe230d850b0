"""Reading what the journal holds, from any thread: everything that was committed before."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import JSON, Connection, Engine, Row, Select, Table, func, literal, or_, select, union_all
from sqlalchemy.exc import SQLAlchemyError

from raypipe.errors import JournalRowBroken, JournalUnavailable, VideoNotFound
from raypipe.journal import tables
from raypipe.journal.money import UNSENT
from raypipe.journal.records import TERMINAL, UNDER_WAY, Event, StepRecord, TenantEvent, VideoRecord
from raypipe.journal.retention import HEARD, named_digests
from raypipe.journal.writer import cause_of
from raypipe.models import Phase, PhaseOutput, Value, VideoState

ResultT = TypeVar("ResultT")
ValueT = TypeVar("ValueT", bound=Value)

_WITH_LEASE = select(tables.videos, tables.coordinators.c.lease_until).outerjoin(
    tables.coordinators, tables.coordinators.c.id == tables.videos.c.lease_owner
)


class Reads:
    """What may be read of a journal.

    All of it may raise `JournalUnavailable`, if the database cannot be read, and `JournalRowBroken`, if a row does not
    hold what it should.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def video(self, video_id: str) -> VideoRecord:
        """Read a video.

        Raises:
            VideoNotFound: There is no such video.
            JournalRowBroken: Its row does not hold a video.
        """
        rows = self._read(_WITH_LEASE.where(tables.videos.c.id == video_id), f"video {video_id}")
        if not rows:
            raise VideoNotFound(video_id)
        return parsed(VideoRecord, rows[0])

    def tenant_of(self, video_id: str) -> str:
        """Read whose a video is.

        Raises:
            VideoNotFound: There is no such video.
        """
        videos = tables.videos.c
        return self._tenant(video_id, select(videos.tenant).where(videos.id == video_id))

    def tenant_of_deleted(self, video_id: str) -> str:
        """Read whose a video was that was deleted not long ago.

        Raises:
            VideoNotFound: There was no such video.
        """
        gone = tables.deleted_events.c
        lately = gone.video_id == video_id, gone.at >= time.time() - HEARD
        return self._tenant(video_id, select(gone.tenant).where(*lately).limit(1))

    def _tenant(self, video_id: str, query: Select[Any]) -> str:
        rows = self._read(query, "the videos")
        if not rows:
            raise VideoNotFound(video_id)
        return str(rows[0][0])

    def video_ids(
        self,
        limit: int = 20,
        after: str | None = None,
        newest_first: bool = True,
        states: Sequence[VideoState] = (),
        tenant: str | None = None,
    ) -> list[str]:
        """Read the ids of videos in the order they were accepted, `after` being the last id already seen.

        Of those in certain states, or of one tenant, if any are given.
        """
        key = tables.videos.c.id
        query = select(key).order_by(key.desc() if newest_first else key).limit(limit)
        if after is not None:
            query = query.where(key < after if newest_first else key > after)
        if states:
            query = query.where(tables.videos.c.state.in_(states))
        if tenant is not None:
            query = query.where(tables.videos.c.tenant == tenant)
        return [row.id for row in self._read(query, "the videos")]

    def videos(self, video_ids: Iterable[str]) -> dict[str, VideoRecord]:
        """Read videos by their ids; ids of no video are left out.

        Raises:
            JournalRowBroken: One of the rows does not hold a video.
        """
        query = _WITH_LEASE.where(tables.videos.c.id.in_(list(video_ids)))
        return {row.id: parsed(VideoRecord, row) for row in self._read(query, "the videos")}

    def steps(self, video_id: str) -> list[StepRecord]:
        """Read the steps of a video in the order they were meant."""
        return self.steps_of([video_id])[video_id]

    def steps_of(self, video_ids: Iterable[str]) -> dict[str, list[StepRecord]]:
        """Read the steps of videos, each in the order they were meant."""
        query = steps_query(list(video_ids))
        return self._by_video(StepRecord, query, "the steps")

    def phases(self, video_id: str) -> dict[Phase, PhaseOutput]:
        """Read the outputs of the phases that have ended."""
        return self.phases_of([video_id])[video_id]

    def phases_of(self, video_ids: Iterable[str]) -> dict[str, dict[Phase, PhaseOutput]]:
        """Read the outputs of the phases of videos that have ended."""
        query = select(tables.phases).where(tables.phases.c.video_id.in_(list(video_ids)))
        found = self._by_video(PhaseOutput, query, "the phases")
        outputs = {video_id: {each.phase: each for each in rows} for video_id, rows in found.items()}
        return defaultdict(dict, outputs)

    def events(self, video_id: str, after: int = 0) -> list[Event]:
        """Read what happened to a video after the event with number `after`."""
        table = tables.events
        query = select(table).where(table.c.video_id == video_id, table.c.seq > after).order_by(table.c.seq)
        return self._by_video(Event, query, "the events")[video_id]

    def counts(self) -> dict[VideoState, int]:
        """Count the videos that are not over, by state."""
        state = tables.videos.c.state
        query = select(state, func.count().label("number")).where(state.not_in(TERMINAL)).group_by(state)
        return {VideoState(row.state): row.number for row in self._read(query, "the videos")}

    def left_videos(self) -> list[str]:
        """Read the ids of videos that are over and have steps under way, or money reserved for steps never sent."""
        videos, steps = tables.videos.c, tables.steps.c
        joined = tables.steps.join(tables.videos, videos.id == steps.video_id)
        left = or_(steps.state.in_(UNDER_WAY), UNSENT), videos.state.in_(TERMINAL)
        query = select(steps.video_id).select_from(joined).where(*left).distinct()
        return [row.video_id for row in self._read(query, "the steps")]

    def has_queued(self, number: int) -> bool:
        """Tell whether so many videos, or more, wait for a place."""
        waiting = select(tables.videos.c.id).where(tables.videos.c.state == VideoState.QUEUED)
        return bool(self._read(waiting.offset(number - 1).limit(1), "the videos"))

    def events_after(
        self, seen: int, limit: int, upto: int | None = None, video_id: str | None = None
    ) -> list[TenantEvent]:
        """Read what happened to all videos or to one, and whose it is, after the event with id `seen`, oldest first.

        Of a video that is deleted what happened within an hour is given too, without what was said of it.
        """
        told, gone = tables.events, tables.deleted_events

        def wanted(query: Select[Any], table: Table) -> Select[Any]:
            query = query.where(table.c.id > seen)
            query = query if upto is None else query.where(table.c.id <= upto)
            return query if video_id is None else query.where(table.c.video_id == video_id)

        joined = told.join(tables.videos, tables.videos.c.id == told.c.video_id)
        live = wanted(select(told, tables.videos.c.tenant).select_from(joined), told)
        columns = [
            literal({}, JSON).label("data") if each.name == "data" else gone.c[each.name] for each in told.c
        ]
        lately = gone.c.at >= time.time() - HEARD
        deleted = wanted(select(*columns, gone.c.tenant), gone).where(lately)
        query = union_all(live, deleted).order_by("id").limit(limit)
        return [parsed(TenantEvent, row) for row in self._read(query, "the events")]

    def last_event_id(self) -> int:
        """Read the id of the newest event; 0 if there is none."""
        newest = [
            select(func.max(table.c.id).label("id")) for table in (tables.events, tables.deleted_events)
        ]
        return max(row.id or 0 for row in self._read(union_all(*newest), "the events"))

    def named_digests(self) -> set[str]:
        """Read which artifacts rows name."""
        return self._connected(named_digests, "the videos")

    def _by_video(self, kind: type[ValueT], query: Any, what: str) -> dict[str, list[ValueT]]:
        found: dict[str, list[ValueT]] = defaultdict(list)
        for row in self._read(query, what):
            found[row.video_id].append(parsed(kind, row))
        return found

    def _read(self, query: Any, what: str) -> Sequence[Row[Any]]:
        return self._connected(lambda connection: connection.execute(query).all(), what)

    def _connected(self, run: Callable[[Connection], ResultT], what: str) -> ResultT:
        try:
            with self._engine.connect() as connection:
                return run(connection)
        except SQLAlchemyError as error:
            raise JournalUnavailable(f"The journal could not be read: {cause_of(error)}") from error
        except ValueError as error:  # a column that is no JSON
            raise JournalRowBroken(f"The journal's row of {what} cannot be read: {error}") from error


def steps_query(video_ids: list[str]) -> Select[Any]:
    """Return the query of the steps of videos, each in the order they were meant."""
    table = tables.steps
    order = table.c.video_id, table.c.intent_at, table.c.step, table.c.take
    return select(table).where(table.c.video_id.in_(video_ids)).order_by(*order)


def parsed(kind: type[ValueT], row: Row[Any]) -> ValueT:
    """Make what a row holds.

    Raises:
        JournalRowBroken: It does not hold that.
    """
    fields = dict(row._mapping)
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        name = fields.get("video_id", fields.get("id"))
        raise JournalRowBroken(
            f"The journal's {kind.__name__} of {name} cannot be read: {where}: {first['msg']}."
        ) from error
