"""What happens to videos, as server-sent events: one tail of the journal in each process, however many listen."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

from fastapi import Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from raypipe.errors import JournalUnavailable
from raypipe.journal import DELETED, Journal, TenantEvent

logger = logging.getLogger(__name__)

#: seconds between looks into the journal, while somebody listens
LOOK = 0.2
#: events that are at hand; who is further behind reads the journal, so many at a time
AT_HAND, AT_A_TIME = 5_000, 500
#: seconds after which a stream ends, and its client comes back as browsers do by themselves: its key may be revoked
MOST_AGE = 900.0
#: seconds after which a comment is sent where nothing happens, so that nobody on the way takes the connection for dead
HEARTBEAT = 15


class Start(NamedTuple):
    """Where a stream begins."""

    #: id of the event after which it does
    seen: int
    #: said at its head where that is not where the client asked it to begin
    notice: ServerSentEvent | None = None


class Tail:
    """Reads events once for all who listen here."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._listeners = 0
        self._reading: asyncio.Task[None] | None = None
        self._forget()

    def _forget(self) -> None:
        self._events: deque[TenantEvent] = deque()
        #: ids of the newest event before those at hand, and of the newest that was read
        self._since = self._last = 0
        self._ready, self._news = asyncio.Event(), asyncio.Event()

    async def start(self, seen: int, anew: int | None = None) -> Start:
        """Return where a stream begins whose client has seen the event with that id.

        An id that the journal has not come to is of another one, as of this one before a backup was put back. Then the
        stream begins after `anew`, or with what happens from now on, and says so; its client's id is mended with it.
        """
        if seen <= self._last:
            return Start(seen)
        newest = await asyncio.to_thread(self._journal.last_event_id)
        if seen <= newest:
            return Start(seen)
        begins = newest if anew is None else anew
        said = f"event {seen} has not happened here: this stream begins anew, after event {begins}"
        # a message without data changes the id that clients come back with, and is no event to them
        return Start(begins, ServerSentEvent(comment=said, id=str(begins)))

    async def follow(
        self, after: int | None, video_id: str | None = None, tenant: str | None = None
    ) -> AsyncIterator[TenantEvent]:
        """Give events after the one with that id, or from now on, as they happen; each once and in order, for a while.

        Of one video they end when it is deleted.

        Args:
            after: Id of the last event already seen; None for none before now.
            video_id: Of which video; None for all.
            tenant: Of whose videos; None for everybody's.
        """
        with self._listening() as reading:
            await self._ready.wait()
            seen = self._last if after is None else after
            until = time.monotonic() + MOST_AGE
            while not reading.done() and time.monotonic() < until:
                since, last, news = self._since, self._last, self._news
                if seen < since:
                    found = await asyncio.to_thread(
                        self._journal.events_after, seen, AT_A_TIME, since, video_id
                    )
                    seen = found[-1].id if len(found) == AT_A_TIME else since
                else:
                    found = self._at_hand(seen, video_id)
                    seen = max(seen, last)
                for event in found:
                    if tenant in (None, event.tenant):
                        yield event
                    if video_id is not None and event.kind == DELETED:
                        return
                if seen >= self._last:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(until - time.monotonic()):
                            await news.wait()
            if reading.done():
                reading.result()

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Task[None]]:
        """Have events be read as long as somebody listens."""
        if self._reading is None:
            self._forget()
            self._reading = asyncio.create_task(self._read())
        self._listeners += 1
        try:
            yield self._reading
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._reading.cancel()
                self._reading = None

    def _at_hand(self, seen: int, video_id: str | None) -> list[TenantEvent]:
        found = []
        for event in reversed(self._events):
            if event.id <= seen:
                break
            if video_id in (None, event.video_id):
                found.append(event)
        return found[::-1]

    async def _read(self) -> None:
        own = self._ready, self._news
        try:
            self._last = self._since = await asyncio.to_thread(self._journal.last_event_id)
            while True:
                self._ready.set()
                found = await self._newer()
                self._add(found)
                if len(found) < AT_A_TIME:
                    await asyncio.sleep(LOOK)
        finally:
            for told in (*own, *([self._news] if self._ready is own[0] else [])):
                told.set()

    async def _newer(self) -> list[TenantEvent]:
        try:
            return await asyncio.to_thread(self._journal.events_after, self._last, AT_A_TIME)
        except JournalUnavailable as error:  # it is asked again
            logger.warning("Events cannot be read for now: %s", error)
            return []

    def _add(self, found: list[TenantEvent]) -> None:
        if not found:
            return
        self._events.extend(found)
        self._last = found[-1].id
        while len(self._events) > AT_HAND:
            self._since = self._events.popleft().id
        news, self._news = self._news, asyncio.Event()
        news.set()


def stream(events: AsyncIterator[TenantEvent], notice: ServerSentEvent | None = None) -> Response:
    """Answer with events as they happen (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    Args:
        events: What happens.
        notice: Said before it.
    """

    async def messages() -> AsyncIterator[ServerSentEvent]:
        if notice is not None:
            yield notice
        async for event in events:
            yield ServerSentEvent(event.model_dump_json(), event=event.kind, id=str(event.id))

    # what stands between must not hold events back, nor keep them
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return EventSourceResponse(messages(), headers=headers, ping=HEARTBEAT)
