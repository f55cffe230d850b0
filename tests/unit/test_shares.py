"""Shares of the service: nobody's requests, however many and slow, keep others out."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from raypipe.api.limits import MOST_HELD, SMALL, BodyLimit
from raypipe.api.shares import CALLER_SHARES, POOL_SIZES, Shares, address_of
from raypipe.api.turns import TURNS, Turns
from raypipe.config import Settings, trust_proxies
from raypipe.serving import Api, Coordination

SHARE = 3


class Service:
    """An app that answers at once, ends its answers when it may, and knows one key, as the service does."""

    def __init__(self) -> None:
        self.ends = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()
        self.taken = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.taken += 1
        await self.answers.wait()
        key = dict(scope["headers"]).get(b"authorization", b"")
        status = 401 if key.startswith(b"Bearer rp_invented") else 200
        await send({"type": "http.response.start", "status": status, "headers": []})
        if status == 200 and scope["path"] == "/v1/events":
            await self.ends.wait()
        await send({"type": "http.response.body", "body": b""})


class Client:
    """A caller at an address, with or without a key."""

    def __init__(self, app: Any, address: str = "192.0.2.1", key: str | None = None) -> None:
        self._app, self._address = app, address
        self._headers = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
        self.streams: list[asyncio.Task[tuple[int, bool]]] = []

    async def get(self, path: str = "/v1/events", method: str = "GET", body: Any = None) -> tuple[int, bool]:
        """Ask, and give the status and whether it is said when to come again."""
        answers: list[dict[str, Any]] = []

        async def receive() -> dict[str, Any]:
            await (body or asyncio.Event()).wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: dict[str, Any]) -> None:
            answers.append(message)

        scope = {"type": "http", "method": method, "path": path, "headers": self._headers}
        await self._app({**scope, "client": (self._address, 1), "state": {}}, receive, send)
        return answers[0]["status"], b"retry-after" in dict(answers[0]["headers"])

    async def follow(self, streams: int) -> list[int]:
        """Open streams, and give the statuses of those that were refused."""
        opened = [asyncio.create_task(self.get()) for _ in range(streams)]
        await _settled()
        self.streams += [stream for stream in opened if not stream.done()]
        return [stream.result()[0] for stream in opened if stream.done()]

    async def hang_up(self) -> None:
        """Cut all streams off."""
        for stream in self.streams:
            stream.cancel()
        await asyncio.gather(*self.streams, return_exceptions=True)


async def _settled() -> None:
    """Let all that can go on go on."""
    for _ in range(50):
        await asyncio.sleep(0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, requests_per_caller=SHARE, require_keys=True)


def test_a_key_has_a_share_wherever_it_comes_from_and_others_have_theirs(settings: Settings) -> None:
    async def test() -> None:
        shares = Shares(Service(), settings)
        first, elsewhere = Client(shares, key="rp_1"), Client(shares, "192.0.2.9", "rp_1")
        assert await first.get("/v1/videos") == (200, False)
        assert await first.follow(SHARE + 2) == [429] * 2
        assert await elsewhere.get("/v1/videos") == (429, True)
        for other in (Client(shares, key="rp_2"), Client(shares), Client(shares, "192.0.2.9")):
            assert await other.get("/v1/videos") == (200, False)
        await first.hang_up()
        assert shares.under_way == 0
        assert await elsewhere.get("/v1/videos") == (200, False)

    asyncio.run(test())


def test_streams_count_until_they_end(settings: Settings) -> None:
    async def test() -> None:
        service = Service()
        shares = Shares(service, settings)
        client = Client(shares)
        assert await client.follow(SHARE) == []
        assert await client.get("/v1/videos") == (429, True)
        service.ends.set()
        await asyncio.gather(*client.streams)
        assert await client.get("/v1/videos") == (200, False)
        assert shares.under_way == 0

    asyncio.run(test())


def test_health_and_vendors_webhooks_get_in_when_a_share_is_used_up(settings: Settings) -> None:
    async def test() -> None:
        shares = Shares(Service(), settings)
        client = Client(shares)
        await client.follow(SHARE)
        assert (await client.get("/v1/session", "POST"))[0] == 429
        for path in ("/healthz", "/readyz", "/-/healthz"):
            assert await client.get(path) == (200, False)
        assert await client.get("/v1/hooks/fal", "POST") == (200, False)
        await client.hang_up()

    asyncio.run(test())


def test_who_invents_keys_has_the_share_of_an_address_and_no_key_is_kept_out_elsewhere(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(CALLER_SHARES, "new key", 2)

    async def test() -> None:
        service = Service()
        shares = Shares(service, settings)
        assert await Client(shares, key="rp_known").get("/v1/videos") == (200, False)
        service.answers.clear()
        invented = [
            asyncio.create_task(Client(shares, key=f"rp_invented_{number}").get()) for number in range(5)
        ]
        await _settled()
        assert [task.result() for task in invented if task.done()] == [(429, True)] * 3
        known = asyncio.create_task(Client(shares, key="rp_known").get("/v1/videos"))
        new = asyncio.create_task(Client(shares, "192.0.2.9", "rp_new").get("/v1/videos"))
        await _settled()
        service.answers.set()
        assert await asyncio.gather(known, new) == [(200, False)] * 2
        assert {(await task)[0] for task in invented} == {401, 429}
        assert (await Client(shares, key="rp_invented_0").get())[0] == 401, "it was not learned"
        assert shares.under_way == 0

    asyncio.run(test())


def test_a_key_that_opens_nothing_any_more_has_no_share_of_its_own(settings: Settings) -> None:
    async def test() -> None:
        revoked = False

        async def service(scope: Any, receive: Any, send: Any) -> None:
            status = 401 if revoked else 200
            await send({"type": "http.response.start", "status": status, "headers": []})

        shares = Shares(service, settings)
        client = Client(shares, key="rp_1")
        await client.get()
        assert shares._keys.know("rp_1")
        revoked = True
        await client.get()
        assert not shares._keys.know("rp_1")

    asyncio.run(test())


def test_many_callers_together_leave_room_for_others_and_are_told_that_it_is_busy(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(POOL_SIZES, "address", 5)

    async def test() -> None:
        shares = Shares(Service(), settings)
        strangers = [Client(shares, f"198.51.100.{number}") for number in range(6)]
        refused = [status for stranger in strangers for status in await stranger.follow(1)]
        assert refused == [503]
        assert await strangers[-1].get("/v1/videos") == (503, True)
        assert await Client(shares, key="rp_1").get("/v1/videos") == (200, False)
        assert await strangers[-1].get("/healthz") == (200, False)
        for stranger in strangers:
            await stranger.hang_up()

    asyncio.run(test())


def test_a_post_whose_client_hung_up_counts_until_nobody_works_on_it(settings: Settings) -> None:
    async def test() -> None:
        is_done, body = asyncio.Event(), asyncio.Event()
        body.set()

        async def work(scope: Any, receive: Any, send: Any) -> None:
            await is_done.wait()
            await send({"type": "http.response.start", "status": 200, "headers": []})

        shares = Shares(BodyLimit(work, 100), settings)
        posts = [asyncio.create_task(Client(shares).get("/v1/plans", "POST", body)) for _ in range(SHARE)]
        await _settled()
        for post in posts:
            post.cancel()
        await _settled()
        assert await Client(shares).get("/v1/plans", "POST", body) == (429, True)
        is_done.set()
        await _settled()
        assert shares.under_way == 0

    asyncio.run(test())


def test_what_shares_let_in_never_waits_for_a_place_in_the_service() -> None:
    assert sum(POOL_SIZES.values()) <= Api.max_ongoing_requests  # type: ignore[attr-defined] # it is a Deployment
    assert POOL_SIZES["health"] <= Coordination.max_ongoing_requests  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("one", "other", "are_one"),
    [
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8::1", "2001:db8::ffff:2", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_an_address_is_one_caller_and_so_is_a_network_of_ipv6(one: str, other: str, are_one: bool) -> None:
    assert (address_of({"client": (one, 1)}) == address_of({"client": (other, 9)})) is are_one


def test_one_caller_waits_for_its_turn_and_nobody_else_does(settings: Settings) -> None:
    async def test() -> None:
        service = Service()
        roomy = settings.model_copy(update={"requests_per_caller": 10 * TURNS})
        app = Shares(Turns(service), roomy)
        greedy = Client(app)
        service.answers.clear()
        assert await greedy.follow(3 * TURNS) == []
        assert service.taken == TURNS
        other = asyncio.create_task(Client(app, "192.0.2.2").get("/v1/videos"))
        await _settled()
        assert service.taken == TURNS + 1
        for stream in greedy.streams[:TURNS]:
            stream.cancel()
        await _settled()
        assert service.taken == 2 * TURNS + 1, "who hangs up makes room for the next"
        service.answers.set()
        await _settled()
        assert service.taken == 3 * TURNS + 1, "who is answered needs no turn, though its stream goes on"
        assert await other == (200, False)
        await greedy.hang_up()
        assert app.under_way == 0

    asyncio.run(test())


def test_one_caller_holds_half_of_the_room_for_bodies(settings: Settings) -> None:
    limit = 4 * SMALL

    async def test() -> None:
        whole = asyncio.Event()

        async def service(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

        roomy = settings.model_copy(update={"requests_per_caller": 100})
        app = Shares(BodyLimit(service, limit), roomy)

        async def post(address: str) -> int:
            parts, statuses = [b"x" * limit], list[int]()

            async def receive() -> dict[str, Any]:
                if not parts:
                    await whole.wait()
                    return {"type": "http.request", "body": b"", "more_body": False}
                return {"type": "http.request", "body": parts.pop(), "more_body": True}

            async def send(message: dict[str, Any]) -> None:
                statuses.append(message.get("status", 0))

            scope = {"type": "http", "method": "POST", "path": "/v1/videos", "headers": []}
            await app({**scope, "client": (address, 1)}, receive, send)
            return statuses[0]

        slow = [asyncio.create_task(post("192.0.2.1")) for _ in range(MOST_HELD)]
        await _settled()
        assert [task.result() for task in slow if task.done()] == [429] * (MOST_HELD // 2)
        other = asyncio.create_task(post("192.0.2.2"))
        await _settled()
        assert not other.done()
        whole.set()
        assert await other == 200
        await asyncio.gather(*slow)

    asyncio.run(test())


def test_whoever_invents_keys_holds_half_of_the_room_for_bodies_together(settings: Settings) -> None:
    limit = 4 * SMALL

    async def test() -> None:
        whole = asyncio.Event()

        async def service(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

        roomy = settings.model_copy(update={"requests_per_caller": 100})
        app = Shares(BodyLimit(service, limit), roomy)

        async def post(address: str, key: bytes) -> int:
            parts, statuses = [b"x" * limit], list[int]()

            async def receive() -> dict[str, Any]:
                if not parts:
                    await whole.wait()
                    return {"type": "http.request", "body": b"", "more_body": False}
                return {"type": "http.request", "body": parts.pop(), "more_body": True}

            async def send(message: dict[str, Any]) -> None:
                statuses.append(message.get("status", 0))

            headers = [(b"authorization", b"Bearer " + key)]
            scope = {"type": "http", "method": "POST", "path": "/v1/plans", "headers": headers}
            await app({**scope, "client": (address, 1)}, receive, send)
            return statuses[0]

        assert (await Client(app, key="rp_known").get("/v1/videos"))[0] == 200
        slow = list[asyncio.Task[int]]()
        for number in range(4):  # addresses
            invented = [b"rp_invented_%d" % key for key in range(MOST_HELD)]
            slow += [asyncio.create_task(post(f"192.0.2.{number}", key)) for key in invented]
        await _settled()
        held = MOST_HELD // 2
        assert [task.result() for task in slow if task.done()] == [429] * (len(slow) - held)
        assert not any(task.done() for task in slow[: held // 2]), "an address holds half of that"
        known = [asyncio.create_task(post("192.0.2.9", b"rp_known")) for _ in range(MOST_HELD - held)]
        await _settled()
        assert not any(task.done() for task in known)
        whole.set()
        assert await asyncio.gather(*known) == [200] * len(known)
        await asyncio.gather(*slow)

    asyncio.run(test())


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test sets there is put back after it."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        ((), "203.0.113.5", "127.0.0.1"),
        (("127.0.0.1",), "203.0.113.5", "203.0.113.5"),
        (("127.0.0.0/8",), "invented, 203.0.113.5", "203.0.113.5"),
        (("192.0.2.1",), "203.0.113.5", "127.0.0.1"),
    ],
)
def test_forwarded_addresses_count_from_a_proxy_that_is_named_alone(
    proxies: tuple[str, ...], forwarded: str, address: str, tmp_path: Path
) -> None:
    trust_proxies(Settings(data_dir=tmp_path, trusted_proxies=proxies))
    seen: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(address_of(scope))
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def test() -> None:
        config = uvicorn.Config(app, host="127.0.0.1", port=0, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
            await client.get("/", headers={"X-Forwarded-For": forwarded})
        server.should_exit = True
        await serving

    asyncio.run(test())
    assert seen == [address]


def test_a_proxy_that_is_no_address_is_an_invalid_setting(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no address and no network"):
        Settings(data_dir=tmp_path, trusted_proxies=("proxy.example.org",))
