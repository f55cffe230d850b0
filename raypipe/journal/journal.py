"""The journal: what was accepted, what was done, what happened. Ray executes, the journal decides."""

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, Row, bindparam, create_engine, event, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from raypipe.errors import JournalUnavailable, VideoNotFound
from raypipe.journal import tables
from raypipe.journal.records import Event, StepRecord, VideoRecord
from raypipe.journal.writer import GroupCommit, Write
from raypipe.models import Phase, PhaseOutput, VideoState

_VIDEO, _STEP, _PHASE, _EVENT = range(4)


class Journal:
    """The journal of one installation. Safe to use from any thread.

    Writes return futures that are done when the rows are committed; reads see everything committed before them.
    """

    def __init__(self, url: str) -> None:
        """Open the journal and create its tables if there are none.

        Raises:
            JournalUnavailable: The database cannot be opened, or holds tables of another version.
        """
        self._engine = _open(url)
        dialect: Any = postgresql if self._engine.dialect.name == "postgresql" else sqlite
        self._put_step = _upsert(dialect, tables.steps)
        self._put_phase = _upsert(dialect, tables.phases)
        self._writer = GroupCommit(self._engine)

    def close(self) -> None:
        """Commit what is waiting and let go of the database."""
        self._writer.close()
        self._engine.dispose()

    def accepted(self, video: VideoRecord, plan: PhaseOutput) -> tuple[Write, ...]:
        """The rows of a new video: itself, the output of its plan phase, and the first event."""
        return (
            Write(_VIDEO, _INSERT_VIDEO, video.model_dump(mode="json")),
            self.phase(plan),
            self.event(Event(video_id=video.id, kind="video.accepted")),
        )

    def record(self, *writes: Write) -> Future[None]:
        """Commit rows together."""
        return self._writer.write(writes)

    def step(self, step: StepRecord) -> Write:
        """The row of a step, replacing what it said before."""
        return Write(_STEP, self._put_step, step.model_dump(mode="json"), key=(step.video_id, step.step))

    def phase(self, output: PhaseOutput) -> Write:
        """The row of a phase, replacing what it said before."""
        return Write(_PHASE, self._put_phase, {**output.model_dump(mode="json"), "finished_at": time.time()})

    def event(self, happened: Event) -> Write:
        """A new event at the end of the video's log."""
        row = {f"e_{key}": value for key, value in happened.model_dump(mode="json").items()}
        return Write(_EVENT, _APPEND_EVENT, row)

    def finish(self, video_id: str, state: VideoState, **columns: Any) -> Write:
        """The end of a video: its state and, as columns, its result, cost and error."""
        row = {"v_id": video_id, "state": state, "finished_at": time.time(), **_NO_OUTCOME, **columns}
        return Write(_VIDEO, _FINISH_VIDEO, row)

    def claim(self, owner: str, limit: int) -> Future[list[VideoRecord]]:
        """Take up to `limit` queued videos, oldest first, and mark them running."""
        oldest = (
            select(tables.videos.c.id)
            .where(tables.videos.c.state == VideoState.QUEUED)
            .order_by(tables.videos.c.id)
            .limit(limit)
        )
        statement = (
            update(tables.videos)
            .where(tables.videos.c.id.in_(oldest), tables.videos.c.state == VideoState.QUEUED)
            .values(
                state=VideoState.RUNNING,
                started_at=time.time(),
                lease_owner=owner,
                epoch=tables.videos.c.epoch + 1,
            )
            .returning(tables.videos)
        )
        return self._writer.transact(
            lambda connection: sorted(map(_video, connection.execute(statement)), key=lambda video: video.id)
        )

    def video(self, video_id: str) -> VideoRecord:
        """Read a video.

        Raises:
            VideoNotFound: There is no such video.
        """
        rows = self._read(select(tables.videos).where(tables.videos.c.id == video_id))
        if not rows:
            raise VideoNotFound(video_id)
        return _video(rows[0])

    def videos(
        self, limit: int = 20, after: str | None = None, newest_first: bool = True
    ) -> list[VideoRecord]:
        """Read videos in the order they were accepted, `after` being the last id already seen."""
        key = tables.videos.c.id
        query = select(tables.videos).order_by(key.desc() if newest_first else key).limit(limit)
        if after is not None:
            query = query.where(key < after if newest_first else key > after)
        return [_video(row) for row in self._read(query)]

    def states(self, video_ids: Iterable[str]) -> dict[str, VideoState]:
        """Read where videos stand."""
        columns = tables.videos.c
        query = select(columns.id, columns.state).where(columns.id.in_(list(video_ids)))
        return {row.id: VideoState(row.state) for row in self._read(query)}

    def steps(self, video_id: str) -> list[StepRecord]:
        """Read the steps of a video in the order they were meant."""
        table = tables.steps
        query = select(table).where(table.c.video_id == video_id).order_by(table.c.intent_at, table.c.step)
        return [StepRecord.model_validate(dict(row._mapping)) for row in self._read(query)]

    def phases(self, video_id: str) -> dict[Phase, PhaseOutput]:
        """Read the outputs of the phases that have ended."""
        names = [column for column in tables.phases.c if column.name != "finished_at"]
        rows = self._read(select(*names).where(tables.phases.c.video_id == video_id))
        outputs = [PhaseOutput.model_validate(dict(row._mapping)) for row in rows]
        return {output.phase: output for output in outputs}

    def events(self, video_id: str, after: int = 0) -> list[Event]:
        """Read what happened to a video after the event with number `after`."""
        table = tables.events
        query = select(table).where(table.c.video_id == video_id, table.c.seq > after).order_by(table.c.seq)
        return [Event.model_validate(dict(row._mapping)) for row in self._read(query)]

    def _read(self, query: Any) -> Sequence[Row[Any]]:
        try:
            with self._engine.connect() as connection:
                return connection.execute(query).all()
        except SQLAlchemyError as error:
            raise JournalUnavailable(f"The journal could not be read: {error}") from error


def _open(url: str) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        engine = create_engine(parsed, hide_parameters=True)
        if parsed.get_backend_name() == "sqlite":
            event.listen(engine, "connect", _configure_sqlite)
        _create_tables(engine)
    except (SQLAlchemyError, OSError, ImportError) as error:
        raise JournalUnavailable(f"The journal at {url} cannot be opened: {error}") from error
    return engine


def _configure_sqlite(connection: Any, _record: Any) -> None:
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=15000", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _create_tables(engine: Engine) -> None:
    with engine.begin() as connection:
        tables.metadata.create_all(connection)
        found = connection.execute(select(tables.schema.c.version)).scalar()
        if found is None:
            connection.execute(insert(tables.schema).values(version=tables.SCHEMA_VERSION))
        elif found != tables.SCHEMA_VERSION:
            raise JournalUnavailable(
                f"The journal has tables of version {found}, this raypipe needs {tables.SCHEMA_VERSION}. "
                "Set RAYPIPE_DATA_DIR or RAYPIPE_JOURNAL to a new place."
            )


def _upsert(dialect: Any, table: Any) -> Any:
    statement = dialect.insert(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _video(row: Any) -> VideoRecord:
    return VideoRecord.model_validate(dict(row._mapping))


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
_NO_OUTCOME = {"result": None, "cost": 0.0, "error_code": None, "error_message": None}
_FINISH_VIDEO = (
    update(tables.videos)
    .where(tables.videos.c.id == bindparam("v_id"))
    .values({name: bindparam(name) for name in ("state", "finished_at", *_NO_OUTCOME)})
)
