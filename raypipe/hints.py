"""News of jobs: a webhook that came in anywhere wakes the coroutine that waits for its job, on whatever gateway."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from raypipe.errors import JournalUnavailable
from raypipe.hosted import Pause
from raypipe.journal import Journal, StepKey

logger = logging.getLogger(__name__)

#: seconds between looks into the journal, while anybody waits
LOOK_INTERVAL = 0.5


class Hints:
    """Reads from the journal which jobs vendors have said are over. Used from one event loop."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._news: dict[StepKey, asyncio.Event] = {}
        self._watching: asyncio.Task[None] | None = None

    @contextmanager
    def of(self, key: StepKey) -> Iterator[Pause]:
        """Give a pause that ends early when there is news of a step's job, also news that came before the pause."""
        news = self._news[key] = asyncio.Event()
        if self._watching is None or self._watching.done():
            self._watching = asyncio.create_task(self._watch())

        async def pause(seconds: float) -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await news.wait()
            news.clear()

        try:
            yield pause
        finally:
            if self._news.get(key) is news:
                del self._news[key]

    async def _watch(self) -> None:
        last: int | None = None
        while self._news:
            try:
                last, keys = await self._journal.hinted_since(last)
            except JournalUnavailable as error:
                logger.warning("The journal does not say which jobs are over, so they are polled: %s", error)
                keys = []
            for key in keys:
                if key in self._news:
                    self._news[key].set()
            await asyncio.sleep(LOOK_INTERVAL)
