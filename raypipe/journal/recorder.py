"""Writing to the journal from an event loop."""

import asyncio
from typing import NamedTuple

from raypipe.journal.journal import Journal
from raypipe.journal.writer import Write

#: turns of the event loop that a commit waits for company: no time on an idle loop, fewer commits on a busy one
TURNS = 3


class _Waiting(NamedTuple):
    writes: tuple[Write, ...]
    committed: asyncio.Future[None]


class Recorder:
    """Collects the writes of many coroutines while a commit is under way, and then commits them as one.

    With hundreds of videos the event loop is woken once for a commit and not once for each of its rows.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._waiting: list[_Waiting] = []
        self._committing: asyncio.Task[None] | None = None

    def put(self, *writes: Write) -> asyncio.Future[None]:
        """Have rows written; they are committed, in the order of the calls, when the future is done.

        The future fails with `JournalUnavailable` if they cannot be; other calls' rows are not affected.
        """
        waiting = _Waiting(writes, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit())
        return waiting.committed

    async def record(self, *writes: Write) -> None:
        """Return when rows are committed.

        Raises:
            JournalUnavailable: They cannot be written.
        """
        await self.put(*writes)

    async def _commit(self) -> None:
        while self._waiting:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            batch, self._waiting = self._waiting, []
            requests = [self._journal.record(*waiting.writes) for waiting in batch]
            # requests are answered in order: when the last one is, all are
            await asyncio.wait([asyncio.wrap_future(requests[-1])])
            for waiting, request in zip(batch, requests, strict=True):
                _answer(waiting.committed, request.exception())
        self._committing = None


def _answer(committed: asyncio.Future[None], error: BaseException | None) -> None:
    if committed.done():
        return  # its coroutine was cancelled
    if error is None:
        committed.set_result(None)
    else:
        committed.set_exception(error)
