"""What the service's log says of requests: a line for each that changes something or is refused."""

import logging
import time
from typing import cast

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from raypipe.api.callers import HEALTH_PATHS
from raypipe.api.origins import SAFE
from raypipe.text import printable

logger = logging.getLogger(__name__)

#: longest part of a path that is told, in characters
_LONGEST = 120


class AccessLog:
    """Logs method, path, status and milliseconds of a request; its query may hold secrets and is left out.

    Reads that succeed are left out too: pages and pollers ask every second. So do probes of health, of which nothing is
    told: what is wrong with the service it logs where that is found.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http" or scope["path"] in HEALTH_PATHS:
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), cast(int | None, None)

        async def send_and_see(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_see)
        except Exception:
            status = 500
            raise
        finally:
            _tell(scope, status, time.perf_counter() - began)


def _tell(scope: Scope, status: int | None, seconds: float) -> None:
    if status is None or status >= 400 or scope["method"] not in SAFE:
        path, became = printable(scope["path"])[:_LONGEST], "no answer" if status is None else status
        logger.info("%s %s: %s, %.0f ms", scope["method"], path, became, 1_000 * seconds)
