"""Strangers that hold all the connections they can keep nobody out; `python -m tests.chaos.strangers` has thousands."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from raypipe.api.turns import TURNS
from tests.chaos.strangers import ask, keys, under_attack
from tests.chaos.test_restart import serving
from tests.patience import patience

SHARE = 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    data = tmp_path_factory.mktemp("strangers")
    with serving(data, RAYPIPE_REQUESTS_PER_CALLER=str(SHARE)) as (_, client):
        yield str(client.base_url), data


def test_who_is_over_a_share_is_refused_and_everybody_else_is_answered(service: tuple[str, Path]) -> None:
    url, data = service
    answers, strangers = under_attack(url, data, number=3 * SHARE, seconds=12)
    others = {(answer.what, answer.status) for answer in answers}
    assert others == {
        ("GET /healthz", 200),
        ("GET /v1/videos", 200),
        ("POST /v1/videos", 202),
        ("POST /v1/plans", 200),
    }
    assert strangers["429"] > 0, "more than a share was asked for"
    assert strangers["200"] >= SHARE, "the streams within the share were opened"


def test_a_stream_that_is_hung_up_gives_its_place_back(service: tuple[str, Path]) -> None:
    url, data = service
    (key,) = keys(data, "forgetful")
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as client:
        for _ in range(3):
            streams = [client.stream("GET", "/v1/events") for _ in range(SHARE)]
            opened = [stream.__enter__() for stream in streams]
            assert [stream.status_code for stream in opened] == [200] * SHARE
            assert ask(url, "GET", "/v1/videos", key).status == 429
            for stream in streams:
                stream.__exit__(None, None, None)
            while ask(url, "GET", "/v1/videos", key).status == 429:
                pass  # until the hang-ups have come there; the test's own limit of time ends it


def test_who_waits_for_a_video_keeps_nobody_from_having_one_accepted(service: tuple[str, Path]) -> None:
    url, data = service
    (key,) = keys(data, "patient")
    film = {
        "prompt": "A storm",
        "seconds": 5,
        "model": "simulated",
        "options": {"simulated": {"clip": 300.0}},
    }
    number = TURNS + 1  # and so more than are accepted at once
    with (
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=patience(90)
        ) as client,
        ThreadPoolExecutor(number) as threads,
    ):

        def accepted() -> list[str]:
            return [video["id"] for video in client.get("/v1/videos?limit=100").json()["data"]]

        waiting = []
        for before in range(number):
            waiting.append(
                threads.submit(client.post, "/v1/videos", json=film, headers={"Prefer": "wait=60"})
            )
            while len(accepted()) == before and not waiting[-1].done():
                pass  # until it is accepted, or refused
        videos = accepted()
        for video_id in videos:
            client.post(f"/v1/videos/{video_id}/cancel")
        assert len(videos) == number
        assert [asked.result().status_code for asked in waiting] == [202] * number


def test_bodies_that_come_slowly_keep_nothing_from_their_caller(service: tuple[str, Path]) -> None:
    url, data = service
    (key,) = keys(data, "slow")
    head = "POST /v1/plans HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 90\r\n"
    request = f"{head}Authorization: Bearer {key}\r\n\r\n".encode()
    where = httpx.URL(url)
    with ExitStack() as opened:
        for _ in range(TURNS + 1):
            slow = opened.enter_context(socket.create_connection((where.host, where.port or 0)))
            slow.sendall(request)
        for _ in range(2 * TURNS):
            assert ask(url, "GET", "/v1/videos", key).status == 200
