"""Connections to Serve's proxy whose client sends or reads nothing: uvicorn itself would keep them for ever."""

import asyncio
import resource
from typing import Any, ClassVar

from uvicorn.config import HTTP_PROTOCOLS
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from raypipe.api.limits import READ_SECONDS

#: seconds within which a head has to arrive, from when the client connects or sends the first of it
HEAD_SECONDS = 15.0
#: longest head in bytes; uvicorn would hold one of any length
HEAD_BYTES = 64 * 2**10
#: connections without a request under way; where there are more, the one that has waited longest is closed
MOST_WAITING = 2_000
#: seconds within which a client that is sent more than the machine holds for it has to read some of it
STALL_SECONDS = 60.0
#: seconds within which the rest of a body has to arrive whose request is answered: as many as for a body that is read
REST_SECONDS = READ_SECONDS


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

    Where an answer comes before all of its request's body, the rest is read and forgotten, for a time: a client that
    still sends when its connection is closed is told of a reset, and never sees the answer.
    """

    most_waiting: ClassVar[int] = MOST_WAITING
    #: connections without a request under way, the longest waiting first
    waiting: ClassVar[dict["BoundedConnection", None]] = {}

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._deadline: asyncio.TimerHandle | None = None
        self._stall: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        #: whether there is more to come of the body of the request whose head came last
        self._awaits_body = False
        #: whether the connection is to be closed once that is there
        self._closes = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._wait()
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Take a part of a request; the first of a head has the rest of it come in time."""
        before, was_body = self.cycle, self._awaits_body
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif was_body:
            if not self._awaits_body and self in self.waiting:
                self._end_rest()
        elif self in self.waiting:
            self._expect_head()
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._close()

    def handle_websocket_upgrade(self) -> None:
        """Leave the connection to another protocol."""
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def on_headers_complete(self) -> None:
        """Begin a request."""
        before = self.cycle
        super().on_headers_complete()
        self._awaits_body = True
        if self.cycle is not before:
            self.cycle.transport = _ClosedInTime(self)  # type: ignore[assignment] # all of it that a cycle uses

    def on_message_complete(self) -> None:
        """End a request's body."""
        self._awaits_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the rest of the body, and for the next head, unless the next request is there."""
        is_last = not self.pipeline
        super().on_response_complete()
        if is_last and not self.transport.is_closing():
            self._wait()
            if self._awaits_body:
                self._expect_within(REST_SECONDS)

    def close_in_time(self) -> None:
        """Close the connection: at once, or, where the client was answered before it had sent all, when it has."""
        if self._awaits_body and self.cycle.response_complete:
            self._closes = True
        else:
            self.transport.close()

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
        self._expect_within(HEAD_SECONDS)

    def _expect_within(self, seconds: float) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(seconds, self._close)

    def _end_rest(self) -> None:
        """Be idle, as after an answer that came after all of its request."""
        self._stop_deadline()
        if self._closes:
            self._close()
        elif not self.transport.is_closing():
            seconds = self.timeout_keep_alive
            self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _stop_waiting(self) -> None:
        self.waiting.pop(self, None)
        self._stop_deadline()

    def _stop_deadline(self) -> None:
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


class _ClosedInTime:
    """A connection's transport as a request sees it that is being answered."""

    def __init__(self, connection: BoundedConnection) -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        """Close the connection once its client cannot lose the answer by that."""
        self._connection.close_in_time()
