"""The journal: what was accepted, what was done, what happened. Ray executes, the journal decides."""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy import Connection, Row, bindparam, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import SQLAlchemyError

from raypipe.errors import JournalRowBroken, JournalUnavailable, VideoNotFound
from raypipe.journal import tables
from raypipe.journal.database import open_database
from raypipe.journal.records import Event, StepRecord, VideoRecord
from raypipe.journal.writer import GroupCommit, Write, cause_of
from raypipe.models import Phase, PhaseOutput, Value, VideoState

ValueT = TypeVar("ValueT", bound=Value)

_VIDEO, _STEP, _PHASE, _EVENT = range(4)


class Journal:
    """The journal of one installation. Safe to use from any thread.

    Writes return futures that are done when the rows are committed; reads see everything committed before them.

    Attributes:
        read_only: Whether its file may not be written to, so that every write will fail.
    """

    def __init__(self, url: str) -> None:
        """Open the journal and create its tables if there are none.

        Raises:
            JournalUnavailable: The database cannot be opened, or holds something else.
            JournalTooNew: A newer raypipe wrote it.
        """
        self._engine, self.read_only = open_database(url)
        dialect: Any = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        self._put_step = _upsert(dialect, tables.steps)
        self._put_phase = _upsert(dialect, tables.phases)
        self._writer = GroupCommit(self._engine)

    def close(self) -> None:
        """Commit what is waiting and let go of the database."""
        self._writer.close()
        self._engine.dispose()

    def accepted(self, video: VideoRecord, plan: PhaseOutput) -> tuple[Write, ...]:
        """Return the rows of a new video: itself, the output of its plan phase, and the first event."""
        return (
            Write(_VIDEO, _INSERT_VIDEO, video.model_dump(mode="json")),
            self.phase(plan),
            self.event(Event(video_id=video.id, kind="video.accepted")),
        )

    def record(self, *writes: Write) -> Future[None]:
        """Commit rows together."""
        return self._writer.write(writes)

    def step(self, step: StepRecord) -> Write:
        """Return the row of a step, replacing what it said before."""
        return Write(_STEP, self._put_step, step.model_dump(mode="json"), key=(step.video_id, step.step))

    def phase(self, output: PhaseOutput) -> Write:
        """Return the row of a phase, replacing what it said before."""
        return Write(_PHASE, self._put_phase, output.model_dump(mode="json"))

    def event(self, happened: Event) -> Write:
        """Return a new event at the end of the video's log."""
        row = {f"e_{key}": value for key, value in happened.model_dump(mode="json").items()}
        return Write(_EVENT, _APPEND_EVENT, row)

    def finish(self, video_id: str, state: VideoState, **columns: Any) -> Write:
        """Return the end of a video: its state and, as columns, its result, cost and error.

        A video that has ended already keeps its end.
        """
        row = {"v_id": video_id, "state": state, "finished_at": time.time(), **_NO_OUTCOME, **columns}
        return Write(_VIDEO, _FINISH_VIDEO, row)

    def claim(self, owner: str, limit: int, own_only: bool = False) -> Future[list[VideoRecord]]:
        """Take up to `limit` queued videos, oldest first, that are the owner's or anybody's, and mark them running.

        A queued video whose row cannot be read is marked failed, so that it stops nobody.
        """
        return self._writer.transact(lambda connection: _claim(connection, owner, limit, own_only))

    def video(self, video_id: str) -> VideoRecord:
        """Read a video.

        Raises:
            VideoNotFound: There is no such video.
            JournalRowBroken: Its row does not hold a video.
        """
        rows = self._read(select(tables.videos).where(tables.videos.c.id == video_id), f"video {video_id}")
        if not rows:
            raise VideoNotFound(video_id)
        return _parsed(VideoRecord, rows[0])

    def video_ids(self, limit: int = 20, after: str | None = None, newest_first: bool = True) -> list[str]:
        """Read the ids of videos in the order they were accepted, `after` being the last id already seen."""
        key = tables.videos.c.id
        query = select(key).order_by(key.desc() if newest_first else key).limit(limit)
        if after is not None:
            query = query.where(key < after if newest_first else key > after)
        return [row.id for row in self._read(query, "the videos")]

    def videos(self, video_ids: Iterable[str]) -> dict[str, VideoRecord]:
        """Read videos by their ids; ids of no video are left out.

        Raises:
            JournalRowBroken: One of the rows does not hold a video.
        """
        query = select(tables.videos).where(tables.videos.c.id.in_(list(video_ids)))
        return {row.id: _parsed(VideoRecord, row) for row in self._read(query, "the videos")}

    def newest_of(self, owner: str) -> VideoRecord | None:
        """Read the video that an owner took last."""
        columns = tables.videos.c
        query = select(columns.id).where(columns.lease_owner == owner).order_by(columns.id.desc()).limit(1)
        rows = self._read(query, "the videos")
        return self.video(rows[0].id) if rows else None

    def steps(self, video_id: str) -> list[StepRecord]:
        """Read the steps of a video in the order they were meant."""
        return self.steps_of([video_id])[video_id]

    def steps_of(self, video_ids: Iterable[str]) -> dict[str, list[StepRecord]]:
        """Read the steps of videos, each in the order they were meant."""
        table = tables.steps
        query = (
            select(table)
            .where(table.c.video_id.in_(list(video_ids)))
            .order_by(table.c.video_id, table.c.intent_at, table.c.step)
        )
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

    def _by_video(self, kind: type[ValueT], query: Any, what: str) -> dict[str, list[ValueT]]:
        found: dict[str, list[ValueT]] = defaultdict(list)
        for row in self._read(query, what):
            found[row.video_id].append(_parsed(kind, row))
        return found

    def _read(self, query: Any, what: str) -> Sequence[Row[Any]]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).all()
        except SQLAlchemyError as error:
            raise JournalUnavailable(f"The journal could not be read: {cause_of(error)}") from error
        except ValueError as error:  # a column that is no JSON
            raise JournalRowBroken(f"The journal's row of {what} cannot be read: {error}") from error


