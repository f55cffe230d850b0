"""What the service's log says of requests: a line for each that changes something or is refused."""

import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.origins import SAFE
from raypipe.text import printable

logger = logging.getLogger(__name__)

#: longest part of a path that is told, in characters
_LONGEST = 120


class AccessLog:
    """Logs method, path, status and milliseconds once an answer has begun; a query may hold secrets and is left out.

    So are looks that find what they look for: pages and pollers ask every second.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def send_and_tell(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                _tell(scope, message["status"], time.perf_counter() - began)

        await self._app(scope, receive, send_and_tell)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    if status >= 400 or scope["method"] not in SAFE:
        path = printable(scope["path"])[:_LONGEST]
        logger.info("%s %s: %d, %.0f ms", scope["method"], path, status, 1_000 * seconds)
