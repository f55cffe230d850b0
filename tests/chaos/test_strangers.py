"""Strangers that hold all the connections they can keep nobody out; `python -m tests.chaos.strangers` has thousands."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.chaos.strangers import ask, keys, under_attack
from tests.chaos.test_restart import serving

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
