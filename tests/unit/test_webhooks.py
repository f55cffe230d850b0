"""Who may say that a job is over: a vendor that signs it, at an address written here, of a create under way."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from raypipe.api import create_app
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.hints import Hints
from raypipe.intake import accept
from raypipe.journal import Journal, Token
from raypipe.models import Kind, StepState, VideoRequest
from raypipe.providers.hooks import hook_url
from raypipe.testing import fake_fal, fake_replicate
from raypipe.testing.vendor import Job, Signed
from tests.patience import patience
from tests.vendors import KEY_NAMES, KEYS, FakeVendor, fake

IMAGE = {"replicate": "replicate/black-forest-labs/flux-schnell", "fal": "fal/fal-ai/flux/schnell"}


class Hooked:
    """A service, and a video whose first image was sent to a vendor."""

    def __init__(self, name: str, folder: Path, vendor: FakeVendor) -> None:
        self.name = name
        urls = {name: vendor.url, "fal_keys": f"{vendor.url}/.well-known/jwks.json"}
        self.settings = Settings(data_dir=folder, public_url="http://here.example", provider_urls=urls)
        self.journal = Journal(self.settings.journal_url)
        request = VideoRequest(prompt="a boat", duration=5, models={Kind.IMAGE: (IMAGE[name],)})
        store = ArtifactStore(self.settings.artifacts_url)
        self.video, rows = accept(request, self.settings, self.journal, store, running=True)
        self._rows = rows
        app = create_app(self.settings)
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here.example")

    async def begin(self) -> None:
        """Leave the row as a create that nobody answered does."""
        await self.journal.writer.put(*self._rows)
        sent = self.row().evolve(state=StepState.UNKNOWN, attempt=1, sent_at=time.time())
        await self.journal.writer.put(self.journal.step(sent))

    def row(self) -> Any:
        return next(each for each in self.journal.steps(self.video.id) if each.step == "image/0")

    def address(self, **changes: str) -> str:
        url = hook_url("http://here.example", self.name, self.row().token, KEYS[self.name])
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()} | changes
        return f"{parts.path}?" + "&".join(f"{name}={value}" for name, value in query.items())

    async def post(self, body: bytes, headers: dict[str, str], address: str | None = None) -> httpx.Response:
        return await self._client.post(address or self.address(), content=body, headers=headers)


Test = Callable[[Hooked], Awaitable[None]]


@pytest.fixture(params=["replicate", "fal"])
def with_hooked(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Test], None]:
    monkeypatch.setenv(KEY_NAMES[request.param], KEYS[request.param])

    def run(test: Test) -> None:
        async def main(hooked: Hooked) -> None:
            await hooked.begin()
            await test(hooked)

        with fake(request.param, tmp_path) as vendor:
            asyncio.run(main(Hooked(request.param, tmp_path, vendor)))

    return run


def signed(name: str, forged: bool = False) -> tuple[bytes, dict[str, str]]:
    """A webhook as the fake sends it, about a job that nobody answered with."""
    job = Job(id="job 7", kind=Kind.IMAGE, model="flux", inputs={}, ready_at=0.0)
    if name == "fal":
        return fake_fal._signed(job, forged)
    signer: Signed = fake_replicate._signed(_request())
    return signer(job, forged)


def _request() -> Any:
    class Request:
        base_url = "http://vendor.example/"

    return Request()


def test_a_signed_webhook_about_a_create_that_was_not_answered_gives_its_job(
    with_hooked: Callable[[Test], None],
) -> None:
    async def test(hooked: Hooked) -> None:
        answer = await hooked.post(*signed(hooked.name))
        assert (answer.status_code, answer.json()) == (200, {"awaited": True})
        assert hooked.row().provider_job_id == "job 7"
        events = hooked.journal.events(hooked.video.id)
        assert events[-1].kind == "step.hinted"
        assert [event.seq for event in events] == list(range(1, len(events) + 1))

    with_hooked(test)


def test_a_webhook_that_is_not_surely_the_vendors_is_refused_and_changes_nothing(
    with_hooked: Callable[[Test], None],
) -> None:
    async def test(hooked: Hooked) -> None:
        body, headers = signed(hooked.name)

        def but(ending: str, value: str) -> dict[str, str]:
            return {name: value if name.endswith(ending) else old for name, old in headers.items()}

        refused = [
            await hooked.post(*signed(hooked.name, forged=True)),
            await hooked.post(body + b" ", headers),
            await hooked.post(body, {}),
            await hooked.post(b"\xff", headers),
            await hooked.post(body, but("timestamp", "1700000000")),
            await hooked.post(body, but("timestamp", "soon")),
            await hooked.post(body, but("signature", "v1,x")),
            await hooked.post(body, but("signature", "v1")),
            await hooked.post(body, headers, hooked.address(seal="0" * 64)),
            await hooked.post(body, headers, hooked.address(step=f"{hooked.video.id}/chunk/0/1/1")),
            await hooked.post(body, headers, hooked.address(step="nonsense")),
            await hooked.post(body, headers, hooked.address().replace(hooked.name, "local", 1)),
        ]
        assert [answer.status_code for answer in refused] == [401] * len(refused)
        assert {answer.json()["error"]["code"] for answer in refused} == {"webhook_refused"}
        assert (hooked.row().state, hooked.row().provider_job_id) == (StepState.UNKNOWN, None)
        nobody = hooked.address().replace(hooked.name, "nobody", 1)
        assert (await hooked.post(body, headers, nobody)).status_code == 422

    with_hooked(test)


def test_news_of_a_step_that_waits_for_none_is_taken_and_forgotten(
    with_hooked: Callable[[Test], None],
) -> None:
    async def test(hooked: Hooked) -> None:
        done = hooked.row().evolve(state=StepState.DONE)
        await hooked.journal.writer.put(hooked.journal.step(done))
        answer = await hooked.post(*signed(hooked.name))
        assert (answer.status_code, answer.json()) == (200, {"awaited": False})
        assert hooked.row().provider_job_id is None

    with_hooked(test)


def test_news_ends_a_pause_also_if_it_came_before_and_of_others_it_does_not(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    journal, store = Journal(settings.journal_url), ArtifactStore(settings.artifacts_url)
    video, rows = accept(VideoRequest(prompt="a boat", duration=10), settings, journal, store, running=True)

    async def test() -> None:
        await journal.writer.put(*rows)
        steps = {each.step: each for each in journal.steps(video.id)}
        for name in ("image/0", "image/1"):
            under_way = steps[name].evolve(state=StepState.ACCEPTED, attempt=1, provider_job_id=name)
            await journal.writer.put(journal.step(under_way))
        hints, began = Hints(journal), time.monotonic()
        with hints.of((video.id, "image/0", 1)) as pause, hints.of((video.id, "image/1", 1)) as other:
            waiting = asyncio.create_task(pause(1_000))
            await asyncio.sleep(0.1)
            assert await journal.hint(Token(video.id, "image/0", 1, 1), "local", "image/0")
            await waiting
            assert time.monotonic() - began < patience(10)
            assert not await journal.hint(Token(video.id, "image/0", 1, 2), "local", "image/0")
            assert not await journal.hint(Token(video.id, "image/0", 1, 1), "local", "another job")
            paused = time.monotonic()
            await other(0.2)
            assert time.monotonic() - paused > 0.15
            assert await journal.hint(Token(video.id, "image/1", 1, 1), "local", "image/1")
            await asyncio.sleep(1.2)
            paused = time.monotonic()
            await other(1_000)
            assert time.monotonic() - paused < patience(5)

    asyncio.run(test())
