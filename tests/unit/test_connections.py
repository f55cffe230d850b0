"""Connections whose client sends or reads nothing, to the server that Serve makes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http.client import HTTPConnection
from typing import Any

import pytest
import uvicorn
from uvicorn.config import HTTP_PROTOCOLS

from raypipe.api.connections import HEAD_BYTES, BoundedConnection, bound_connections
from tests.patience import patience

Connect = Callable[[bytes], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]
REQUEST = b"GET /%s HTTP/1.1\r\nHost: localhost\r\n\r\n"


@asynccontextmanager
async def server(app: Any) -> AsyncIterator[Connect]:
    """A server as Serve makes it, and how to connect to it and send something."""
    config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None)
    serving = uvicorn.Server(config)
    task = asyncio.create_task(serving.serve())
    while not serving.started:
        await asyncio.sleep(0.01)
    port = serving.servers[0].sockets[0].getsockname()[1]
    writers: list[asyncio.StreamWriter] = []

    async def connect(sent: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writers.append(writer)
        writer.write(sent)
        await writer.drain()
        return reader, writer

    try:
        yield connect
    finally:
        for writer in writers:
            writer.close()
        serving.should_exit = True
        await task
    assert not BoundedConnection.waiting, "connections that ended wait no more"


async def answer(reader: asyncio.StreamReader) -> bytes:
    """Read an answer without a body, up to its head's end."""
    return await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)


async def is_closed(reader: asyncio.StreamReader) -> bool:
    """Tell whether the server closes a connection, whenever it does."""
    return await asyncio.wait_for(reader.read(), 30) == b""


@pytest.fixture(autouse=True)
def bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", HTTP_PROTOCOLS["auto"])
    bound_connections()


class Slow:
    """An app that answers `/slow` when it may, and all else at once."""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await self.may.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize("sent", [b"", b"GET /v1/videos HTTP/1.1\r\nHost: local", b"POST / HTTP/1.1\r\n"])
def test_a_connection_that_does_not_send_a_head_is_closed(
    sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.api.connections.HEAD_SECONDS", 0.1)

    async def test() -> None:
        async with server(Slow()) as connect:
            reader, _ = await connect(sent)
            assert await is_closed(reader)

    asyncio.run(test())


def test_who_sends_a_byte_now_and_then_gains_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.api.connections.HEAD_SECONDS", 0.3)

    async def test() -> None:
        async with server(Slow()) as connect:
            reader, writer = await connect(REQUEST % b"")
            assert (await answer(reader)).startswith(b"HTTP/1.1 204")
            writer.write(b"GET / HTTP/1.1\r\nX-Long: ")  # the second request of the connection
            ended = asyncio.create_task(is_closed(reader))
            while not ended.done():
                writer.write(b"" if writer.is_closing() else b"x")
                await asyncio.sleep(0.02)
            assert ended.exception() is not None or ended.result()

    asyncio.run(test())


@pytest.mark.parametrize("length", [0, HEAD_BYTES])
def test_a_head_of_any_length_is_not_held(length: int) -> None:
    async def test() -> bool:
        async with server(Slow()) as connect:
            reader, writer = await connect(b"GET / HTTP/1.1\r\nX-Long: " + length * b"x")
            writer.write(b"x\r\n\r\n" if not length else b"x")
            try:
                return (await answer(reader)).startswith(b"HTTP/1.1 204")
            except (asyncio.IncompleteReadError, ConnectionError):
                return False

    assert asyncio.run(test()) is (length == 0)


def test_a_request_may_take_longer_than_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.api.connections.HEAD_SECONDS", 0.05)

    async def test() -> None:
        app = Slow()
        async with server(app) as connect:
            reader, writer = await connect(REQUEST % b"slow")
            silent, _ = await connect(b"")
            assert await is_closed(silent), "as long as this takes"
            app.may.set()
            assert (await answer(reader)).startswith(b"HTTP/1.1 204")
            writer.write(REQUEST % b"" + REQUEST % b"")  # two at once
            for _ in range(2):
                assert (await answer(reader)).startswith(b"HTTP/1.1 204")

    asyncio.run(test())


def test_of_too_many_connections_without_a_request_the_longest_waiting_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BoundedConnection, "most_waiting", 3)

    async def test() -> None:
        app = Slow()
        async with server(app) as connect:
            working, _ = await connect(REQUEST % b"slow")
            idle, _ = await connect(REQUEST % b"")
            await answer(idle)
            others = [await connect(b"GET") for _ in range(3)]
            assert await is_closed(idle), "it has waited longest"
            app.may.set()
            assert (await answer(working)).startswith(b"HTTP/1.1 204"), "one at work is left alone"
            assert await is_closed(others[0][0]), "it waits now, too"

    asyncio.run(test())


