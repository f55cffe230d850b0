"""A bound on what a client may send, and what becomes of it when the client then goes away."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.failures import failure

#: seconds within which a body has to arrive
READ_SECONDS = 120.0
#: bodies of the greatest length that are held at once; one of up to `SMALL` bytes is read all the same
MOST_HELD, SMALL = 8, 64 * 2**10


class BodyLimit:
    """Answers 413 to a body that is longer than the limit, declared or not, and reads no more of it.

    All bodies together, until they are passed on, take bounded memory: where there is no room for another it is
    answered 429.

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
        body = _Body(self._room)
        try:
            await self._pass_on(body, scope, receive, send)
        finally:
            if not body.is_given_away:
                body.drop()

    async def _pass_on(self, body: "_Body", scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self._read(body, scope, receive)
        except _HungUp:
            return
        except TimeoutError:
            message = f"The body took longer than {READ_SECONDS:g} s to arrive."
            await failure(408, "body_too_slow", message)(scope, receive, send)
            return
        except _TooLong:
            message = f"The body is longer than {self._limit} bytes."
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
        body.is_given_away = True
        work = asyncio.ensure_future(self._app(scope, replayed, send))
        self._at_work.add(work)
        work.add_done_callback(self._at_work.discard)
        work.add_done_callback(lambda _: body.drop())
        await asyncio.shield(work)

    async def _read(self, body: "_Body", scope: Scope, receive: Receive) -> None:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            raise _TooLong
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _HungUp
            more = message.get("more_body", False)
            if body.add(message.get("body", b"")) > self._limit:
                raise _TooLong


class _HungUp(Exception):
    """The client went away before all of its request was read."""


class _TooLong(Exception):
    """A body is longer than any may be."""


class _NoRoom(Exception):
    """There is no room for a body beside those that are being read."""


class _Room:
    """Bytes of bodies that are held, and how many may be."""

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0


class _Body:
    """A body that is being read, and held until it is passed on."""

    def __init__(self, room: _Room) -> None:
        self._room, self._parts, self._size = room, list[bytes](), 0
        #: whether somebody else drops it
        self.is_given_away = False

    def add(self, part: bytes) -> int:
        """Hold another part, and give the length of all.

        Raises:
            _NoRoom: There is no room for it.
        """
        self._parts.append(part)
        self._size += len(part)
        self._room.held += len(part)
        if part and self._size > SMALL and self._room.held > self._room.most:
            raise _NoRoom
        return self._size

    def take(self) -> bytes:
        """Return all of it, and hold it no more."""
        whole = b"".join(self._parts)
        self.drop()
        return whole

    def drop(self) -> None:
        """Hold it no more."""
        self._room.held -= self._size
        self._parts, self._size = [], 0


def _replay(body: _Body, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body.take(), "more_body": False}

    return replay
