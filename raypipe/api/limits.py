"""A bound on what a client may send, and what becomes of it when the client then goes away."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.failures import failure

#: seconds within which a body has to arrive
READ_SECONDS = 120.0


class BodyLimit:
    """Answers 413 to a body that is longer than the limit, declared or not, and reads no more of it.

    A POST whose body was read is worked on to its end: Serve cancels a handler when its client hangs up, and a
    client that has sent a video cannot know whether it was in time.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app, self._limit = app, limit
        self._at_work: set[asyncio.Future[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on with its body read, if it is short enough."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(READ_SECONDS):
                body = await self._read(scope, receive)
        except _HungUp:
            return
        except TimeoutError:
            message = f"The body took longer than {READ_SECONDS:g} s to arrive."
            await failure(408, "body_too_slow", message)(scope, receive, send)
            return
        if body is None:
            message = f"The body is longer than {self._limit} bytes."
            await failure(413, "body_too_large", message)(scope, receive, send)
            return
        replayed = _replay(body, receive)
        if scope["method"] != "POST":
            await self._app(scope, replayed, send)
            return
        work = asyncio.ensure_future(self._app(scope, replayed, send))
        self._at_work.add(work)
        work.add_done_callback(self._at_work.discard)
        await asyncio.shield(work)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limit:
            return None
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _HungUp
            body += message.get("body", b"")
            more = message.get("more_body", False)
            if len(body) > self._limit:
                return None
        return bytes(body)


class _HungUp(Exception):
    """The client went away before all of its request was read."""


def _replay(body: bytes, receive: Receive) -> Receive:
    sent = False

    async def replay() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