def _claim(connection: Connection, owner: str, limit: int, own_only: bool) -> list[VideoRecord]:
    videos = tables.videos
    own = videos.c.lease_owner == owner
    oldest = (
        select(videos.c.id)
        .where(videos.c.state == VideoState.QUEUED)
        .where(own if own_only else or_(own, videos.c.lease_owner.is_(None)))
        .order_by(videos.c.id)
        .limit(limit)
    )
    taken = {"started_at": time.time(), "lease_owner": owner, "epoch": videos.c.epoch + 1}
    statement = (
        update(videos)
        .where(videos.c.id.in_(oldest), videos.c.state == VideoState.QUEUED)
        .values(state=VideoState.RUNNING, **taken)
        .returning(videos.c.id)
    )
    claimed = (_claimed(connection, video_id) for video_id in sorted(connection.execute(statement).scalars()))
    return [video for video in claimed if video is not None]


def _claimed(connection: Connection, video_id: str) -> VideoRecord | None:
    try:
        row = connection.execute(select(tables.videos).where(tables.videos.c.id == video_id)).one()
        return _parsed(VideoRecord, row)
    except (JournalRowBroken, ValueError) as error:
        failed = {"state": VideoState.FAILED, "finished_at": time.time(), "error_code": JournalRowBroken.code}
        statement = update(tables.videos).where(tables.videos.c.id == video_id)
        connection.execute(statement.values(**failed, error_message=str(error)))
        return None


def _parsed(kind: type[ValueT], row: Row[Any]) -> ValueT:
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


def _upsert(dialect: Any, table: Any) -> Any:
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _append_event() -> Any:
    e = tables.events
    next_seq = func.coalesce(func.max(e.c.seq), 0) + 1
    values = [
        bindparam(f"e_{name}", type_=e.c[name].type) for name in ("at", "kind", "step", "beat_index", "data")
    ]
    video_id = bindparam("e_video_id", type_=e.c.video_id.type)
    chosen = select(video_id, next_seq, *values).where(e.c.video_id == video_id)
    return insert(e).from_select(["video_id", "seq", "at", "kind", "step", "beat_index", "data"], chosen)


_INSERT_VIDEO = insert(tables.videos)
_APPEND_EVENT = _append_event()
_TERMINAL = [state for state in VideoState if state.terminal]
_NO_OUTCOME = {"result": None, "cost": 0.0, "error_code": None, "error_message": None}
_FINISH_VIDEO = (
    update(tables.videos)
    # an end is final: of two that write one, the first has
    .where(tables.videos.c.id == bindparam("v_id"), tables.videos.c.state.not_in(_TERMINAL))
    .values({name: bindparam(name) for name in ("state", "finished_at", *_NO_OUTCOME)})
)
