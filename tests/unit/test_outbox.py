"""Webhooks: told what became of videos, at least once, signed, and nowhere inside our own network."""

import asyncio
import ipaddress
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from raypipe import addresses, outbox
from raypipe.addresses import NotPublic, Pinned, is_public, public_only
from raypipe.api import create_app
from raypipe.artifacts import ArtifactStore
from raypipe.budgets import Customer
from raypipe.config import Settings
from raypipe.intake import accept
from raypipe.journal import ApiKey, Event, Journal, tables, webhooks
from raypipe.journal.webhooks import BACK_OFF
from raypipe.models import VideoRequest, VideoState
from raypipe.outbox import Outbox
from tests.patience import patience

Answer = Callable[[int], int]


class Receiver:
    """A server on this machine that keeps what it is told, and answers as it is told to."""

    def __init__(self, answer: Answer) -> None:
        self.url = ""
        self.told: list[tuple[dict[str, str], bytes]] = []
        self.hangs = False
        #: seconds that an answer takes
        self.takes = 0.0
        #: requests that wait for their answers, and the most that ever did
        self.waiting = self.most = 0
        self._answer = answer

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                lines = head.decode().split("\r\n")
                headers = {
                    name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                self.told.append((headers, body))
                self.waiting += 1
                self.most = max(self.most, self.waiting)
                await asyncio.sleep(60 if self.hangs else self.takes * (1 + len(self.told) % 3))
                self.waiting -= 1
                status = self._answer(len(self.told))
                where = "location: /elsewhere\r\n" if status // 100 == 3 else ""
                writer.write(f"HTTP/1.1 {status} X\r\n{where}content-length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    @property
    def ids(self) -> list[str]:
        return [headers["webhook-id"] for headers, _ in self.told]


@asynccontextmanager
async def receiving(answer: Answer = lambda _: 204) -> AsyncIterator[Receiver]:
    receiver = Receiver(answer)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        server.close()


class Installation:
    """A journal with webhooks, and what sends to them."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.settings = Settings(data_dir=folder, **({"allow_private_urls": True} | settings))
        self.journal = Journal(self.settings.journal_url)
        self._app = create_app(self.settings)
        self._store = ArtifactStore(self.settings.artifacts_url)
        self._running: list[asyncio.Task[None]] = []

    async def ask(self, method: str, path: str, **more: Any) -> httpx.Response:
        transport = httpx.ASGITransport(self._app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **more)

    async def add(self, url: str) -> dict[str, Any]:
        answer = await self.ask("POST", "/v1/webhooks", json={"url": url})
        assert answer.status_code == 201, answer.text
        added: dict[str, Any] = answer.json()
        return added

    async def end(self, state: VideoState, tenant: str = "local", **columns: Any) -> str:
        """Have a video end, as its rows say it."""
        request = VideoRequest(prompt="a boat", duration=5, model="simulated")
        video, rows = accept(request, self.settings, self.journal, self._store, customer=Customer(tenant))
        end = self.journal.finish(video.id, state, **columns)
        told = self.journal.event(Event(video_id=video.id, kind=f"video.{state}"))
        await self.journal.writer.put(*rows, end, told)
        return video.id

    def attempts(self) -> list[int]:
        """Return how often those messages were sent that are not sent again."""
        attempt, ended_at = tables.webhook_messages.c.attempt, tables.webhook_messages.c.ended_at
        return [
            row.attempt for row in self.journal._read(select(attempt).where(ended_at.is_not(None)), "them")
        ]

    def send(self) -> None:
        self._running.append(asyncio.create_task(Outbox(self.settings, self.journal).run()))

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self.journal.close()


async def until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + patience(seconds)
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        await asyncio.sleep(0.02)


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LOOK", 0.05)
    monkeypatch.setattr(webhooks, "BACK_OFF", (0.1,) * len(BACK_OFF))


def test_back_off_goes_on_for_about_a_day() -> None:
    assert 0.9 * 86_400 < sum(BACK_OFF) < 1.2 * 86_400
    assert list(BACK_OFF) == sorted(BACK_OFF)


def test_what_becomes_of_videos_is_told_signed_and_once(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = Installation(tmp_path)
        async with receiving() as receiver:
            await here.end(VideoState.FAILED)  # before there was anybody to tell
            added = await here.add(receiver.url)
            here.send()
            here.send()  # a second service on the same journal
            videos = [await here.end(VideoState.COMPLETED) for _ in range(8)]
            failed = await here.end(VideoState.FAILED, error_code="provider_rejected", error_message="no")
            await here.end(VideoState.COMPLETED, tenant="alice")
            await until(lambda: len(receiver.told) >= 9)
            await asyncio.sleep(0.3)
            bodies = [json.loads(body) for _, body in receiver.told]
            assert sorted(body["data"]["id"] for body in bodies) == sorted([*videos, failed])
            assert len(set(receiver.ids)) == 9
            for headers, body in receiver.told:
                Webhook(added["secret"]).verify(body, headers)
                with pytest.raises(WebhookVerificationError):
                    Webhook(added["secret"]).verify(body.replace(b"vid_", b"vid-"), headers)
            said = next(body for body in bodies if body["data"]["id"] == failed)
            assert said["type"] == "video.failed"
            assert said["data"]["error"] == {"code": "provider_rejected", "message": "no"}
        await here.close()
        files = b"".join(file.read_bytes() for file in tmp_path.glob("journal.db*"))
        assert added["secret"].encode() not in files

    asyncio.run(scenario())


def test_what_is_not_taken_is_told_again_under_the_same_id(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = Installation(tmp_path)
        async with receiving(lambda number: (500, 302, 429)[number - 1] if number < 4 else 200) as receiver:
            await here.add(receiver.url)
            here.send()
            await here.end(VideoState.COMPLETED)
            await until(lambda: len(receiver.told) == 4)
            await asyncio.sleep(0.4)
            assert len(receiver.told) == 4, "it was taken"
            assert len(set(receiver.ids)) == 1
        await here.close()

    asyncio.run(scenario())


def test_a_webhook_that_is_gone_is_told_nothing_more(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = Installation(tmp_path)
        async with receiving(lambda _: 410) as receiver:
            added = await here.add(receiver.url)
            here.send()
            await here.end(VideoState.COMPLETED)
            await until(lambda: here.journal.webhooks.of("local")[0].disabled_at is not None)
            told = len(receiver.told)
            await here.end(VideoState.COMPLETED)
            await asyncio.sleep(0.4)
            assert len(receiver.told) == told
            (shown,) = (await here.ask("GET", "/v1/webhooks")).json()["data"]
            assert (shown["id"], shown["status"]) == (added["id"], "disabled")
            assert "secret" not in shown
        await here.close()

    asyncio.run(scenario())


def test_who_never_takes_it_is_given_up_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(webhooks, "BACK_OFF", (0.05,) * 2)

    async def scenario() -> None:
        here = Installation(tmp_path)
        async with receiving() as hanging, receiving() as quick:
            hanging.hangs = True
            await here.add(hanging.url)
            await here.add(quick.url)
            here.send()
            await here.end(VideoState.COMPLETED)
            await until(lambda: len(quick.told) == 1, 2.0)
            await until(lambda: sorted(here.attempts()) == [1, 3])  # the first time and two more
            # not three: on a machine that is busy its time may be over before it has read anything
            told = len(hanging.told)
            await asyncio.sleep(0.6)
            assert (sorted(here.attempts()), len(hanging.told)) == ([1, 3], told)
        await here.close()

    asyncio.run(scenario())


def test_what_a_killed_sender_had_is_sent_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhooks, "SENDING", 0.3)

    async def scenario() -> None:
        here = Installation(tmp_path)
        async with receiving() as receiver:
            await here.add(receiver.url)
            await here.end(VideoState.COMPLETED)
            (taken,) = await here.journal.webhooks.due(10)  # and whoever took it is never heard of again
            assert await here.journal.webhooks.due(10) == []
            here.send()
            await until(lambda: receiver.ids == [taken.id])
            await here.journal.webhooks.not_told(
                taken, "it was"
            )  # the dead one wakes up, and changes nothing
            await asyncio.sleep(0.5)
            assert receiver.ids == [taken.id]
        await here.close()

    asyncio.run(scenario())


def test_webhooks_are_their_tenants_alone(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = Installation(tmp_path)
        added = await here.add("http://127.0.0.1:1/")
        key = await here.journal.keys.create(ApiKey(name="bob", tenant="bob"))
        as_bob = {"headers": {"Authorization": f"Bearer {key}"}}
        assert (await here.ask("GET", "/v1/webhooks", **as_bob)).json()["data"] == []
        assert (await here.ask("DELETE", f"/v1/webhooks/{added['id']}", **as_bob)).status_code == 404
        assert (await here.ask("DELETE", f"/v1/webhooks/{added['id']}")).status_code == 200
        assert (await here.ask("DELETE", f"/v1/webhooks/{added['id']}")).status_code == 404
        await here.close()

    asyncio.run(scenario())


#: ways to write an address inside our own network, or none
INSIDE = [
    "https://127.0.0.1/", "https://localhost/", "https://127.1/", "https://0/", "https://0.0.0.0/", "https://2130706433/",
    "https://0x7f000001/", "https://0177.0.0.1/", "https://[::1]/", "https://[::]/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:7f00:1]/", "https://[64:ff9b::7f00:1]/", "https://[2002:7f00:1::]/", "https://10.0.0.1/",
    "https://172.16.0.1/", "https://192.168.0.1/", "https://169.254.169.254/latest/meta-data/", "https://[fe80::1]/",
    "https://[fc00::1]/", "https://[fec0::1]/", "https://100.64.0.1/", "https://198.18.0.1/", "https://224.0.0.1/",
    "https://255.255.255.255/", "https://user@127.0.0.1/", "https://example.com@127.0.0.1/", "https://127。0。0。1/",
    "https://①②⑦.0.0.1/", "https://127.0.0.1%2f@example.com/", "https://example.com:0/", "https://example.com:99999/",
    "http://93.184.215.14/", "ftp://example.com/", "file:///etc/passwd", "gopher://127.0.0.1/", "data:,x", "//x/", "https:///",
    "https://", "https://[/", "javascript:alert(1)", "https://no-such-host.invalid/", "https://" + "a" * 300 + "/", "x",
]  # fmt: skip


@pytest.mark.parametrize("url", INSIDE)
def test_no_webhook_is_inside_our_own_network(tmp_path: Path, url: str) -> None:
    async def scenario() -> None:
        here = Installation(tmp_path, allow_private_urls=False)
        answer = await here.ask("POST", "/v1/webhooks", json={"url": url})
        assert answer.status_code == 422, answer.text
        assert answer.json()["error"]["message"].startswith("url: ")
        assert here.journal.webhooks.of("local") == []
        await here.close()

    asyncio.run(scenario())


def test_a_name_that_comes_to_mean_another_address_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        async with receiving() as receiver:
            port = receiver.url.rpartition(":")[2].partition("/")[0]
            answers = [["127.0.0.1"], ["93.184.215.14", "127.0.0.1"]]

            async def looked_up(_: str) -> list[addresses.Address]:
                return [ipaddress.ip_address(each) for each in answers.pop()]

            monkeypatch.setattr(addresses, "addresses_of", looked_up)
            client = httpx.AsyncClient(transport=Pinned(public_only))
            for _ in range(2):
                with pytest.raises(NotPublic, match="no public address"):
                    await client.get(f"http://rebound.example:{port}/")
            assert receiver.told == []

            async def here(_: str) -> list[addresses.Address]:
                return [ipaddress.ip_address("127.0.0.1")]

            monkeypatch.setattr(addresses, "addresses_of", here)
            pinned = httpx.AsyncClient(transport=Pinned(addresses.anywhere))
            await pinned.get(f"http://named.example:{port}/")
            assert receiver.told[0][0]["host"] == f"named.example:{port}", "the name stays"

    asyncio.run(scenario())


@pytest.mark.parametrize("text", ["93.184.215.14", "2606:4700::1111", "64:ff9b::5db8:d70e"])
def test_addresses_of_others_are_public(text: str) -> None:
    assert is_public(ipaddress.ip_address(text))


def test_what_is_deleted_before_it_was_told_is_told(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = Installation(tmp_path)
        async with receiving() as receiver:
            await here.add(receiver.url)
            video_id = await here.end(VideoState.CANCELLED)
            assert (await here.ask("DELETE", f"/v1/videos/{video_id}")).status_code == 200
            here.send()
            await until(lambda: len(receiver.told) == 1)
            assert json.loads(receiver.told[0][1])["data"]["id"] == video_id
        await here.close()

    asyncio.run(scenario())


def test_a_tenant_whose_webhooks_never_answer_delays_no_other(tmp_path: Path) -> None:
    async def scenario() -> None:
        here = Installation(tmp_path)
        async with receiving() as hanging, receiving() as quick:
            hanging.hangs = True
            for number in range(10):
                await here.journal.webhooks.add(
                    webhooks.WebhookRecord(tenant="eve", url=f"{hanging.url}/{number}")
                )
            await here.add(quick.url)
            for _ in range(5):
                await here.end(VideoState.COMPLETED, tenant="eve")
            here.send()
            await until(lambda: len(hanging.told) == outbox.AT_ONCE_EACH)
            await here.end(VideoState.COMPLETED)
            await until(lambda: len(quick.told) == 1, 3.0)
            assert len(hanging.told) == outbox.AT_ONCE_EACH
        await here.close()

    asyncio.run(scenario())


def test_an_address_that_is_none_is_given_up_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "BACK_OFF", (0.05,) * 2)

    async def scenario() -> None:
        here = Installation(tmp_path)
        for url in ("https://xn--0.example/", "https://[/", "x", "https://a\x00b/"):
            await here.journal.webhooks.add(webhooks.WebhookRecord(tenant="local", url=url))
        here.send()
        await here.end(VideoState.COMPLETED)
        await until(lambda: here.attempts() == [3] * 4)
        await here.close()

    asyncio.run(scenario())


def test_nothing_of_one_address_is_kept_for_another(tmp_path: Path) -> None:
    """Cookies, and connections, which are known by the address alone."""

    async def scenario() -> None:
        ports: list[int] = []
        cookies: list[bytes] = []

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                while head := await reader.readuntil(b"\r\n\r\n"):
                    ports.append(writer.get_extra_info("peername")[1])
                    cookies.extend(line for line in head.split(b"\r\n") if line.lower().startswith(b"cookie"))
                    writer.write(b"HTTP/1.1 204 X\r\nset-cookie: a=1\r\n\r\n")

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        url = f"http://localhost:{server.sockets[0].getsockname()[1]}/"
        async with addresses.pinned_client(addresses.anywhere, 5.0) as client:
            for _ in range(3):
                assert (await client.get(url)).status_code == 204
        assert len(set(ports)) == 3
        assert cookies == []
        server.close()

    asyncio.run(scenario())


def test_many_messages_do_not_wait_for_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "LOOK", 60.0)

    async def scenario() -> None:
        here = Installation(tmp_path)
        async with receiving() as receiver:
            receiver.takes = 0.05
            await here.add(receiver.url)
            for _ in range(4 * outbox.AT_ONCE_EACH):
                await here.end(VideoState.COMPLETED)
            here.send()
            await until(lambda: len(set(receiver.ids)) == 4 * outbox.AT_ONCE_EACH)
            assert receiver.most == outbox.AT_ONCE_EACH
        await here.close()

    asyncio.run(scenario())