class Refusing:
    """An app that answers without reading bodies."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-length", b"4"), (b"x-path", scope["path"].encode())]
        await send({"type": "http.response.start", "status": 429, "headers": headers})
        await send({"type": "http.response.body", "body": b"Not."})


def _posts(port: int, size: int, headers: dict[str, str]) -> list[int]:
    """Send bodies as `http.client` does, which reads nothing before all is sent: two, on one connection if it stays."""
    connection = HTTPConnection("127.0.0.1", port, timeout=patience(30))
    statuses = []
    for _ in range(2):
        connection.request("POST", "/v1/videos", bytes(size), headers)
        with connection.getresponse() as answered:
            statuses.append(answered.status)
            answered.read()
    connection.close()
    return statuses


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}])
@pytest.mark.parametrize("size", [HEAD_BYTES // 2, 5_000_000, 30_000_000])
def test_an_answer_that_comes_before_all_of_a_body_is_not_lost(size: int, headers: dict[str, str]) -> None:
    async def test() -> list[int]:
        async with server(Refusing()) as connect:
            _, writer = await connect(b"")
            return await asyncio.to_thread(_posts, writer.get_extra_info("peername")[1], size, headers)

    assert asyncio.run(test()) == [429, 429]


def test_a_rest_of_a_body_and_the_next_head_may_come_together() -> None:
    async def test() -> None:
        async with server(Refusing()) as connect:
            size = 3 * HEAD_BYTES
            reader, writer = await connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size)
            assert (await answer(reader)).startswith(b"HTTP/1.1 429")
            await reader.readexactly(4)
            next_head = REQUEST % b"next"
            writer.write(bytes(size) + next_head[:9])
            await writer.drain()
            writer.write(next_head[9:])
            assert b"x-path: /next" in await answer(reader)

    asyncio.run(test())


@pytest.mark.parametrize("close", [b"", b"Connection: close\r\n"])
def test_a_rest_of_a_body_that_does_not_come_ends_its_connection(
    close: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.api.connections.REST_SECONDS", 0.2)

    async def test() -> None:
        async with server(Refusing()) as connect:
            reader, writer = await connect(
                b"POST / HTTP/1.1\r\nHost: a\r\n%sContent-Length: 9999999\r\n\r\n" % close
            )
            assert (await answer(reader)).startswith(b"HTTP/1.1 429")
            await reader.readexactly(4)
            ended = asyncio.create_task(is_closed(reader))
            while not ended.done():  # a byte now and then gains no time
                writer.write(b"" if writer.is_closing() else b"x")
                await asyncio.sleep(0.02)
            assert ended.exception() is not None or ended.result()

    asyncio.run(test())


def test_after_the_rest_of_a_body_a_head_is_bounded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.api.connections.HEAD_SECONDS", 0.1)

    async def test() -> None:
        async with server(Refusing()) as connect:
            reader, writer = await connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n")
            await answer(reader)
            await reader.readexactly(4)
            writer.write(bytes(100))
            await writer.drain()
            writer.write(b"GET / HTTP")
            assert await is_closed(reader)

    asyncio.run(test())


class Endless:
    """An app whose answer does not end by itself, and which notes when its client is gone."""

    def __init__(self) -> None:
        self.client_is_gone = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def write() -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": 2**20 * b"x", "more_body": True})
                await asyncio.sleep(0)

        writing = asyncio.create_task(write())
        await receive()  # the request's empty body
        await receive()  # the end of the connection
        writing.cancel()
        self.client_is_gone.set()


def test_a_client_that_reads_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.api.connections.STALL_SECONDS", 0.1)

    async def test() -> None:
        app = Endless()
        async with server(app) as connect:
            await connect(REQUEST % b"")
            await asyncio.wait_for(app.client_is_gone.wait(), 30)

    asyncio.run(test())


def test_a_client_that_reads_slowly_is_given_its_time_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    resumed: list[asyncio.TimerHandle | None] = []

    class Watched(BoundedConnection):
        def resume_writing(self) -> None:
            super().resume_writing()
            resumed.append(self._stall)

    monkeypatch.setattr("raypipe.api.connections.BoundedConnection", Watched)

    async def test() -> None:
        async with server(Endless()) as connect:
            reader, _ = await connect(REQUEST % b"")
            while not resumed:
                assert await asyncio.wait_for(reader.read(2**20), 30)

    asyncio.run(test())
    assert resumed[0] is None
