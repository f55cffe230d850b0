"""What vendors say of jobs, files and models, in the ways that they say it: nothing is paid twice for a word."""

import asyncio
import io
import json
import math
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import stamina
from fastapi import FastAPI, Request, Response
from PIL import Image

from raypipe.api import create_app
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import InvalidRequest, ProviderError, ProviderRejected, RaypipeError
from raypipe.intake import plan
from raypipe.models import Job, Kind, VideoRequest
from raypipe.providers.base import ClipWork, Context, Delivery, ImageWork, Pending, Work
from raypipe.providers.fal import FalProvider
from raypipe.providers.http import HttpProvider
from raypipe.providers.registry import model_of
from raypipe.providers.replicate import INLINE_BYTES, ReplicateProvider
from raypipe.testing import media
from tests.unit.test_http_provider import serving

PICTURE = media.picture(64, 64, 200, 40, 40)
VENDORS: dict[str, type[HttpProvider]] = {"replicate": ReplicateProvider, "fal": FalProvider}
MODELS = {"replicate": "replicate/black-forest-labs/flux-schnell", "fal": "fal/fal-ai/flux/schnell"}
#: gives an answer for a path and the address of the server; JSON if it is no response
Answers = Callable[[str, str], Any]


class Answering:
    """A vendor that answers each path as a function says, and remembers what it was asked."""

    def __init__(self, answers: Answers) -> None:
        self._answers, self.asked, self.authorized = answers, list[str](), list[str]()

    def app(self) -> FastAPI:
        app = FastAPI()

        @app.api_route("/{path:path}", methods=["GET", "POST", "PUT"])
        async def answer(request: Request) -> Response:
            path = request.scope["raw_path"].decode()
            self.asked.append(f"{request.method} {path}")
            if "authorization" in request.headers:
                self.authorized.append(path)
            answer = self._answers(path, str(request.base_url))
            return answer if isinstance(answer, Response) else Response(json.dumps(answer))

        return app


Use = Callable[[HttpProvider, ImageWork], Awaitable[Any]]
Ask = Callable[..., Any]


def picture_of_bytes(least: int) -> bytes:
    """Make a PNG that takes more than so many bytes: noise does not compress."""
    side = math.isqrt(least) + 1
    out = io.BytesIO()
    Image.frombytes("L", (side, side), random.Random(25).randbytes(side * side)).save(out, "png")
    return out.getvalue()


async def poll(provider: HttpProvider, work: Work) -> Any:
    return await provider.poll("job1", work)


