"""What Serve's proxy is wrapped in."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
from ray.serve._private.proxy import HTTPProxy
from ray.serve._private.proxy_request_response import ASGIProxyRequest, ResponseStatus
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from uvicorn.config import HTTP_PROTOCOLS, Config

from raypipe.api.answers import OwnAnswers
from raypipe.api.callers import HEALTH_PATHS
from raypipe.api.commits import SaysCommitted, say_committed
from raypipe.api.connections import BoundedConnection
from raypipe.api.failures import failure
from raypipe.api.proxy import MOST_CREATES, BodiesFirst, OwnHeadersAlone, RoutesAwaited, in_proxy
from raypipe.api.shares import CALLER_SHARES, Shares
from raypipe.api.turns import TURNS, Turns
from raypipe.config import Settings
from tests.patience import patience


class Client:
    """A request through a middleware, and its answer."""

    def __init__(self, *headers: tuple[bytes, bytes], path: str = "/v1/videos") -> None:
        here = {"client": ("127.0.0.1", 1)}
        self.scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers), **here}
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


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


def test_more_new_videos_than_can_be_in_time_are_refused_and_nothing_else_is(settings: Settings) -> None:
    async def scenario() -> None:
        accepts = asyncio.Event()

        async def replica(scope: Any, receive: Any, send: Any) -> None:
            await receive()
            await accepts.wait()
            await send({"type": "http.response.start", "status": 202})

        app = BodiesFirst(replica, settings)
        slow = [asyncio.create_task(Client().ask(app)) for _ in range(50)]  # their bodies never come
        taken = [asyncio.create_task(sending().ask(app)) for _ in range(MOST_CREATES)]
        await asyncio.sleep(0.01)
        refused = [sending(), sending((b"prefer", b"wait=9")), sending((b"prefer", b"x"))]
        assert [await at_once(client, app) for client in refused] == [429] * 3
        others = [sending(path="/v1/plans"), sending(path="/v1/videos/x/cancel")]
        passed = [asyncio.create_task(each.ask(app)) for each in others]
        await asyncio.sleep(0.01)
        accepts.set()
        assert await asyncio.gather(*taken, *passed) == [202] * (MOST_CREATES + 2)
        assert await sending().ask(app) == 202, "there is room again"
        for task in slow:
            task.cancel()

    asyncio.run(scenario())


class Service:
    """A service that notes what it has taken, commits new videos when it may, and answers when it may."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.commits, self.answers = asyncio.Event(), asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Take a request, as the application does."""
        self.taken.append(scope["path"])
        while (await receive()).get("more_body"):
            pass
        await SaysCommitted(self._create if scope["path"] == "/v1/videos" else self._answer)(
            scope, receive, send
        )

    async def _create(self, scope: Any, receive: Any, send: Any) -> None:
        await self.commits.wait()
        await say_committed(Request(scope))
        await self._answer(scope, receive, send)

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        await self.answers.wait()
        await PlainTextResponse("Done.", 202)(scope, receive, send)


def wrapped(service: Any, settings: Settings) -> Any:
    """A service as Serve's proxy wraps it."""
    return OwnAnswers(Shares(BodiesFirst(Turns(service), settings), settings))


async def at_once(client: Client, app: Any) -> int:
    """Give the status of a request that is answered at once; 0 if it is not."""
    asking = asyncio.create_task(client.ask(app))
    await settled()
    asking.cancel()
    return asking.result() if asking.done() else 0


async def settled() -> None:
    """Let all that can go on go on."""
    for _ in range(200):
        await asyncio.sleep(0)


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("path", HEALTH_PATHS)
def test_health_waits_for_no_body_and_who_sends_one_slowly_takes_no_place_from_it(
    path: str, method: str, settings: Settings
) -> None:
    async def scenario() -> None:
        service = Service()
        service.answers.set()
        app = wrapped(service, settings)
        for _ in range(2 * CALLER_SHARES["health"]):
            client = Client(path=path)
            client.scope["method"] = method
            assert await at_once(client, app) == 202, "the service says what it takes"

    asyncio.run(scenario())


