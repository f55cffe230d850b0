"""What Serve's proxy is wrapped in."""

import asyncio
from typing import Any

import httpx
import pytest
from ray.serve._private.proxy import HTTPProxy
from ray.serve._private.proxy_request_response import ASGIProxyRequest, ResponseStatus
from starlette.responses import PlainTextResponse
from uvicorn.config import HTTP_PROTOCOLS, Config

from raypipe.api.answers import OwnAnswers
from raypipe.api.connections import BoundedConnection
from raypipe.api.failures import failure
from raypipe.api.proxy import MOST_CREATES, BodiesFirst, OwnHeadersAlone, RoutesAwaited, in_proxy
from raypipe.api.shares import Shares
from raypipe.api.turns import Turns


class Client:
    """A request through a middleware, and its answer."""

    def __init__(self, *headers: tuple[bytes, bytes], path: str = "/v1/videos") -> None:
        self.scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
        self.status = 0
        self.sends = asyncio.Event()

    async def ask(self, app: Any) -> int:
        await app(self.scope, self._receive, self._send)
        return self.status

    async def _receive(self) -> dict[str, Any]:
        await self.sends.wait()
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def _send(self, message: dict[str, Any]) -> None:
        self.status = message.get("status", self.status)


def sending(*headers: tuple[bytes, bytes], path: str = "/v1/videos") -> Client:
    client = Client(*headers, path=path)
    client.sends.set()
    return client


def test_more_new_videos_than_can_be_in_time_are_refused_and_nothing_else_is() -> None:
    async def scenario() -> None:
        accepts = asyncio.Event()

        async def replica(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await accepts.wait()
            await send({"type": "http.response.start", "status": 202})

        app = BodiesFirst(replica, 1_000)
        slow = [asyncio.create_task(Client().ask(app)) for _ in range(50)]  # their bodies never come
        taken = [asyncio.create_task(sending().ask(app)) for _ in range(MOST_CREATES)]
        await asyncio.sleep(0.01)
        assert [await sending().ask(app) for _ in range(3)] == [429] * 3
        others = [
            sending((b"prefer", b"wait=9")),
            sending(path="/v1/plans"),
            sending(path="/v1/videos/x/cancel"),
        ]
        passed = [asyncio.create_task(each.ask(app)) for each in others]
        await asyncio.sleep(0.01)
        accepts.set()
        assert await asyncio.gather(*taken, *passed) == [202] * (MOST_CREATES + 3)
        assert await sending().ask(app) == 202, "there is room again"
        for task in slow:
            task.cancel()

    asyncio.run(scenario())


def test_no_client_tells_serve_how_long_to_wait() -> None:
    async def scenario() -> None:
        seen: list[Any] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.extend(scope["headers"])

        kept = (b"host", b"localhost")
        client = sending(
            kept, (b"x-request-timeout-seconds", b"1"), (b"x-request-disconnect-disabled", b"?1")
        )
        await client.ask(OwnHeadersAlone(app))
        assert seen == [kept]

    asyncio.run(scenario())


def test_serve_makes_its_server_with_all_that_guards_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
    monkeypatch.setenv("RAYPIPE_TRUSTED_PROXIES", '["10.0.0.0/8", "192.0.2.7"]')
    monkeypatch.setitem(HTTP_PROTOCOLS, "auto", HTTP_PROTOCOLS["auto"])
    inner_first = [RoutesAwaited, Turns, BodiesFirst, OwnHeadersAlone, Shares, OwnAnswers]
    assert [middleware.cls for middleware in in_proxy()] == inner_first
    config = Config(without_video)
    config.load()
    assert config.http_protocol_class is BoundedConnection
    assert config.forwarded_allow_ips == "10.0.0.0/8,192.0.2.7"


async def silent(scope: Any, receive: Any, send: Any) -> None:
    """End as Serve's proxy does where the replica dies that works on a request."""


async def half(scope: Any, receive: Any, send: Any) -> None:
    """Answer as Serve's proxy does where the replica dies within its answer."""
    await send({"type": "http.response.start", "status": 202, "headers": []})


async def unavailable(scope: Any, receive: Any, send: Any) -> None:
    """Answer as Serve's proxy does where there is no replica."""
    await PlainTextResponse("Deployment is unavailable", 503)(scope, receive, send)


async def broken(scope: Any, receive: Any, send: Any) -> None:
    """Fail as no proxy should."""
    raise ZeroDivisionError


@pytest.mark.parametrize("app", [silent, half, unavailable, broken])
@pytest.mark.parametrize(
    ("path", "headers", "may_be_sent_again"),
    [
        ("/v1/videos", {}, False),
        ("/v1/videos", {"Idempotency-Key": "x"}, True),
        ("/v1/videos/vid_1/beats/1", {"Idempotency-Key": "of no use here"}, False),
    ],
)
def test_a_post_whose_replica_dies_is_503_in_our_words_and_says_whether_to_send_it_again(
    app: Any, path: str, headers: dict[str, str], may_be_sent_again: bool
) -> None:
    answer = asyncio.run(_ask(OwnAnswers(app), "POST", path, headers))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "answer_lost")
    assert answer.headers.get("x-should-retry") == (None if may_be_sent_again else "false")
    assert ("retry-after" in answer.headers) == may_be_sent_again


