"""What all vendors share over HTTP, against a server that answers as it is told."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings, read_secret
from raypipe.errors import (
    ContentRefused,
    DeliveryExpired,
    InvalidRequest,
    KeyRefused,
    MediaError,
    NoSuchModel,
    OutcomeUnknown,
    OutOfFunds,
    ProviderRejected,
    ProviderUnavailable,
    RateLimited,
    RaypipeError,
    SecretsExposed,
)
from raypipe.intake import notes_on, plan
from raypipe.models import Job, Kind, VideoRequest
from raypipe.providers.answers import retry_after
from raypipe.providers.base import Context, Delivery, ImageWork
from raypipe.providers.deliveries import Deliveries
from raypipe.providers.fal import FalProvider
from raypipe.providers.registry import model_of

FLUX = "fal/fal-ai/flux/schnell"
Answer = Callable[[Request], Awaitable[Response] | Response]


class Vendor:
    """Gives the answers it was told to, in order, the last one again and again; and remembers what it was asked."""

    def __init__(self, *answers: Response | Callable[[Request], Response]) -> None:
        self.answers, self.asked = list(answers), list[tuple[str, str, dict[str, str]]]()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "POST", "PUT"])
        async def answer(path: str, request: Request) -> Response:
            self.asked.append((request.method, f"/{path}", dict(request.headers)))
            found = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            return found if isinstance(found, Response) else found(request)

        return app


@asynccontextmanager
async def serving(vendor: Vendor) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(vendor.app(), host="127.0.0.1", port=0, log_level="error"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not running.done()
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


def json(text: str, status: int = 200, **headers: str) -> Response:
    return Response(
        text, status, {name.replace("_", "-"): value for name, value in headers.items()}, "application/json"
    )


Use = Callable[[FalProvider, ImageWork, ArtifactStore], Awaitable[Any]]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Vendor, Use], Any]:
    """Runs a test's coroutine function with a provider that asks a vendor."""
    monkeypatch.setenv("FAL_KEY", "the-key")

    def run(vendor: Vendor, use: Use) -> Any:
        async def main() -> Any:
            async with serving(vendor) as url:
                store = ArtifactStore((tmp_path / "artifacts").as_uri())
                settings = Settings(data_dir=tmp_path, provider_urls={"fal": url})
                spec = plan(VideoRequest(prompt="A boat", models={Kind.IMAGE: (FLUX,)}), "v", settings, store)
                work = ImageWork(job=Job.of("v", spec), model=FLUX, beat=spec.beats[0])
                return await use(FalProvider(Context(settings, store)), work, store)

        return asyncio.run(main())

    return run


async def submit(provider: FalProvider, work: ImageWork, _: ArtifactStore) -> Any:
    try:
        return await provider.submit(work, "token")
    except RaypipeError as error:
        return error


CREATES: dict[str, tuple[Response, type[RaypipeError], str]] = {
    "an error of the server": (Response("oops", 500), OutcomeUnknown, "500"),
    "a bad gateway": (Response("oops", 502), OutcomeUnknown, "502"),
    "no JSON": (Response("<html>", 200), OutcomeUnknown, "no JSON"),
    "JSON without an id": (json('{"status": "IN_QUEUE"}'), OutcomeUnknown, "request_id"),
    "a list": (json("[1]"), OutcomeUnknown, "no object"),
    "to be seen elsewhere": (json("{}", 303, location="/elsewhere"), OutcomeUnknown, "at /elsewhere"),
    "to be seen nowhere": (Response("<html>", 303), OutcomeUnknown, "nowhere"),
    **{
        f"sent elsewhere, {status}": (
            json('{"request_id": "job"}', status, location="https://queue.example/there"),
            ProviderUnavailable,
            "and has not taken it",
        )
        for status in (301, 302, 307, 308)
    },
    "a model that is not there": (json('{"detail": "no such app"}', 404), NoSuchModel, "fal-ai/flux/schnell"),
    "nothing": (Response("", 204), OutcomeUnknown, "no JSON"),
    "more than an answer": (json(f'{{"x": "{"y" * 9_000_000}"}}'), OutcomeUnknown, "more than"),
    "too many requests": (json('{"detail": "slow down"}', 429, retry_after="7"), RateLimited, "slow down"),
    "a refused key": (json('{"detail": "no such key"}', 401), KeyRefused, "FAL_KEY"),
    "no id": (json('{"request_id": null}'), OutcomeUnknown, "names no job"),
    "no funds": (json('{"detail": "User is locked. Reason: Exhausted balance."}', 403), OutOfFunds, "funds"),
    "payment required": (json("{}", 402), OutOfFunds, "funds"),
    "a refused prompt": (
        json('{"detail": [{"type": "content_policy_violation"}]}', 422),
        ContentRefused,
        "422",
    ),
    "a wrong request": (json('{"detail": "no such field"}', 422), ProviderRejected, "no such field"),
}


