"""How Serve's proxy learns that a video is committed whose request is answered later, as one that waits for its end.

Proxy and service say it in ASGI's own way: the proxy names an extension in a request's scope, and the service then
sends a message of that type, which the proxy keeps to itself. Where nobody names it, as without our proxy, nothing is
sent.
"""

from collections.abc import Callable

from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: the extension, and the type of its message
COMMITTED = "raypipe.committed"


class SaysCommitted:
    """Lets routes say that what a request asks for is committed; it runs in the service."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if COMMITTED in scope.get("extensions", ()):
            scope.setdefault("state", {})[COMMITTED] = send
        await self._app(scope, receive, send)


async def say_committed(request: Request) -> None:
    """Tell the proxy, if it listens, that what a request asks for is committed."""
    send: Send | None = request.scope.get("state", {}).get(COMMITTED)
    if send is not None:
        await send({"type": COMMITTED})


def listening(scope: Scope) -> Scope:
    """Return the scope of a request of which the service is to say when it is committed."""
    return {**scope, "extensions": {**scope.get("extensions", {}), COMMITTED: {}}}


def until_committed(send: Send, end: Callable[[], None]) -> Send:
    """Return a `send` that calls a function at the first that comes back, the word that it is committed or an answer.

    The word is passed on to nobody.
    """

    async def send_and_end(message: Message) -> None:
        end()
        if message["type"] != COMMITTED:
            await send(message)

    return send_and_end
