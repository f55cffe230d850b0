"""Users of the suite see what is wrong with an answer, whatever its status, and nothing wrong with a right one."""

from typing import Any

import httpx
import pytest

from raypipe.api.failures import failure
from raypipe.errors import InternalError
from tests.chaos.answers import Answers

VIDEO: dict[str, Any] = {"object": "video", "id": "vid_1", "state": "running", "progress": 40}


def answer(status: int, path: str = "/v1/videos/vid_1", **body: Any) -> httpx.Response:
    return httpx.Response(status, request=httpx.Request("GET", f"http://127.0.0.1{path}"), **body)


def noted(*answers: httpx.Response, there: str | None = None) -> list[str]:
    notes: list[str] = []
    judge = Answers(notes.append)
    for each in answers:
        judge.judge(each, there)
    return notes


@pytest.mark.parametrize("status", [400, 404, 409, 422, 429, 500, 503, 507])
def test_an_error_in_our_shape_is_right(status: int) -> None:
    ours = failure(status, InternalError.code, "Something went wrong here.")
    headers = dict(ours.headers)
    assert noted(answer(status, content=bytes(ours.body), headers=headers)) == []


@pytest.mark.parametrize(
    "body",
    [
        {"text": "Internal Server Error"},
        {"text": ""},
        {"html": "<h1>502 Bad Gateway</h1>"},
        {"json": {"detail": "Not Found"}},
        {"json": {"error": "internal_error"}},
        {"json": {"error": {"code": "internal_error", "message": "", "param": None}}},
        {"json": {"error": {"code": "", "message": "It failed.", "param": None}}},
        {"json": {"error": {"code": "a", "message": "b", "param": None}, "trace": "..."}},
        {"json": ["error"]},
        {"content": b"{", "headers": {"content-type": "application/json"}},
    ],
)
@pytest.mark.parametrize("status", [404, 500, 503])
def test_an_error_in_another_shape_is_noted(status: int, body: dict[str, Any]) -> None:
    (note,) = noted(answer(status, **body))
    assert note.startswith(f"GET /v1/videos/ID was answered {status} with ")


def test_what_serve_answers_for_itself_is_not_judged() -> None:
    assert noted(answer(503, "/-/healthz", text="unhealthy")) == []


def test_a_video_that_is_there_is_found() -> None:
    ours = failure(404, "video_not_found", "There is no video.")
    missing = answer(404, content=bytes(ours.body), headers=dict(ours.headers))
    assert noted(missing) == []
    assert noted(missing, there="vid_1") == ["GET /v1/videos/ID was answered 404, and there is such a video"]


def test_progress_that_goes_back_is_noted_unless_a_beat_is_made_anew() -> None:
    notes: list[str] = []
    judge = Answers(notes.append)
    for progress in (40, 40, 60):
        judge.judge(answer(200, json=VIDEO | {"progress": progress}))
    assert notes == []
    judge.judge(answer(200, json=VIDEO | {"progress": 59}))
    assert notes == ["progress went back from 60 to 59, and nothing was made anew"]
    judge.changes("vid_1")
    judge.judge(answer(200, json=VIDEO | {"progress": 20}))
    assert len(notes) == 1


@pytest.mark.parametrize(("state", "progress"), [("completed", 99), ("running", 100), ("failed", 100)])
def test_progress_is_100_for_what_is_completed_alone(state: str, progress: int) -> None:
    (note,) = noted(answer(200, json=VIDEO | {"state": state, "progress": progress}))
    assert note == f"a video is {state}, and its progress {progress}"


def test_a_film_is_an_mp4_and_all_else_an_object() -> None:
    film = {"headers": {"content-type": "video/mp4"}}
    assert noted(answer(200, content=b"\0\0\0\x20ftypisom", **film)) == []
    assert len(noted(answer(200, content=b"<html>", **film))) == 1
    assert len(noted(answer(200, json=[]))) == 1
    assert len(noted(answer(200, text="ok"))) == 1