async def submit(provider: HttpProvider, work: Work) -> Any:
    return await provider.submit(work, "token")


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Runs a coroutine function with a provider of a vendor that answers so; gives what it returns or raises."""
    monkeypatch.setenv("REPLICATE_API_TOKEN", "the-key")
    monkeypatch.setenv("FAL_KEY", "the-key")
    stamina.set_testing(True, attempts=1)

    def run(vendor: str, answering: Answering, use: Use = poll) -> Any:
        async def main() -> Any:
            async with serving(answering) as url:  # type: ignore[arg-type]
                store = ArtifactStore((tmp_path / "artifacts").as_uri())
                settings = Settings(data_dir=tmp_path, provider_urls={vendor: url})
                request = VideoRequest(prompt="A boat", models={Kind.IMAGE: (MODELS[vendor],)})
                spec = plan(request, "v", settings, store)
                work = ImageWork(job=Job.of("v", spec), model=MODELS[vendor], beat=spec.beats[0])
                try:
                    return await use(VENDORS[vendor](Context(settings, store)), work)
                except RaypipeError as error:
                    return error

        return asyncio.run(main())

    yield run
    stamina.set_testing(False)


def picture(path: str, base: str) -> Response:
    return Response(PICTURE, media_type="image/png")


def prediction(output: Any, file: Answers = picture, **more: Any) -> Answering:
    """A replicate whose job has succeeded; `BASE` in the output stands for where it is."""

    def answer(path: str, base: str) -> Any:
        if "/predictions/" not in path:
            return file(path, base)
        said = json.dumps({"status": "succeeded", "output": output, **more}).replace("BASE", base)
        return json.loads(said)

    return Answering(answer)


def result(of_fal: dict[str, Any], state: str = "COMPLETED") -> Answering:
    """A fal whose job is over, if its state says so."""

    def answer(path: str, base: str) -> Any:
        if path.endswith("/status"):
            return {"status": state}
        return (
            json.loads(json.dumps(of_fal).replace("BASE", base))
            if "/requests/" in path
            else picture(path, base)
        )

    return Answering(answer)


# --- states -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "word", ["pending", "booting", "Preparing", "QUEUED", "starting", "", None, 7, "in progress"]
)
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_word_of_state_that_is_no_known_end_is_no_end(ask: Ask, vendor: str, word: Any) -> None:
    answering = Answering(lambda path, base: {"status": word, "output": None, "error": None})
    assert isinstance(ask(vendor, answering), Pending)


@pytest.mark.parametrize("word", ["succeeded", "SUCCEEDED", "Succeeded", "completed"])
def test_a_known_end_is_one_whatever_the_case_of_its_letters(ask: Ask, word: str) -> None:
    assert isinstance(ask("replicate", prediction("BASEfile.png", status=word)), Delivery)
    assert isinstance(ask("fal", result({"images": [{"url": "BASEfile.png"}]}, state=word)), Delivery)


@pytest.mark.parametrize("word", ["failed", "FAILED", "canceled", "Cancelled", "aborted"])
def test_a_job_that_failed_is_over_whatever_the_case_of_its_letters(ask: Ask, word: str) -> None:
    for vendor in VENDORS:
        failed = Answering(lambda path, base: {"status": word, "output": None, "error": "out of memory"})
        error = ask(vendor, failed)
        assert (error.code, "out of memory" in str(error), "job1" in str(error)) == (
            "provider_rejected",
            True,
            True,
        )


@pytest.mark.parametrize(
    "words",
    [
        "NSFW content detected. Try running it again, or try a different prompt.",
        "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
    ],
)
def test_what_the_filter_of_a_vendor_refused_is_refused_content(ask: Ask, words: str) -> None:
    assert ask("replicate", prediction(None, status="failed", error=words)).code == "content_refused"


# --- redirects --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_poll_that_is_sent_elsewhere_is_asked_again_and_the_key_does_not_follow(
    ask: Ask, vendor: str, status: int
) -> None:
    answering = Answering(lambda path, base: Response("", status, {"location": f"{base}login"}))
    error = ask(vendor, answering)
    assert error.code == "provider_unavailable"
    assert "/login" in str(error)
    assert not any("login" in asked for asked in answering.asked)


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 408, 409, 410, 418, 422, 451, 500])
@pytest.mark.parametrize("vendor", VENDORS)
def test_no_single_bad_answer_about_a_job_is_its_end(ask: Ask, vendor: str, status: int) -> None:
    error = ask(vendor, Answering(lambda path, base: Response('{"detail": "nope"}', status)))
    assert isinstance(error, ProviderError)
    assert not isinstance(error, ProviderRejected), "a job is only given up for what is wrong with itself"


def test_a_result_that_fal_refuses_is_its_end(ask: Ask) -> None:
    def answers(path: str, base: str) -> Any:
        return (
            {"status": "COMPLETED"}
            if path.endswith("/status")
            else Response('{"detail": "no such size"}', 422)
        )

    assert ask("fal", Answering(answers)).code == "provider_rejected"


# --- outputs ----------------------------------------------------------------------------------------------------------
OUTPUTS: dict[str, Any] = {
    "a text": "BASEfile.png",
    "a text with a line's end": "BASEfile.png\n",
    "a list of texts": ["BASEfile.png", "BASEother.png"],
    "an object": {"image": "BASEfile.png"},
    "an object with an unknown name": {"made": "BASEfile.png"},
    "an object of an object": {"output": {"image": {"url": "BASEfile.png", "width": 64}}},
    "a list of objects": [{"url": "BASEfile.png"}],
    "a list with a caption": ["A boat on a lake", "BASEfile.png"],
    "a list with a caption that begins like an address": ["http://is no address of it", "BASEfile.png"],
    "a list with a film beside it": ["BASEfilm.mp4", "BASEfile.png"],
    "an object with a film beside it": {"video": "BASEfilm", "image": "BASEfile.png"},
    "an object with a preview": {
        "preview": "BASEpreview.png",
        "prompt": "BASEprompt.png",
        "files": ["BASEfile.png"],
    },
    "a list of lists": [[["BASEfile.png"]]],
    "an address with a query": "BASEfile.png?signature=a%2Fb&x=.mp4",
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_an_address_is_found_in_whatever_form_an_output_has(ask: Ask, name: str) -> None:
    answering = prediction(OUTPUTS[name])
    delivered = ask("replicate", answering)
    assert isinstance(delivered, Delivery), delivered
    assert delivered.artifact.size == len(PICTURE)
    assert answering.asked[-1].startswith("GET /file.png")


@pytest.mark.parametrize("file", [{"url": "BASEfile.png"}, "BASEfile.png", [{"url": "BASEfile.png"}]])
@pytest.mark.parametrize("name", ["image", "images", "output", "data"])
def test_a_result_of_fal_names_its_file_in_any_of_these_ways(ask: Ask, name: str, file: Any) -> None:
    assert isinstance(ask("fal", result({"seed": 1, "prompt": "http://example.com/", name: file})), Delivery)


NOTHING_IN = [
    None,
    "",
    [],
    {},
    "a boat",
    ["a boat", 3],
    {"text": "a boat"},
    {"file": None},
    7,
    True,
    "clip.mp4",
    "//a/b",
]


@pytest.mark.parametrize(
    "output", [*NOTHING_IN, "ftp://8.8.8.8/x", "data: none", {"thumbnail": "http://a/x"}], ids=repr
)
def test_where_no_address_is_found_the_jobs_id_and_the_vendors_words_are_told(ask: Ask, output: Any) -> None:
    error = ask("replicate", prediction(output))
    assert error.code == "delivery_not_fetched"
    assert "job1" in str(error)
    assert repr(output) in str(error)
    assert "was paid" in str(error)


def test_an_output_that_is_nested_without_end_is_no_recursion_without_end(ask: Ask) -> None:
    output: Any = "BASEfile.png"
    for _ in range(300):
        output = {"more": [output]}
    assert ask("replicate", prediction(output)).code == "delivery_not_fetched"


# --- refused content --------------------------------------------------------------------------------------------------
FLAGS = [
    {"has_nsfw_concepts": [True]},
    {"has_nsfw_concepts": [False, True]},
    {"has_nsfw_concepts": True},
    {"nsfw_content_detected": [True]},
    {"output": {"has_nsfw_concepts": [True]}},
]


@pytest.mark.parametrize("flag", FLAGS, ids=repr)
def test_a_picture_that_the_filter_has_blacked_out_is_refused_content_and_is_not_fetched(
    ask: Ask, flag: dict[str, Any]
) -> None:
    for vendor, answering in (
        ("fal", result({"images": [{"url": "BASEfile.png"}], **flag})),
        ("replicate", prediction({"images": [{"url": "BASEfile.png"}], **flag})),
    ):
        error = ask(vendor, answering)
        assert error.code == "content_refused", error
        assert not any("file.png" in asked for asked in answering.asked)


@pytest.mark.parametrize("flag", [[False], [], False, None, "unknown"], ids=repr)
def test_a_picture_that_the_filter_has_passed_is_delivered(ask: Ask, flag: Any) -> None:
    assert isinstance(
        ask("fal", result({"images": [{"url": "BASEfile.png"}], "has_nsfw_concepts": flag})), Delivery
    )


def of_four(*flags: Any) -> list[dict[str, Any]]:
    """Say of four pictures whether they are blacked out, in the ways that vendors have."""
    files = [{"url": f"BASE{name}.png"} for name in ("file", "b", "c", "d")]
    own = [file | {"has_nsfw_concept": flag} for file, flag in zip(files, flags, strict=True)]
    return [
        {"images": files, "has_nsfw_concepts": list(flags)},
        {"output": {"images": files}, "has_nsfw_concepts": list(flags)},
        {"images": files, "safety": {"nsfw_content_detected": list(flags)}},
        {"images": own},
        {
            "images": [{"url": [file["url"], "BASEother.png"]} for file in files],
            "has_nsfw_concepts": list(flags),
        },
    ]


@pytest.mark.parametrize("way", range(5))
def test_of_several_pictures_the_flag_of_the_one_that_is_used_counts(ask: Ask, way: int) -> None:
    for others in ((True, False, False), (True, True, True)):
        assert isinstance(ask("fal", result(of_four(False, *others)[way])), Delivery)
    assert ask("fal", result(of_four(True, False, False, False)[way])).code == "content_refused"


@pytest.mark.parametrize("flag", [True, [True], [False, True]])
def test_a_flag_that_is_not_one_of_each_picture_counts_for_all(ask: Ask, flag: Any) -> None:
    several = of_four(False, False, False, False)[0] | {"has_nsfw_concepts": flag}
    assert ask("fal", result(several)).code == "content_refused"
    # nothing is left of what was flagged
    assert ask("fal", result({"images": [], "has_nsfw_concepts": [True]})).code == "content_refused"


# --- deliveries -------------------------------------------------------------------------------------------------------
NOT_YET = [
    Response(b'{"status": "rendering"}', 202), Response("", 204), Response("", 200), Response("", 304),
    Response(PICTURE[:9], 206), Response("", 300),
    Response("<!DOCTYPE html><title>please log in</title>", 200, media_type="text/html"),
    Response('\n{"error": "not yet"}', 200, media_type="image/png"),
]  # fmt: skip


@pytest.mark.parametrize("answer", NOT_YET, ids=lambda answer: f"{answer.status_code} {answer.body[:3]!r}")
def test_a_delivery_that_is_not_there_yet_is_asked_for_again(ask: Ask, answer: Response) -> None:
    answers = [answer, Response(PICTURE, media_type="image/png")]

    async def poll_twice(provider: HttpProvider, work: Work) -> Any:
        with pytest.raises(RaypipeError) as told:
            await provider.poll("job1", work)
        assert told.value.code == "provider_unavailable"
        return await provider.poll("job1", work)

    delivered = ask("replicate", prediction("BASEfile.png", lambda path, base: answers.pop(0)), poll_twice)
    assert isinstance(delivered, Delivery)
    assert delivered.artifact.size == len(PICTURE)


@pytest.mark.parametrize("circle", [["file.png"], ["a", "file.png"], ["a", "b", "a"]], ids=repr)
def test_a_delivery_that_is_sent_on_in_a_circle_is_told_at_once_and_keeps_its_job(
    ask: Ask, circle: list[str]
) -> None:
    after = dict(zip(["file.png", *circle], circle, strict=False))

    def sent_on(path: str, base: str) -> Response:
        return Response("", 302, {"location": f"{base}{after[path[1:]]}"})

    stamina.set_testing(False)
    answering = prediction("BASEfile.png", sent_on)
    error = ask("replicate", answering)
    assert error.code == "delivery_not_fetched"
    assert "in a circle" in str(error)
    assert "job1" in str(error)
    assert len(answering.asked) == 1 + len({"file.png", *circle})


def test_a_delivery_that_is_sent_on_and_on_is_given_up(ask: Ask) -> None:
    stamina.set_testing(False)
    answering = prediction("BASEf", lambda path, base: Response("", 302, {"location": f"{base}{path[1:]}f"}))
    error = ask("replicate", answering)
    assert (error.code, len(answering.asked)) == ("delivery_not_fetched", 1 + 11)


def test_a_delivery_is_followed_where_it_is_sent_on_to_and_the_key_is_not(ask: Ask) -> None:
    def sent_on(path: str, base: str) -> Response:
        elsewhere = base.replace("127.0.0.1", "localhost")
        return (
            Response("", 307, {"location": f"{elsewhere}there"})
            if "there" not in path
            else picture(path, base)
        )

    answering = prediction("BASEfile.png", sent_on)
    assert isinstance(ask("replicate", answering), Delivery)
    assert answering.asked[1:] == ["GET /file.png", "GET /there"]
    assert answering.authorized == ["/predictions/job1", "/file.png"]


# --- models -----------------------------------------------------------------------------------------------------------
def test_a_model_that_is_not_there_is_told_once(ask: Ask) -> None:
    stamina.set_testing(False)
    answering = Answering(lambda path, base: Response('{"detail": "Not found."}', 404))
    error = ask("replicate", answering, submit)
    assert error.code == "no_such_model"
    assert "has no model black-forest-labs/flux-schnell" in str(error)
    assert answering.asked == ["GET /models/black-forest-labs/flux-schnell"]


def test_a_model_that_is_gone_when_a_job_is_created_is_told_once(ask: Ask) -> None:
    for vendor in VENDORS:
        answering = Answering(
            lambda path, base: (
                Response("{}", 404) if "predictions" in path or "fal" in path else {"is_official": True}
            )
        )
        error = ask(vendor, answering, submit)
        assert error.code == "no_such_model", error
        assert sum(asked.startswith("POST") for asked in answering.asked) == 1


@pytest.mark.parametrize("status", [404, 413])
def test_an_upload_that_is_refused_is_told_as_an_upload(ask: Ask, status: int) -> None:
    stamina.set_testing(False)

    async def submit_a_clip(provider: HttpProvider, work: ImageWork) -> Any:
        start = await provider.context.store.put_async(picture_of_bytes(INLINE_BYTES), "image/png")
        model = "replicate/kwaivgi/kling-v2.1"
        return await provider.submit(
            ClipWork(job=work.job, model=model, beat=work.beat, continues=False, start=start), "token"
        )

    answering = Answering(lambda path, base: Response('{"detail": "Not found."}', status))
    error = ask("replicate", answering, submit_a_clip)
    assert error.code == "provider_rejected"
    assert "the upload of a picture" in str(error)
    assert answering.asked == ["POST /files"]


# --- names ------------------------------------------------------------------------------------------------------------
NO_NAMES = [
    "replicate/../predictions/JOB/cancel?", "replicate/..", "replicate/a/..", "replicate/./a", "replicate/a/...",
    "replicate/a//b", "replicate/a/b?", "replicate/a/b#c", "replicate/a/b%2f", "replicate/a/b\\c", "replicate/a/b c",
    "replicate/a/b\n", "replicate/a/b:v1", "replicate/a/", "replicate/", "replicate", "replicate/a",
    "replicate/a/b/c", "replicate/é/b",
    "fal/..", "fal/fal-ai/../x", "fal/fal-ai", "fal/fal-ai/flux/requests/JOB/cancel", "fal/fal-ai/flux?x",
    "fal//fal-ai/flux",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_models_name_that_would_lead_to_another_path_is_refused(name: str) -> None:
    options = {name: {"inputs": {"prompt": "prompt"}}}
    with pytest.raises(InvalidRequest, match="no name of a model"):
        model_of(Kind.IMAGE, name, options)


@pytest.mark.parametrize(
    "name", ["replicate/a/b", "replicate/some.one_/a-b.c", "fal/fal-ai/x", "fal/me/x/y/z.1"]
)
def test_a_models_name_that_is_one_is_taken(name: str) -> None:
    assert model_of(Kind.IMAGE, name, {name: {"inputs": {"prompt": "prompt"}}}).name == name


def test_a_models_name_that_is_none_is_refused_when_it_is_asked_for(tmp_path: Path) -> None:
    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(Settings(data_dir=tmp_path)), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            options = {NO_NAMES[0]: {"inputs": {"prompt": "prompt"}, "price": 0.1}}
            body = {
                "prompt": "A boat",
                "models": {"image": NO_NAMES[0]},
                "model": "simulated",
                "options": options,
            }
            return await client.post("/v1/videos", json=body)

    answer = asyncio.run(main())
    assert answer.status_code == 422, answer.text
    assert "no name of a model" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("job_id", "quoted"),
    [("../models?x", "..%2Fmodels%3Fx"), ("a/b#c", "a%2Fb%23c"), ("..", "%2E%2E"), ("a1-b", "a1-b")],
)
def test_a_jobs_id_is_one_part_of_an_address_whatever_is_in_it(ask: Ask, job_id: str, quoted: str) -> None:
    async def poll_and_cancel(provider: HttpProvider, work: ImageWork) -> Any:
        await provider.poll(job_id, work)
        return await provider.cancel(job_id, work)

    answering = Answering(lambda path, base: {"status": "processing"})
    ask("replicate", answering, poll_and_cancel)
    ask("fal", answering, poll_and_cancel)
    assert answering.asked == [
        f"GET /predictions/{quoted}", f"POST /predictions/{quoted}/cancel",
        f"GET /fal-ai/flux/requests/{quoted}/status", f"PUT /fal-ai/flux/requests/{quoted}/cancel",
    ]  # fmt: skip


@pytest.mark.parametrize("job_id", ["", ".", "..", None])
def test_what_a_vendor_gives_as_an_id_and_is_none_leaves_the_create_open(ask: Ask, job_id: Any) -> None:
    answering = Answering(lambda path, base: {"request_id": job_id})
    assert ask("fal", answering, submit).code == "outcome_unknown"
