"""One thread that writes: whatever waits when it comes round is committed together."""

import queue
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Executable
from sqlalchemy.exc import SQLAlchemyError

from raypipe.errors import JournalUnavailable

BATCH = 1_000


class Write(NamedTuple):
    """A row for a statement. Within a batch statements run by ascending rank, each with all of its rows.

    Of the rows with the same key only the last is written: each replaces the one before.
    """

    rank: int
    statement: Executable
    row: dict[str, Any]
    key: Hashable = None


class _Request(NamedTuple):
    run: Callable[[Connection], Any] | tuple[Write, ...]
    done: Future[Any]


class GroupCommit:
    """Writes rows in the order of their requests, many requests to a commit.

    A request is durable when its future is done: SQLite syncs at every commit (`synchronous=FULL`).
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._requests: queue.SimpleQueue[_Request | None] = queue.SimpleQueue()
        self._closed = False
        self._closing = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="raypipe-journal", daemon=True)
        self._thread.start()

    def write(self, writes: Iterable[Write]) -> Future[None]:
        """Commit rows, together with whatever else is waiting."""
        return self._submit(tuple(writes))

    def transact(self, run: Callable[[Connection], Any]) -> Future[Any]:
        """Run a function in a transaction of its own and give what it returns."""
        return self._submit(run)

    def close(self) -> None:
        """Commit what is waiting and stop; what is written later fails."""
        with self._closing:
            self._closed = True
            self._requests.put(None)
        self._thread.join()

    def _submit(self, run: Callable[[Connection], Any] | tuple[Write, ...]) -> Future[Any]:
        request = _Request(run, Future())
        with self._closing:
            if self._closed:
                request.done.set_exception(JournalUnavailable("The journal is closed."))
            else:
                self._requests.put(request)
        return request.done

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            batch = [request]
            while len(batch) < BATCH and not self._requests.empty():
                following = self._requests.get()
                if following is None:
                    self._requests.put(None)
                    break
                batch.append(following)
            self._commit(batch)

    def _commit(self, batch: list[_Request]) -> None:
        batch = [request for request in batch if request.done.set_running_or_notify_cancel()]
        rows = [request for request in batch if isinstance(request.run, tuple)]
        try:
            with self._engine.begin() as connection:
                _execute(connection, [write for request in rows for write in request.run])  # type: ignore[union-attr]
        except Exception:  # noqa: BLE001 - whatever it is: the thread goes on, and each request learns its own error
            # one bad request must not fail its neighbours: each is tried by itself and gets its own answer
            for request in rows:
                self._run_alone(request)
        else:
            for request in rows:
                request.done.set_result(None)
        for request in batch:
            if not isinstance(request.run, tuple):
                self._run_alone(request)

    def _run_alone(self, request: _Request) -> None:
        try:
            with self._engine.begin() as connection:
                result = _run(connection, request)
        except SQLAlchemyError as error:
            request.done.set_exception(
                JournalUnavailable(f"The journal could not be written: {cause_of(error)}")
            )
        except Exception as error:  # noqa: BLE001 - a bad row or the caller's function: its error is the caller's
            request.done.set_exception(error)
        else:
            request.done.set_result(result)


def cause_of(error: SQLAlchemyError) -> str:
    """Return what the database's driver said, in its first line, without SQLAlchemy's wrapping."""
    return str(getattr(error, "orig", None) or error).partition("\n")[0]


def _run(connection: Connection, request: _Request) -> Any:
    if not isinstance(request.run, tuple):
        return request.run(connection)
    _execute(connection, list(request.run))
    return None


def _execute(connection: Connection, writes: list[Write]) -> None:
    groups: dict[tuple[int, int], tuple[Executable, dict[Hashable, dict[str, Any]]]] = {}
    for number, (rank, statement, row, key) in enumerate(writes):
        _, rows = groups.setdefault((rank, id(statement)), (statement, {}))
        rows[number if key is None else key] = row
    for group in sorted(groups):
        statement, rows = groups[group]
        connection.execute(statement, list(rows.values()))
