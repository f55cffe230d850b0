"""Writing rows: whatever waits is committed together, on the event loop that waits for it."""

import asyncio
import json
import logging
import math
import random
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import ClauseElement, Connection, Dialect, Engine
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from raypipe.errors import AnswerLost, JournalUnavailable, LeaseLost

logger = logging.getLogger(__name__)

#: most requests of one commit
BATCH = 1_000
#: seconds between commits: under load they are few and large, an idle loop commits at once
GAP = 0.005
#: seconds until a database that another process holds, or whose disk is full, is tried again: at first, at most. Others
#: hold it for milliseconds: who waits much longer than that, and in step with others, is overtaken again and again
RETRY_AFTER, MOST_RETRY_AFTER, GROWTH = 0.003, 0.5, 1.5
#: seconds after which a request fails that cannot be written because of that
PATIENCE = 15.0


class Statement:
    """SQL for many rows, compiled once: SQLAlchemy's own way to parameters takes longer than the database does.

    Within a batch statements run by ascending rank, each with all of its rows.
    """

    def __init__(self, rank: int, clause: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = clause.compile(dialect=dialect)
        self.rank, self.sql = rank, str(compiled)
        self._constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._places: list[str] | None = compiled.positiontup

    def parameters(self, row: dict[str, Any]) -> Any:
        """Return a row as the database's driver takes it; what is no scalar goes as JSON."""
        values = {
            name: json.dumps(value) if isinstance(value, dict | list) else value
            for name, value in (self._constants | row).items()
        }
        return values if self._places is None else tuple([values[name] for name in self._places])


class Write(NamedTuple):
    """A row for a statement. Of the rows with the same key only the last is written: it replaces those before."""

    statement: Statement
    row: dict[str, Any]
    key: Hashable = None


class Fence(NamedTuple):
    """Who writes: a coordinator that has lost the video since, to one of a higher epoch, may not."""

    video_id: str
    epoch: int


class _Request(NamedTuple):
    run: Callable[[Connection], Any] | tuple[Write, ...]
    fence: Fence | None
    give_up_at: float
    done: "asyncio.Future[Any]"


class _NotNow(Exception):
    """The database cannot be written for the moment; nothing was."""


class _CommitLost(_NotNow):
    """The database did not answer a commit, which may have been carried out."""


class Writer:
    """Writes rows in the order of the requests, many requests to a commit. Used from one event loop at a time.

    A request is durable when its future is done: SQLite syncs at every commit (`synchronous=FULL`). One that fails
    fails alone. While the database is locked or full everything waits, and the loop goes on with other work: SQLite is
    asked without waiting, and any other database in a thread.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._connection: Connection | None = None
        self._waiting: list[_Request] = []
        self._working: asyncio.Task[None] | None = None
        self._next = -math.inf
        self._closed = False
        #: of requests that may have been carried out and are tried again
        self._in_doubt: set[asyncio.Future[Any]] = set()

    def put(
        self, *writes: Write, fence: Fence | None = None, patience: float = PATIENCE
    ) -> "asyncio.Future[None]":
        """Have rows committed, together with whatever else is waiting; the future is done when they are.

        It fails with `LeaseLost` if the fence's epoch is over, and with `JournalUnavailable` if the rows cannot be
        written, or not within `patience` seconds; with `AnswerLost` if they may be written nevertheless.
        """
        return self._submit(writes, fence, patience)

    async def transact(
        self, run: Callable[[Connection], Any], patience: float = PATIENCE, fence: Fence | None = None
    ) -> Any:
        """Run a function in a transaction of its own and give what it returns.

        It is run again where the database did not answer the commit, so it has to see what it has done before.

        Raises:
            LeaseLost: The fence's epoch is over.
            JournalUnavailable: It cannot be run, or not within `patience` seconds.
            AnswerLost: Nor is it known whether it was.
        """
        return await self._submit(run, fence, patience)

    async def read(self, run: Callable[[Connection], Any], patience: float = PATIENCE) -> Any:
        """Run a function that only reads and give what it returns; locks are waited for without blocking the loop.

        Raises:
            JournalUnavailable: It cannot be run, or not within `patience` seconds.
        """
        give_up_at, pause = time.monotonic() + patience, RETRY_AFTER
        while True:
            try:
                return self._read(run) if self._is_sqlite else await asyncio.to_thread(self._read, run)
            except OperationalError as error:
                if not _passes(error) or time.monotonic() > give_up_at:
                    raise JournalUnavailable(f"The journal could not be read: {cause_of(error)}") from error
            except SQLAlchemyError as error:
                raise JournalUnavailable(f"The journal could not be read: {cause_of(error)}") from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, MOST_RETRY_AFTER)

    def _read(self, run: Callable[[Connection], Any]) -> Any:
        if self._closed:
            raise _closed()
        if self._is_sqlite:
            return run(self._connected())
        with self._engine.connect() as connection:
            return run(connection)

    async def drain(self) -> None:
        """Return when nothing is waiting any more."""
        while self._working is not None:
            await asyncio.wait([self._working])

    def close(self) -> None:
        """Let go of the database; what is waiting, and what is written later, fails."""
        self._closed = True
        waiting, self._waiting = self._waiting, []
        for request in waiting:
            _answer(request, _closed())
        if self._connection is not None:
            self._connection.close()

    def _submit(self, run: Any, fence: Fence | None, patience: float) -> "asyncio.Future[Any]":
        done = asyncio.get_running_loop().create_future()
        request = _Request(run, fence, time.monotonic() + patience, done)
        if self._closed:
            _answer(request, _closed())
        else:
            self._waiting.append(request)
            if self._working is None:
                self._working = asyncio.create_task(self._work())
        return done

    async def _work(self) -> None:
        pause = longer = 0.0
        try:
            while self._waiting:
                await asyncio.sleep(max(pause, self._next - time.monotonic()))
                batch, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
                outcomes = await self._outcomes([each for each in batch if not each.done.done()])
                self._next = time.monotonic() + GAP
                postponed = [each for each, outcome in outcomes if not self._settled(each, outcome)]
                self._waiting = postponed + self._waiting
                longer = min(max(RETRY_AFTER, GROWTH * longer), MOST_RETRY_AFTER) if postponed else 0.0
                pause = longer * random.uniform(0.5, 1.0)
        finally:
            self._working = None  # also where an event loop ends in the middle: the next one starts anew

    async def _outcomes(self, batch: list[_Request]) -> list[tuple[_Request, Any]]:
        found = self._commit(batch) if self._is_sqlite else await asyncio.to_thread(self._commit, batch)
        return list(zip(batch, found, strict=True))

    def _settled(self, request: _Request, outcome: Any) -> bool:
        """Answer a request, unless it has time to be tried again."""
        if isinstance(outcome, _CommitLost):
            self._in_doubt.add(request.done)
        if isinstance(outcome, _NotNow):
            if time.monotonic() < request.give_up_at and not self._closed:
                return False
            outcome = JournalUnavailable(f"The journal could not be written: {outcome}")
            if request.done in self._in_doubt:
                outcome = AnswerLost(
                    f"The journal did not say whether it was written, which it may be: {outcome}"
                )
        self._in_doubt.discard(request.done)
        _answer(request, outcome)
        return True

    def _commit(self, batch: list[_Request]) -> list[Any]:
        """Commit the rows of all requests together, then functions one by one; gives what became of each."""
        rows = [request for request in batch if isinstance(request.run, tuple)]
        try:
            together = dict(zip(map(id, rows), self._write(rows), strict=True))
        except _NotNow as problem:
            not_begun = _NotNow(str(problem))
            return [problem if isinstance(request.run, tuple) else not_begun for request in batch]
        except Exception:  # noqa: BLE001 - one bad request must not fail its neighbours: each is tried by itself
            together = {}
        return [together[id(each)] if id(each) in together else self._alone(each) for each in batch]

    def _write(self, requests: list[_Request]) -> list[Any]:
        if not requests:
            return []
        with self._transaction() as connection:
            over = _lost(connection, requests)
            execute(connection, [w for each in requests if each.fence not in over for w in each.run])  # type: ignore[union-attr]
        return [over.get(each.fence) for each in requests]

    def _alone(self, request: _Request) -> Any:
        try:
            if isinstance(request.run, tuple):
                return self._write([request])[0]
            with self._transaction() as connection:
                if (lost := _lost(connection, [request]).get(request.fence)) is not None:
                    return lost
                return request.run(connection)
        except SQLAlchemyError as error:
            return JournalUnavailable(f"The journal could not be written: {cause_of(error)}")
        except Exception as error:  # noqa: BLE001 - a bad row or the caller's function: its error is the caller's
            return error

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            connection = self._connected()
            if self._is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                yield connection
                self._end_transaction(connection)
            except BaseException:
                if self._connection is connection:
                    self._roll_back(connection)
                raise
        except OperationalError as error:
            if not self._is_sqlite:
                self._disconnect()
            elif not _passes(error):
                raise
            raise _NotNow(cause_of(error)) from error

    def _end_transaction(self, connection: Connection) -> None:
        try:
            connection.exec_driver_sql("COMMIT") if self._is_sqlite else connection.commit()
        except OperationalError as error:
            if self._is_sqlite and "disk I/O error" not in cause_of(error):
                raise  # it says that it has not
            if not self._is_sqlite:
                self._disconnect()
            raise _CommitLost(cause_of(error)) from error

    def _connected(self) -> Connection:
        if self._connection is None:
            connection = self._engine.connect()
            if self._is_sqlite:
                connection = connection.execution_options(isolation_level="AUTOCOMMIT")
                connection.exec_driver_sql("PRAGMA busy_timeout=0")
            self._connection = connection
        return self._connection

    def _roll_back(self, connection: Connection) -> None:
        try:
            if not self._is_sqlite:
                connection.rollback()
            elif connection.connection.dbapi_connection.in_transaction:  # type: ignore[union-attr]
                connection.exec_driver_sql("ROLLBACK")  # some errors have rolled back already
        except SQLAlchemyError:
            logger.exception("The journal could not be rolled back")
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.invalidate()
            connection.close()


def cause_of(error: SQLAlchemyError) -> str:
    """Return what the database's driver said, in its first line, without SQLAlchemy's wrapping."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def _passes(error: OperationalError) -> bool:
    """Tell whether SQLite's error may be gone in a while: another process writes, or there is no room."""
    said = cause_of(error)
    return any(each in said for each in ("locked", "busy", "full", "disk I/O error"))


def _closed() -> JournalUnavailable:
    return JournalUnavailable("The journal is closed.")


def _answer(request: _Request, outcome: Any) -> None:
    if request.done.done():
        return  # its coroutine was cancelled
    if isinstance(outcome, BaseException):
        request.done.set_exception(outcome)
    else:
        request.done.set_result(outcome)


def _lost(connection: Connection, requests: list[_Request]) -> dict[Fence | None, LeaseLost]:
    """Find the fences whose videos have gone to somebody else."""
    fences = {each.fence for each in requests if each.fence is not None}
    if not fences:
        return {}
    ids = sorted({fence.video_id for fence in fences})
    marks = ", ".join(["%s" if connection.dialect.paramstyle == "pyformat" else "?"] * len(ids))
    # written by hand: SQLAlchemy takes longer to write it than the database to answer
    found = connection.exec_driver_sql(f"SELECT id, epoch FROM videos WHERE id IN ({marks})", tuple(ids))  # noqa: S608
    epochs = {row.id: row.epoch for row in found}
    return {each: LeaseLost(each.video_id) for each in fences if epochs.get(each.video_id) != each.epoch}


def execute(connection: Connection, writes: Sequence[Write]) -> None:
    """Run writes in a transaction that is open; of those with the same key only the last."""
    groups: dict[Statement, dict[Hashable, dict[str, Any]]] = {}
    for number, (statement, row, key) in enumerate(writes):
        groups.setdefault(statement, {})[number if key is None else key] = row
    for statement, rows in sorted(groups.items(), key=lambda group: group[0].rank):
        connection.exec_driver_sql(statement.sql, list(map(statement.parameters, rows.values())))