def test_what_is_no_question_after_health_counts_in_no_share_of_it(settings: Settings) -> None:
    async def scenario() -> None:
        app = wrapped(Service(), settings)
        held = [
            asyncio.create_task(sending(path="/healthz").ask(app)) for _ in range(CALLER_SHARES["health"])
        ]
        await settled()
        probe = sending(path="/healthz")
        probe.scope["method"] = "GET"
        asking = asyncio.create_task(probe.ask(app))
        await settled()
        assert probe.status == 0, "it waits for the service, and is not refused"
        for task in (*held, asking):
            task.cancel()

    asyncio.run(scenario())


@pytest.mark.parametrize("path", ["/v1/plans", "/v1/videos/x/beats/1", "/v1/videos/x/cancel", "/v1/videos"])
@pytest.mark.parametrize("headers", [[], [(b"authorization", b"Bearer rp_new")]], ids=["no key", "new key"])
def test_bodies_that_come_slowly_keep_no_turn_from_their_callers_other_requests(
    path: str, headers: list[tuple[bytes, bytes]], settings: Settings
) -> None:
    async def scenario() -> None:
        service = Service()
        service.answers.set()
        app = wrapped(service, settings)
        slow = [asyncio.create_task(Client(*headers, path=path).ask(app)) for _ in range(2 * TURNS)]
        await settled()
        other = asyncio.create_task(sending(*headers, path="/v1/videos/y/cancel").ask(app))
        await settled()
        assert other.done(), "it waits for nobody's body"
        assert service.taken == ["/v1/videos/y/cancel"]
        for task in slow:
            task.cancel()

    asyncio.run(scenario())


def test_what_shows_no_key_where_one_is_needed_is_not_read(settings: Settings) -> None:
    async def refuses(scope: Any, receive: Any, send: Any) -> None:
        await failure(401, "not_authenticated", "A key is needed.")(scope, receive, send)

    async def scenario() -> None:
        app = wrapped(refuses, settings.model_copy(update={"require_keys": True}))
        async with asyncio.timeout(patience(5)):
            for headers in ([], [(b"authorization", b"Bearer sk-of-others")]):
                assert await Client(*headers).ask(app) == 401

    asyncio.run(scenario())


@pytest.mark.parametrize("prefer", ["x", "wait", "wait=", "wait=soon", "wait=20", "respond-async"])
def test_what_a_client_prefers_takes_it_past_no_bound(prefer: str, settings: Settings) -> None:
    prefers = (b"prefer", prefer.encode())

    async def scenario() -> None:
        service = Service()
        app = wrapped(service, settings)
        roomy = [asyncio.create_task(sending(prefers).ask(app)) for _ in range(3 * MOST_CREATES)]
        await settled()
        assert service.taken == ["/v1/videos"] * MOST_CREATES
        assert [task.result() for task in roomy if task.done()] == [429] * 2 * MOST_CREATES
        others = [asyncio.create_task(sending(prefers, path="/v1/plans").ask(app)) for _ in range(3 * TURNS)]
        await settled()
        assert len(service.taken) == TURNS
        service.commits.set()
        service.answers.set()
        assert await asyncio.gather(*others) == [202] * 3 * TURNS

    asyncio.run(scenario())


def test_who_waits_for_a_video_takes_a_place_and_a_turn_until_it_is_committed(settings: Settings) -> None:
    prefers = (b"prefer", b"wait=60")

    async def scenario() -> None:
        service = Service()
        app = wrapped(service, settings)
        waiting = list[Client]()
        asked = list[asyncio.Task[int]]()
        for _ in range(3 * TURNS // MOST_CREATES):
            service.commits.clear()
            more = [sending(prefers) for _ in range(MOST_CREATES)]
            asked += [asyncio.create_task(client.ask(app)) for client in more]
            waiting += more
            await settled()
            assert len(service.taken) == len(waiting)
            assert await at_once(sending(prefers), app) == 429, "all places are taken"
            service.commits.set()
            await settled()
        assert not any(task.done() or client.status for task, client in zip(asked, waiting, strict=True))
        service.answers.set()
        assert await asyncio.gather(*asked) == [202] * 3 * TURNS

    asyncio.run(scenario())


def test_nobody_else_is_told_that_a_video_is_committed(settings: Settings) -> None:
    async def scenario() -> None:
        service, seen = Service(), list[str]()
        service.commits.set()
        service.answers.set()

        async def send(message: Any) -> None:
            seen.append(message["type"])

        for app in (service, BodiesFirst(service, settings)):
            client = sending()
            await app(client.scope, client._receive, send)
        assert seen == ["http.response.start", "http.response.body"] * 2

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
