"""Connections to Serve's proxy whose client sends or reads nothing: uvicorn itself would keep them for ever."""

import asyncio
import resource
from typing import Any, ClassVar

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: seconds within which a head has to arrive, from when the client connects or sends the first of it
HEAD_SECONDS = 15.0
#: longest head in bytes; uvicorn would hold one of any length
HEAD_BYTES = 64 * 2**10
#: connections without a request under way; where there are more, the one that has waited longest is closed
MOST_WAITING = 2_000
#: seconds within which a client that is sent more than the machine holds for it has to read some of it
STALL_SECONDS = 60.0


def bound_connections() -> None:
    """Have uvicorn in this process close connections whose client is silent; how it speaks HTTP Serve leaves to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    descriptors = MOST_WAITING * 2 if hard == resource.RLIM_INFINITY else hard
    BoundedConnection.most_waiting = min(MOST_WAITING, descriptors // 2)
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{BoundedConnection.__name__}"


class BoundedConnection(HttpToolsProtocol):
    """Speaks HTTP as uvicorn does, and closes connections that do not send a whole head in time, or do not read.

    Connections without a request, the idle ones between two requests among them, are bounded in number as well.
    """

    most_waiting: ClassVar[int] = MOST_WAITING
    #: connections without a request under way, the longest waiting first
    waiting: ClassVar[dict["BoundedConnection", None]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
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

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._stall = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: it has read."""
        super().resume_writing()
        self._stop_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        self._stop_stall()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self.waiting[self] = None
        self._head_bytes = 0
        if len(self.waiting) > self.most_waiting:
            next(iter(self.waiting))._close()

    def _expect_head(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._close)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _stop_stall(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _close(self) -> None:
        self._stop_waiting()
        self.transport.close()