@pytest.mark.parametrize("name", CREATES)
def test_a_create_is_sent_once_and_its_answer_says_what_became_of_it(
    ask: Callable[..., Any], name: str
) -> None:
    answer, kind, said = CREATES[name]
    vendor = Vendor(answer)
    error = ask(vendor, submit)
    assert type(error) is kind
    assert said in str(error)
    assert answer.headers.get("location", "") in str(error)
    assert len(vendor.asked) == 1
    if isinstance(error, RateLimited):
        assert error.retry_after == 7


def test_a_vendor_that_cannot_be_reached_has_taken_nothing(ask: Callable[..., Any]) -> None:
    async def elsewhere(provider: FalProvider, work: ImageWork, store: ArtifactStore) -> Any:
        provider._base = "http://127.0.0.1:9"
        return await submit(provider, work, store)

    assert type(ask(Vendor(json("{}")), elsewhere)) is ProviderUnavailable


NO_LAST_WORD = {
    "no JSON": Response("<html>", 200),
    "a list": json("[1]"),
    "not found yet": json('{"detail": "no such request"}', 404),
    "more than an answer": json(f'{{"x": "{"y" * 9_000_000}"}}'),
    "sent elsewhere": json('{"status": "COMPLETED"}', 302, location="https://status.example/"),
    "nothing": Response("", 204),
}


@pytest.mark.parametrize("name", NO_LAST_WORD)
def test_one_bad_answer_about_a_job_that_is_paid_is_no_last_word(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("raypipe.providers.http.ATTEMPTS", 2)

    async def poll(provider: FalProvider, work: ImageWork, _: ArtifactStore) -> None:
        with pytest.raises(ProviderUnavailable):
            await provider.poll("job", work)

    ask(Vendor(NO_LAST_WORD[name]), poll)


@pytest.mark.parametrize("key", ["two\nlines", "with blank", "quoted\u201d"])
def test_what_is_no_key_is_told_without_telling_it(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    vendor = Vendor(json("{}"))

    async def badly(provider: FalProvider, work: ImageWork, store: ArtifactStore) -> Any:
        monkeypatch.setenv("FAL_KEY", key)
        return await submit(provider, work, store)

    error = ask(vendor, badly)
    assert type(error) is KeyRefused
    assert key[:5] not in str(error)
    assert vendor.asked == []


def test_a_key_that_a_vendor_quotes_is_not_told(ask: Callable[..., Any]) -> None:
    error = ask(Vendor(json('{"detail": "Key the-key is not valid"}', 401)), submit)
    assert type(error) is KeyRefused
    assert "the-key" not in str(error)


def test_questions_are_asked_again_and_the_key_goes_to_the_vendor_alone(ask: Callable[..., Any]) -> None:
    made = json('{"status": "COMPLETED"}')
    vendor = Vendor(
        Response("oops", 503), json("{}", 429, retry_after="0"), made,
        lambda request: json(f'{{"images": [{{"url": "http://localhost:{request.url.port}/file"}}]}}'),
        Response("oops", 503), Response(b"picture", media_type="image/png"),
    )  # fmt: skip

    async def poll(provider: FalProvider, work: ImageWork, store: ArtifactStore) -> bytes:
        delivery = await provider.poll("job", work)
        assert isinstance(delivery, Delivery)
        assert delivery.artifact.media_type == "image/png"
        return store.get(delivery.artifact)

    assert ask(vendor, poll) == b"picture"
    asked = [(path, headers.get("authorization")) for _, path, headers in vendor.asked]
    request = "/fal-ai/flux/requests/job"
    assert asked == [
        *[(f"{request}/status", "Key the-key")] * 3,
        (request, "Key the-key"),
        *[("/file", None)] * 2,
    ]


def test_a_delivery_that_is_too_large_is_given_up_and_leaves_nothing(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("raypipe.providers.deliveries.MOST_BYTES", {Kind.IMAGE: 1_000_000})

    async def poll(provider: FalProvider, work: ImageWork, _: ArtifactStore) -> None:
        with pytest.raises(MediaError, match="delivered more than"):
            await provider.poll("job", work)

    vendor = Vendor(
        json('{"status": "COMPLETED"}'), lambda request: json(f'{{"images": ["{request.base_url}file"]}}'),
        Response(bytes(3_000_000)),
    )  # fmt: skip
    ask(vendor, poll)
    assert [each for each in (tmp_path / "artifacts").rglob("*") if each.is_file()] == []


def test_nothing_is_fetched_from_inside_our_network_at_a_vendors_word(
    tmp_path: Path, ask: Callable[..., Any]
) -> None:
    store, inside = ArtifactStore("memory:///inside"), "http://169.254.169.254/latest"

    def deliveries(host: str) -> Deliveries:
        return Deliveries("fal", host, store)

    async def refused(host: str, url: str) -> str:
        with pytest.raises(MediaError) as told:
            await deliveries(host).fetch(url, Kind.CLIP, lambda _: {})
        return str(told.value)

    async def test(provider: FalProvider, work: ImageWork, _: ArtifactStore) -> None:
        for host, url in [
            ("8.8.8.8", "http://127.0.0.1/x"),
            ("8.8.8.8", "http://[::1]/x"),
            ("127.0.0.1", inside),
        ]:
            assert "has no public address" in await refused(host, url)
        assert "169.254.169.254, which has no public" in await refused("127.0.0.1", f"{provider._base}/file")
        for url in (
            "ftp://8.8.8.8/x",
            "//8.8.8.8/x",
            "clip.mp4",
            "",
            "https://a/\ud800",
            "https:///x",
        ):
            assert "is no address" in await refused("127.0.0.1", url), url
        data = await deliveries("8.8.8.8").fetch("data:text/plain;base64,aGVsbG8=", Kind.CLIP, lambda _: {})
        assert (store.get(data), data.media_type) == (b"hello", "text/plain")

    ask(Vendor(Response(status_code=302, headers={"location": inside})), test)


def test_a_delivery_that_is_gone_is_told_and_was_paid(
    ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = (
        json('{"status": "COMPLETED"}'), lambda request: json(f'{{"images": ["{request.base_url}file"]}}'),
        *[Response("gone", 410)] * 4,
    )  # fmt: skip

    async def poll(provider: FalProvider, work: ImageWork, _: ArtifactStore) -> None:
        with pytest.raises(ProviderUnavailable, match="cannot be fetched: 410 Gone"):
            await provider.poll("job", work)
        monkeypatch.setattr("raypipe.providers.http.GONE_SECONDS", 0.0)
        with pytest.raises(DeliveryExpired, match="was paid, but does not have it any more"):
            await provider.poll("job", work)

    ask(Vendor(*answers, *answers), poll)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"input": {"duration": "10"}}, r"input\.duration: raypipe fills this field, with the seconds_text"),
        ({"input": {"prompt": "other"}}, r"input\.prompt: raypipe fills this field"),
        ({"inputs": {"p": "prompt"}, "durations": [-1, 0]}, r"durations\.0"),
        ({"inputs": {"p": "prompt"}, "durations": [float("nan")]}, r"durations\.0"),
        ({"price": float("inf")}, "price"),
    ],
)
def test_options_that_would_go_past_the_estimate_are_refused(options: dict[str, Any], said: str) -> None:
    name = "fal/fal-ai/kling-video/v2.1/standard/image-to-video"
    with pytest.raises(InvalidRequest, match=said):
        model_of(Kind.CLIP, name, {name: options})


