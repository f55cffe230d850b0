"""The API as an ASGI application, where a test can cut a request off at a chosen moment."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp

from raypipe.api import create_app
from raypipe.api.commits import COMMITTED, listening
from raypipe.api.limits import MOST_HELD, OPEN_BYTES, SMALL, BodyLimit
from raypipe.api.service import VideoService
from raypipe.config import Settings
from raypipe.errors import JournalRowBroken, JournalUnavailable
from raypipe.journal import Event, Journal, StepRecord
from raypipe.models import Phase, PhaseOutput, PhaseStatus, StepState, VideoState
from tests.journals import locked

BODY = {"prompt": "A lighthouse in a storm", "model": "simulated"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def app(settings: Settings) -> FastAPI:
    return create_app(settings)


@pytest.fixture
def journal(settings: Settings) -> Iterator[Journal]:
    opened = Journal(settings.journal_url)
    yield opened
    opened.close()


class Answer:
    """What came back."""

    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.status = int(messages[0]["status"])
        self.headers = dict(messages[0]["headers"])
        self.body = b"".join(message.get("body", b"") for message in messages[1:])

    def json(self) -> Any:
        return json.loads(self.body)


def scope(method: str, path: str) -> dict[str, Any]:
    plain, _, query = path.partition("?")
    return {
        "type": "http", "http_version": "1.1", "method": method, "path": plain, "raw_path": plain.encode(),
        "root_path": "", "scheme": "http", "query_string": query.encode(), "client": ("127.0.0.1", 1),
        "server": ("s", 80), "headers": [(b"content-type", b"application/json"), (b"host", b"localhost")],
    }  # fmt: skip


async def ask(app: ASGIApp, method: str, path: str, body: bytes = b"") -> Answer:
    messages: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        messages.append(message)

    await app(scope(method, path), receive, send)
    return Answer(messages)


def test_when_as_many_videos_wait_as_may_more_are_told_to_come_again(
    settings: Settings, journal: Journal
) -> None:
    app = create_app(settings.model_copy(update={"max_queued": 3}))
    answers = [asyncio.run(ask(app, "POST", "/v1/videos", json.dumps(BODY).encode())) for _ in range(5)]
    assert [answer.status for answer in answers] == [202, 202, 202, 429, 429]
    assert answers[-1].json()["error"]["code"] == "queue_full"
    assert answers[-1].headers[b"retry-after"] == b"5"
    assert len(journal.video_ids()) == 3


async def post_as(app: FastAPI, **headers: str) -> int:
    """Post a video with headers of a browser, and return the status."""
    status: list[int] = []
    asked = scope("POST", "/v1/videos")
    asked["headers"] = [asked["headers"][0]] + [
        (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
    ]

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}

    async def send(message: Any) -> None:
        status.append(message.get("status", 0))

    await app(asked, receive, send)
    return status[0]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "127.0.0.1:8000"}, 202),
        ({"host": "localhost:8000", "origin": "http://localhost:8000", "sec_fetch_site": "same-origin"}, 202),
        ({"host": "[::1]:8000", "origin": "http://[::1]:8000"}, 202),
        ({"host": "films.example.org"}, 202),
        ({"host": "127.0.0.1:8000", "origin": "https://evil.example"}, 403),
        ({"host": "127.0.0.1:8000", "origin": "null"}, 403),
        ({"host": "127.0.0.1:8000", "origin": "http://127.0.0.1:3000"}, 403),
        ({"host": "127.0.0.1:8000", "sec_fetch_site": "cross-site"}, 403),
        ({"host": "127.0.0.1:8000", "sec_fetch_site": "same-site"}, 403),
        ({"host": "evil.example:8000", "origin": "http://evil.example:8000"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
        ({"host": ""}, 421),
        ({"host": "[::1"}, 421),
    ],
)
def test_only_pages_of_our_own_can_spend_money(
    settings: Settings, journal: Journal, headers: dict[str, str], status: int
) -> None:
    app = create_app(settings.model_copy(update={"hosts": ("films.example.org",)}))
    assert asyncio.run(post_as(app, **headers)) == status
    assert len(journal.video_ids()) == (status == 202)


def test_a_change_may_not_name_what_is_not_known_and_a_vendors_webhook_may(app: FastAPI) -> None:
    async def ask(path: str) -> tuple[int, str]:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post(path)
        return answer.status_code, answer.json()["error"]["message"]

    for path in ("/v1/videos/vid_0/cancel?now=1", "/v1/videos/vid_0/retry?resubmit=true&resubmit=true"):
        status, said = asyncio.run(ask(path))
        assert (status, "The query names" in said) == (422, True), said
    _, said = asyncio.run(ask("/v1/hooks/replicate?step=x&seal=y&from=them"))
    assert said == "the address of the webhook names no step"


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 10])
def test_a_client_that_hangs_up_once_its_request_was_read_gets_its_video(
    app: FastAPI, journal: Journal, turns: int
) -> None:
    async def hang_up() -> None:
        read = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if read.is_set():
                await asyncio.sleep(60)
            read.set()
            return {"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}

        async def send(_: Any) -> None: ...

        handler = asyncio.create_task(app(scope("POST", "/v1/videos"), receive, send))
        await read.wait()
        for _ in range(turns):
            await asyncio.sleep(0)
        handler.cancel()
        for _ in range(200):
            if journal.video_ids():
                return
            await asyncio.sleep(0.02)

    asyncio.run(hang_up())
    assert len(journal.video_ids()) == 1


def test_a_request_that_is_cut_off_within_its_body_is_none(app: FastAPI, journal: Journal) -> None:
    messages = [
        {"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        pytest.fail(f"nobody is there to get {message}")

    asyncio.run(app(scope("POST", "/v1/videos"), receive, send))
    assert journal.video_ids() == []


def test_bodies_that_are_being_read_take_bounded_memory_and_small_ones_are_read_all_the_same() -> None:
    limit, room = 4 * SMALL, asyncio.Event()

    async def taken(_: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 202})

    async def post(app: BodyLimit, length: int) -> int:
        statuses, messages = [], [{"type": "http.request", "body": b"x" * length, "more_body": True}]

        async def receive() -> dict[str, Any]:
            if messages:
                return messages.pop()
            await room.wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            statuses.append(message.get("status", 0))

        await app(scope("POST", "/v1/videos"), receive, send)
        return int(statuses[0])

    async def test() -> None:
        app = BodyLimit(taken, limit)
        slow = [asyncio.create_task(post(app, limit)) for _ in range(MOST_HELD)]
        await asyncio.sleep(0.01)
        assert [await post(app, SMALL + 1) for _ in range(50)] == [429] * 50
        small = asyncio.create_task(post(app, SMALL))
        await asyncio.sleep(0.01)
        room.set()
        assert await asyncio.gather(*slow, small) == [202] * (MOST_HELD + 1)
        assert await post(app, limit) == 202, "there is room again"
        room.clear()
        for _ in range(
            3 * MOST_HELD
        ):  # clients that go away in the middle of their body leave nothing behind
            leaves = asyncio.create_task(post(app, limit))
            await asyncio.sleep(0.001)
            leaves.cancel()
            await asyncio.gather(leaves, return_exceptions=True)
        room.set()
        assert await post(app, limit) == 202

    asyncio.run(test())


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/v1/session", 408),
        ("DELETE", "/v1/session", 408),
        ("POST", "/v1/hooks/fal?step=a&seal=b", 408),
        ("POST", "/docs", 408),
        ("GET", "/", 200),
        ("HEAD", "/healthz", 200),
        ("GET", "/v1/videos", 200),
    ],
)
def test_a_body_that_never_comes_keeps_nothing_where_no_key_is_needed_and_no_get(
    app: FastAPI, method: str, path: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.api.limits.OPEN_READ_SECONDS", 0.05)

    async def test() -> int:
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: Any) -> None:
            messages.append(message)

        declared = scope(method, path)
        declared["headers"].append((b"content-length", b"100"))
        async with asyncio.timeout(30):
            await app(declared, receive, send)
        return Answer(messages).status

    assert asyncio.run(test()) == status


def test_a_body_where_no_key_is_needed_is_short(app: FastAPI) -> None:
    answer = asyncio.run(ask(app, "POST", "/v1/hooks/fal?step=a&seal=b", b"x" * (OPEN_BYTES + 1)))
    assert answer.status == 413


@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_bodies_count_until_they_are_passed_on_though_their_clients_hang_up(method: str) -> None:
    limit, body, reads, ends = 4 * SMALL, b"x" * 4 * SMALL, asyncio.Event(), asyncio.Event()

    async def at_work(_: Any, receive: Any, send: Any) -> None:
        await reads.wait()
        await receive()
        await ends.wait()
        await send({"type": "http.response.start", "status": 202, "headers": []})

    async def test() -> None:
        app = BodyLimit(at_work, limit)
        asking = [asyncio.create_task(ask(app, method, "/v1/videos", body)) for _ in range(MOST_HELD)]
        await asyncio.sleep(0.01)
        for each in asking if method == "POST" else ():
            each.cancel()  # it is worked on all the same, and not read yet
        assert (await ask(app, method, "/v1/videos", body)).status == 429
        reads.set()
        await asyncio.sleep(0.01)
        more = []
        for _ in range(3 * MOST_HELD):
            more.append(asyncio.create_task(ask(app, method, "/v1/videos", body)))
            await asyncio.sleep(0.005)
        assert not any(each.done() for each in more), "what was passed on takes no room"
        ends.set()
        assert [each.status for each in await asyncio.gather(*more)] == [202] * (3 * MOST_HELD)

    asyncio.run(test())


def test_one_broken_row_is_a_500_by_itself_and_leaves_the_list(app: FastAPI, journal: Journal) -> None:
    async def test() -> None:
        ids = [
            (await ask(app, "POST", "/v1/videos", json.dumps(BODY).encode())).json()["id"] for _ in range(3)
        ]
        with journal._engine.begin() as connection:
            connection.exec_driver_sql("update videos set spec = '{}' where id = ?", (ids[1],))
        one = await ask(app, "GET", f"/v1/videos/{ids[1]}")
        assert (one.status, one.json()["error"]["code"]) == (500, JournalRowBroken.code)
        page = await ask(app, "GET", "/v1/videos")
        assert page.status == 200
        listed = {video["id"]: video["error"] for video in page.json()["data"]}
        assert listed.keys() == set(ids)
        assert listed[ids[1]]["code"] == JournalRowBroken.code
        assert listed[ids[0]] is None

    asyncio.run(test())


def test_phases_that_failed_count_no_more_than_their_steps(app: FastAPI, journal: Journal) -> None:
    async def test() -> dict[str, Any]:
        created = (await ask(app, "POST", "/v1/videos", json.dumps(BODY).encode())).json()
        video_id = created["id"]
        failed = [
            PhaseOutput(video_id=video_id, phase=phase, status=PhaseStatus.FAILED, error="x", finished_at=1)
            for phase in (Phase.STORYBOARD, Phase.CHUNKS, Phase.MUSIC, Phase.STITCH)
        ]
        end = journal.finish(video_id, VideoState.FAILED, error_code="x", error_message="x")
        await journal.writer.put(*map(journal.phase, failed), end)
        shown: dict[str, Any] = (await ask(app, "GET", f"/v1/videos/{video_id}")).json()
        return shown

    video = asyncio.run(test())
    assert video["progress"] <= 4
    assert video["chunks_progress"] == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"simulated": {"clip": float("nan")}}, "finite"),
        ({"simulated": {"fail": {"image/0": "\ud83d"}}}, None),
    ],
)
def test_options_that_are_no_valid_json_are_refused_or_repaired(
    app: FastAPI, options: dict[str, Any], said: str | None
) -> None:
    async def test() -> tuple[Answer, Answer | None]:
        made = await ask(app, "POST", "/v1/videos", json.dumps({**BODY, "options": options}).encode())
        if made.status != 202:
            return made, None
        return made, await ask(app, "GET", f"/v1/videos/{made.json()['id']}")

    made, shown = asyncio.run(test())
    if said is not None:
        assert made.status == 422
        assert said in made.json()["error"]["message"]
    else:
        assert shown is not None
        assert shown.json()["spec"]["options"]["simulated"] == {"fail": {"image/0": "\ufffd"}}


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"prompt": "x", "options": ' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
        b'{"prompt": "x", "options": ' + b'{"a":' * 600 + b"1" + b"}" * 600 + b"}",
        json.dumps({**BODY, "spec": {"beats": [{"prompt": "x", "reference_image": 5}]}}).encode(),
    ],
    ids=["nested lists", "nested objects", "objects nested less", "no picture"],
)
def test_a_strange_body_is_refused_in_one_sentence_that_counts_its_problems(
    app: FastAPI, body: bytes
) -> None:
    answer = asyncio.run(ask(app, "POST", "/v1/videos", body))
    assert 400 <= answer.status < 500, answer.body[:200]
    assert "more like it" not in answer.json()["error"]["message"]


LONE = "a\ud83db"


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": LONE},
        {**BODY, "style": LONE},
        {**BODY, "size": LONE},
        {**BODY, "model": LONE},
        {**BODY, LONE: 1},
        {"spec": {"title": LONE, "beats": [{"prompt": "x"}]}},
        {"spec": {"beats": [{"prompt": LONE}]}},
        {"spec": {"beats": [{"prompt": "x", LONE: 1}]}},
        {"spec": {"beats": [{"prompt": "x", "reference_image": LONE}]}},
    ],
)
def test_a_text_that_is_no_unicode_is_refused_in_a_sentence_wherever_it_stands(
    app: FastAPI, body: dict[str, Any]
) -> None:
    answer = asyncio.run(ask(app, "POST", "/v1/videos", json.dumps(body).encode()))
    assert answer.status == 422, answer.body
    assert answer.json()["error"]["message"].encode()


def test_what_a_running_video_has_cost_is_what_its_steps_have(app: FastAPI, journal: Journal) -> None:
    async def test() -> Any:
        video_id = (await ask(app, "POST", "/v1/videos", json.dumps(BODY).encode())).json()["id"]
        paid = StepRecord(
            video_id=video_id, step="image/0", phase=Phase.STORYBOARD, beat_index=0, state=StepState.DONE,
            provider="simulated", intent_at=1, cost=0.25,
        )  # fmt: skip
        await journal.writer.put(journal.step(paid))
        return (await ask(app, "GET", f"/v1/videos/{video_id}")).json()

    assert asyncio.run(test())["cost"] == 0.25


def test_a_bug_is_a_500_in_the_shape_of_all_errors(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(Journal, "video_ids", fail)

    async def test() -> Answer:
        messages: list[Any] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            messages.append(message)

        with pytest.raises(ZeroDivisionError):  # the server logs it, behind the answer
            await app(scope("GET", "/v1/videos"), receive, send)
        return Answer(messages)

    answer = asyncio.run(test())
    assert (answer.status, answer.json()["error"]["code"]) == (500, "internal_error")
    assert b"secret" not in answer.body


def test_a_video_that_is_accepted_is_said_to_be_though_it_cannot_be_read_again(
    app: FastAPI, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> None:
        raise JournalUnavailable("The journal cannot be read.")

    monkeypatch.setattr(VideoService, "ended", fails)

    async def test() -> tuple[int, int]:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/v1/videos", json=BODY, headers={"Prefer": "wait=5"})
            return answer.status_code, len((await client.get("/v1/videos")).json()["data"])

    assert asyncio.run(test()) == (202, 1)


@pytest.mark.parametrize("listens", [True, False])
def test_a_proxy_that_listens_is_told_of_the_commit_before_the_wait(
    app: FastAPI, journal: Journal, listens: bool
) -> None:
    async def test() -> list[tuple[str, int]]:
        seen: list[tuple[str, int]] = []

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}

        async def send(message: Any) -> None:
            seen.append((message["type"], len(journal.video_ids())))
            if message["type"] == COMMITTED:
                await journal.cancel(journal.video_ids()[0], by_service=True)  # which ends the wait

        asked = scope("POST", "/v1/videos")
        asked["headers"].append((b"prefer", b"wait=60" if listens else b"wait=1"))
        await app(listening(asked) if listens else asked, receive, send)
        return seen

    answered = [("http.response.start", 1), ("http.response.body", 1)]
    assert asyncio.run(test()) == [(COMMITTED, 1)] * listens + answered


def test_a_change_that_is_made_and_cannot_be_shown_is_not_to_be_asked_for_again(
    app: FastAPI, journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise JournalUnavailable("The journal cannot be read.")

    async def test() -> tuple[Answer, str]:
        video_id = (await ask(app, "POST", "/v1/videos", json.dumps(BODY).encode())).json()["id"]
        monkeypatch.setattr(VideoService, "detail", fails)
        return await ask(app, "POST", f"/v1/videos/{video_id}/cancel"), video_id

    answer, video_id = asyncio.run(test())
    assert (answer.status, answer.json()["error"]["code"]) == (503, "answer_lost")
    assert answer.headers[b"x-should-retry"] == b"false"
    assert b"retry-after" not in answer.headers
    assert journal.video(video_id).state is VideoState.CANCELLED


def test_a_bug_in_a_post_is_not_to_be_tried_again(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(VideoService, "create", fail)

    async def post(**headers: str) -> str | None:
        transport = httpx.ASGITransport(app, client=("127.0.0.1", 1), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/v1/videos", json=BODY, headers=headers)
        assert answer.status_code == 500
        return answer.headers.get("x-should-retry")

    assert asyncio.run(post()) == "false"
    assert asyncio.run(post(**{"Idempotency-Key": "1"})) is None


def test_what_the_provider_cannot_draw_is_noted_in_the_answer(app: FastAPI) -> None:
    body = json.dumps({"prompt": "A football match", "model": "local"}).encode()
    answer = asyncio.run(ask(app, "POST", "/v1/videos", body))
    assert answer.json()["notes"] == ["no picture for: football, match; drawing an abstract landscape"]


def test_a_step_that_waits_is_shown_as_queued(app: FastAPI, journal: Journal) -> None:
    async def test() -> Any:
        video_id = (await ask(app, "POST", "/v1/videos", json.dumps(BODY).encode())).json()["id"]
        waiting = StepRecord(
            video_id=video_id, step="chunk/0", phase=Phase.CHUNKS, beat_index=0, state=StepState.QUEUED,
            provider="local", intent_at=1,
        )  # fmt: skip
        await journal.writer.put(journal.step(waiting), journal.event(Event(video_id=video_id, kind="x")))
        return (await ask(app, "GET", f"/v1/videos/{video_id}")).json()

    assert asyncio.run(test())["beats"][0]["chunk"]["state"] == "queued"


def test_while_the_journal_is_locked_a_new_video_is_refused_for_now_and_old_ones_are_shown(
    app: FastAPI, journal: Journal, tmp_path: Path
) -> None:
    body = json.dumps(BODY).encode()

    async def test() -> tuple[Answer, Answer, Answer]:
        video_id = (await ask(app, "POST", "/v1/videos", body)).json()["id"]
        with locked(journal._engine.url.database or ""):
            refused = await ask(app, "POST", "/v1/videos", body)
            shown = await ask(app, "GET", f"/v1/videos/{video_id}")
        return refused, shown, await ask(app, "POST", "/v1/videos", body)

    refused, shown, taken = asyncio.run(test())
    assert (refused.status, refused.json()["error"]["code"]) == (503, "journal_unavailable")
    assert b"retry-after" in refused.headers
    assert (shown.status, taken.status) == (200, 202)
    assert len(journal.video_ids()) == 2, "what was refused is not made later"