@pytest.mark.parametrize("app", [silent, unavailable, broken])
def test_a_get_whose_replica_dies_is_503_in_our_words(app: Any) -> None:
    answer = asyncio.run(_ask(OwnAnswers(app)))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "answer_lost")
    assert (answer.headers["retry-after"], "x-should-retry" in answer.headers) == ("1", False)


def test_answers_of_the_service_are_passed_on_as_they_are() -> None:
    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        await failure(503, "journal_unavailable", "Later.", headers={"Retry-After": "5"})(
            scope, receive, send
        )

    for app, status in ((refuses, 503), (without_video, 404)):
        for method in ("GET", "POST"):
            answer = asyncio.run(_ask(OwnAnswers(app), method))
            assert (answer.status_code, "x-should-retry" in answer.headers) == (status, False)


async def without_routes(scope: Any, receive: Any, send: Any) -> None:
    """Answer as Serve's proxy does while it knows no routes."""
    request = ASGIProxyRequest(scope=scope, receive=receive, send=send)
    async for message in HTTPProxy.not_found_response(None, request):
        if not isinstance(message, ResponseStatus):
            await send(message)


async def without_video(scope: Any, receive: Any, send: Any) -> None:
    """Answer as the service does where there is no such video."""
    await failure(404, "video_not_found", "There is no such video.")(scope, receive, send)


async def cut_off(scope: Any, receive: Any, send: Any) -> None:
    """Answer as Serve's proxy does where a replica dies in the middle of its answer."""
    await send({"type": "http.response.start", "status": 404, "headers": []})


def test_a_proxy_that_knows_no_routes_does_not_say_that_there_is_no_video() -> None:
    async def scenario() -> None:
        apps = [without_routes, without_routes, without_video, without_routes]

        async def proxy(scope: Any, receive: Any, send: Any) -> None:
            await apps.pop(0)(scope, receive, send)

        app = RoutesAwaited(proxy)
        for method in ("GET", "HEAD"):
            answer = await _ask(app, method)
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["content-type"] == "application/json"
        assert (await _ask(app)).json()["error"]["code"] == "video_not_found"
        assert "/-/routes" in (await _ask(app)).text, "it knows them now, and this path is of no application"

    asyncio.run(scenario())


def test_what_is_cut_off_is_passed_on() -> None:
    client = sending()
    assert asyncio.run(client.ask(RoutesAwaited(cut_off))) == 404


async def _ask(
    app: Any, method: str = "GET", path: str = "/v1/videos/x", headers: dict[str, str] | None = None
) -> httpx.Response:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.request(method, path, headers=headers)
