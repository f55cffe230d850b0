"""Connections to Serve's proxy whose request's head does not come: uvicorn itself would keep them for ever."""

import asyncio
from typing import Any, ClassVar

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: seconds within which a head has to arrive, from when the client connects or sends the first of it
HEAD_SECONDS = 15.0
#: longest head in bytes; uvicorn would hold one of any length
HEAD_BYTES = 64 * 2**10
#: connections without a request under way; where there are more, the one that has waited longest is closed
MOST_WAITING = 2_000


def bound_heads() -> None:
    """Have uvicorn in this process close connections whose head does not come; Serve leaves the choice to uvicorn."""
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{HeadsInTime.__name__}"


class HeadsInTime(HttpToolsProtocol):
    """Speaks HTTP as uvicorn does, and closes connections that do not send a whole head in time.

    Connections without a request, the idle ones between two requests among them, are bounded in number as well.
    """

    #: connections without a request under way, the longest waiting first
    waiting: ClassVar[dict["HeadsInTime", None]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._wait()
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the first of a head has the rest of it come in time."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif self in self.waiting:
            self._expect_head()
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._close()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol."""
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        """Wait for the next head, unless the next request is there."""
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self.waiting[self] = None
        self._head_bytes = 0
        if len(self.waiting) > MOST_WAITING:
            next(iter(self.waiting))._close()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._close)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _close(self) -> None:
        self._stop_waiting()
        self.transport.close()