def test_an_input_whose_effect_on_the_price_is_not_known_is_noted_unless_a_price_comes_with_it() -> None:
    name = "fal/fal-ai/flux/schnell"
    unknown = {"input": {"num_inference_steps": 8, "acceleration": "high"}}

    def notes(options: dict[str, Any]) -> tuple[str, ...]:
        request = VideoRequest(prompt="A boat", models={Kind.IMAGE: (name,)}, options=options)
        return notes_on(plan(request, "v", Settings(), ArtifactStore("memory:///notes")))

    assert not any("price" in note for note in notes({name: unknown | {"price": 0.006}}))
    assert not any("price" in note for note in notes({name: {"input": {"num_inference_steps": 8}}}))
    (said,) = (note for note in notes({name: unknown}) if "price" in note)
    assert said == f"The vendor's price of {name} does not say what its input 'acceleration' does to it."


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("3", 3), ("0.5", 0.5), ("-1", 0), ("soon", None), ("", None), ("inf", None), ("999999", 600)],
)
def test_retry_after_is_seconds_or_a_date_and_nonsense_is_nothing(value: str, seconds: float | None) -> None:
    assert retry_after({"retry-after": value}) == seconds
    date = formatdate(time.time() + 60, usegmt=True)
    assert retry_after({"retry-after": date}) == pytest.approx(60, abs=2)


def test_keys_are_read_from_the_environment_or_a_file_that_nobody_else_may_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, file = Settings(data_dir=tmp_path), tmp_path / "secrets"
    monkeypatch.delenv("FAL_KEY", raising=False)
    assert read_secret("FAL_KEY", settings) is None
    file.write_bytes(b'# keys\n\xff\nFAL_KEY = "a=b"\nOTHER=x\n')
    file.chmod(0o640)
    with pytest.raises(SecretsExposed, match="chmod 600"):
        read_secret("FAL_KEY", settings)
    file.chmod(0o600)
    assert read_secret("OTHER", settings) == "x"
    assert read_secret("FAL_KEY", settings) == "a=b"
    monkeypatch.setenv("FAL_KEY", "from the environment")
    assert read_secret("FAL_KEY", settings) == "from the environment"
