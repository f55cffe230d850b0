"""A bound on what a client may send, and what becomes of it when the client then goes away."""

import asyncio
from collections import Counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.callers import is_open
from raypipe.api.failures import failure
from raypipe.api.origins import SAFE
from raypipe.api.shares import Account, Pool, place_of_request

#: seconds within which a body has to arrive
READ_SECONDS = 120.0
#: the same where no key is needed, and the longest body there: a key, or what a vendor says of a job
OPEN_READ_SECONDS, OPEN_BYTES = 10.0, 2**20
#: bodies of the greatest length that are held at once; one of up to `SMALL` bytes is read all the same
MOST_HELD, SMALL = 8, 64 * 2**10


class BodyLimit:
    """Answers 413 to a body that is longer than the limit, declared or not, and reads no more of it.

    All bodies together, until they are passed on, take bounded memory, and those of one caller half of it; those with
    keys that are not yet known to open anything take half of it together, and those of one caller half of that. Where
    there is no room for another it is answered 429. Where no key is needed bodies are short, and arrive within seconds.
    A GET has none: what a client declares or sends as its body is not waited for.

    A POST whose body was read is worked on to its end: Serve cancels a handler when its client hangs up, and a
    client that has sent a video cannot know whether it was in time.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit
        self._at_work: set[asyncio.Future[None]] = set()
        self._room = _Room(MOST_HELD * limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body read, if it is short enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] in SAFE:
            await self._app(scope, without_body(receive), send)
            return
        place = place_of_request()
        body = _Body(self._room, None if place is None else place.account)
        try:
            await self._pass_on(body, scope, receive, send)
        finally:
            if not body.is_given_away:
                body.drop()

    async def _pass_on(self, body: "_Body", scope: Scope, receive: Receive, send: Send) -> None:
        limit, seconds = self._bounds(scope["path"])
        try:
            async with asyncio.timeout(seconds):
                await _read(body, limit, scope, receive)
        except _HungUp:
            return
        except TimeoutError:
            message = f"The body took longer than {seconds:g} s to arrive."
            await failure(408, "body_too_slow", message)(scope, receive, send)
            return
        except _TooLong:
            message = f"The body is longer than {limit} bytes."
            await failure(413, "body_too_large", message)(scope, receive, send)
            return
        except _NoRoom:
            message = "More is being sent at this moment than can be held; come again in a second."
            await failure(429, "queue_full", message, headers={"Retry-After": "1"})(scope, receive, send)
            return
        replayed = _replay(body, receive)
        if scope["method"] != "POST":
            await self._app(scope, replayed, send)
            return
        await self._work_to_its_end(body, scope, replayed, send)

    def _bounds(self, path: str) -> tuple[int, float]:
        """Return how many bytes a body may have, and within how many seconds it has to arrive."""
        if is_open(path):
            return min(self._limit, OPEN_BYTES), OPEN_READ_SECONDS
        return self._limit, READ_SECONDS

    async def _work_to_its_end(self, body: "_Body", scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and have it worked on though its client hangs up; so long it counts as its caller's."""
        body.is_given_away = True
        work = asyncio.ensure_future(self._app(scope, receive, send))
        self._at_work.add(work)
        work.add_done_callback(self._at_work.discard)
        work.add_done_callback(lambda _: body.drop())
        place = place_of_request()
        if place is not None:
            place.hold()
            work.add_done_callback(lambda _: place.release())
        await asyncio.shield(work)


async def _read(body: "_Body", limit: int, scope: Scope, receive: Receive) -> None:
    declared = dict(scope["headers"]).get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limit:
        raise _TooLong
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _HungUp
        more = message.get("more_body", False)
        if body.add(message.get("body", b"")) > limit:
            raise _TooLong


class _HungUp(Exception):
    """The client went away before all of its request was read."""


class _TooLong(Exception):
    """A body is longer than any may be."""


class _NoRoom(Exception):
    """There is no room for a body beside those that are being read."""


class _Room:
    """Bytes of bodies that are held, in all and by caller, and how many may be."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._held_of: Counter[Account | None] = Counter()
        self._held_in: Counter[Pool] = Counter()

    def hold(self, size: int, account: Account | None) -> None:
        """Hold so many bytes more of a caller's, or fewer."""
        self._held += size
        self._held_of[account] += size
        if not self._held_of[account]:
            del self._held_of[account]
        if account is not None:
            self._held_in[account.pool] += size

    def is_over(self, account: Account | None) -> bool:
        """Tell whether more is held than may be, of all or, where it is known whose it is, of a pool or a caller."""
        if account is None or self._held > self._most:
            return self._held > self._most
        of_pool = self._most // 2 if account.pool == "new key" else self._most
        return self._held_in[account.pool] > of_pool or self._held_of[account] > of_pool // 2


class _Body:
    """A body that is being read, and held until it is passed on."""

    def __init__(self, room: _Room, account: Account | None) -> None:
        self._room, self._account = room, account
        self._parts, self._size = list[bytes](), 0
        #: whether somebody else drops it
        self.is_given_away = False

    def add(self, part: bytes) -> int:
        """Hold another part, and give the length of all.

        Raises:
            _NoRoom: There is no room for it.
        """
        self._parts.append(part)
        self._size += len(part)
        self._room.hold(len(part), self._account)
        if part and self._size > SMALL and self._room.is_over(self._account):
            raise _NoRoom
        return self._size

    def take(self) -> bytes:
        """Return all of it, and hold it no more."""
        whole = b"".join(self._parts)
        self.drop()
        return whole

    def drop(self) -> None:
        """Hold it no more."""
        self._room.hold(-self._size, self._account)
        self._parts, self._size = [], 0


def without_body(receive: Receive) -> Receive:
    """Return a `receive` that gives an empty body at once, and then what comes."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": b"", "more_body": False}

    return give


def _replay(body: _Body, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body.take(), "more_body": False}

    return replay
