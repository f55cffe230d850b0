"""A service under fire over HTTP: answers that are lost, clients that hang up, parts of it that are killed or hang."""

import asyncio
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import openai
import psutil
import pytest

from raypipe.config import Settings
from raypipe.journal import Journal
from tests.chaos.test_restart import follower, serving
from tests.clusters import PROVIDERS
from tests.patience import patience

POINTS = Path(__file__).parent / "points"


class Fired(NamedTuple):
    """A service, where its points are armed, and its processes."""

    url: str
    data: Path
    points: Path
    process: psutil.Process

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=patience(30))

    def pids(self, *names: str) -> list[int]:
        """Ids of its processes by how Ray names them."""
        found = []
        for process in self.process.children(recursive=True):
            with suppress(psutil.Error):
                if any(name in " ".join(process.cmdline()) for name in names):
                    found.append(process.pid)
        return found

    @property
    def metrics(self) -> str:
        """Ray's metrics of the node, from where the service says that they are."""
        (address,) = re.findall(r"Metrics on (\S+)", (self.data / "serve.log").read_text())
        return httpx.get(address).text


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fired]:
    data = tmp_path_factory.mktemp("fired")
    points = data / "points"
    for name in ("armed", "fired"):
        (points / name).mkdir(parents=True)
    path = os.pathsep.join((str(POINTS), PROVIDERS))
    with serving(data, RAYPIPE_CHAOS_POINTS=str(points), PYTHONPATH=path) as (process, client):
        yield Fired(str(client.base_url), data, points, psutil.Process(process.pid))


def film(**latency: float | list[float]) -> dict[str, Any]:
    options = {"simulated": {"image": 0.2, "clip": 0.2, "music": 0.1, **latency}}
    return {"prompt": "A storm", "seconds": 20, "model": "simulated", "options": options}


def until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + patience(seconds)
    while not is_so():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


def ready(client: httpx.Client) -> int:
    try:
        return client.get("/readyz").status_code
    except httpx.TransportError:
        return 0


def test_a_video_whose_answer_was_lost_is_made_once(service: Fired) -> None:
    with service.client() as client:
        (service.points / "armed" / "after-intent").touch()
        key, answers = {"Idempotency-Key": "the only one"}, []
        deadline = time.monotonic() + patience(60)
        while not answers or answers[-1] != 202:
            assert time.monotonic() < deadline
            try:
                answer = client.post("/v1/videos", json=film(), headers=key)
                answers.append(answer.status_code)
            except httpx.TransportError:
                answers.append(0)
            time.sleep(0.1)
        assert list((service.points / "fired").iterdir()), "the replica died between commit and answer"
        assert len(answers) > 1
        assert answer.headers["Idempotency-Replayed"] == "true"
        listed = client.get("/v1/videos").json()["data"]
        assert [each["id"] for each in listed] == [answer.json()["id"]]
        until(lambda: client.get(f"/v1/videos/{answer.json()['id']}").json()["state"] == "completed", 30)


def _create_beside_a_kill(service: Fired, number: int) -> str:
    """Create a video by OpenAI's client while the replica that answers is killed; gives what its caller gets."""
    with service.client() as client:
        until(lambda: ready(client) == 200, 60)
    timer = None
    if number % 2:
        (pid,) = service.pids("ray::ServeReplica:raypipe:Api")
        timer = threading.Timer(0.002 * number, os.kill, (pid, signal.SIGKILL))
        timer.start()
    else:
        (service.points / "armed" / "after-intent").touch()  # it dies between commit and answer
    try:
        with openai.OpenAI(base_url=f"{service.url}/v1", api_key="none") as vendor:
            vendor.videos.create(prompt=f"Storm {number}", model="simulated", seconds="8")
        return "202"
    except openai.APIStatusError as error:
        return f"{error.status_code} {error.response.json()['error']['code']}"
    finally:
        if timer is not None:
            timer.join()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.timeout(900)
def test_openais_client_makes_at_most_one_video_beside_a_replica_that_is_killed(service: Fired) -> None:
    tries = int(os.environ.get("RAYPIPE_CREATES_BESIDE_KILLS", "3"))
    answers = [_create_beside_a_kill(service, number) for number in range(tries)]
    assert set(answers) <= {"202", "503 answer_lost"}
    assert answers[::2] == ["503 answer_lost"] * len(answers[::2]), (
        "its replica had died, and it asked no more"
    )
    with service.client() as client:
        until(lambda: ready(client) == 200, 60)
        made = Counter(video["prompt"] for video in client.get("/v1/videos?limit=100").json()["data"])
    assert all(made[f"Storm {number}"] <= 1 for number in range(tries))
    assert all(made[f"Storm {number}"] == 1 for number in range(0, tries, 2)), "it was accepted"


def test_clients_see_every_event_once_while_proxy_and_controller_are_killed(service: Fired) -> None:
    with service.client() as client:
        video_id = client.post("/v1/videos", json=film(clip=[9.0, 4.0])).json()["id"]

    async def test() -> list[list[tuple[int, str]]]:
        following = asyncio.gather(*(follower(service.url, video_id, number) for number in range(20)))
        for names in (("ServeProxy", "ProxyActor"), ("ServeController",)):
            await asyncio.sleep(2)
            (pid,) = service.pids(*names)
            os.kill(pid, signal.SIGKILL)
        return await asyncio.wait_for(following, patience(120))

    seen = asyncio.run(test())
    journal = Journal(Settings(data_dir=service.data).journal_url)
    everything = [(event.id, event.kind) for event in journal.events(video_id)]
    journal.close()
    assert everything[-1][1] == "video.completed"
    assert all(each == everything for each in seen)


def test_a_proxy_that_died_is_there_again_within_seconds(service: Fired) -> None:
    with service.client() as client:
        video_id = client.post("/v1/videos", json=film()).json()["id"]
        (pid,) = service.pids("ServeProxy", "ProxyActor")
        os.kill(pid, signal.SIGKILL)
        answers: list[int] = []

        def is_back() -> bool:
            try:
                answers.append(client.get(f"/v1/videos/{video_id}").status_code)
            except httpx.TransportError:
                answers.append(0)
            return 0 in answers and answers[-10:] == [200] * 10

        until(is_back, 15)
    assert set(answers) <= {0, 200, 503}


def test_200_clients_that_hang_up_stop_nothing_and_leave_nothing_behind(service: Fired) -> None:
    async def hang_up(number: int) -> None:
        async with httpx.AsyncClient(base_url=service.url, timeout=patience(30)) as client:
            with suppress(TimeoutError, httpx.TransportError):
                async with asyncio.timeout(0.001 * (number % 100)):
                    if number % 2:
                        await client.post("/v1/videos", json=film(), headers={"Prefer": "wait=30"})
                    else:
                        async with client.stream("GET", "/v1/events") as answer:
                            async for _ in answer.aiter_lines():
                                pass

    async def test() -> None:
        await asyncio.gather(*(hang_up(number) for number in range(200)))

    asyncio.run(test())
    with service.client() as client:
        until(
            lambda: all(
                each["state"] == "completed" for each in client.get("/v1/videos?limit=100").json()["data"]
            ),
            60,
        )
        until(lambda: _ongoing(service) == 0, 60)
    assert "TaskCancelledError" not in (service.data / "logs" / "raypipe.log").read_text()


def _ongoing(service: Fired) -> float | None:
    """How many requests Serve's proxies are at work on, as Ray's metrics say; None before a new proxy has told."""
    found = re.findall(r"^ray_serve_num_ongoing_http_requests\{.*\} (\S+)$", service.metrics, re.MULTILINE)
    return sum(map(float, found)) if found else None


@pytest.mark.parametrize(
    "headers",
    [
        {"x-request-timeout-seconds": "0.001"},
        {"x-request-timeout-seconds": "999999"},
        {"x-request-disconnect-disabled": "?1"},
    ],
)
def test_no_client_decides_how_long_serve_waits(service: Fired, headers: dict[str, str]) -> None:
    with service.client() as client:
        began = time.monotonic()
        answer = client.post("/v1/videos", json=film(image=2.0), headers={**headers, "Prefer": "wait=1"})
        assert answer.status_code == 202
        assert 0.9 < time.monotonic() - began < patience(15)


def test_a_gateway_that_hangs_is_noticed(service: Fired) -> None:
    with service.client() as client:
        until(lambda: ready(client) == 200, 60)
        hanging = service.pids("ray::Gateway")
        assert hanging
        for pid in hanging:
            os.kill(pid, signal.SIGSTOP)
        try:
            until(lambda: ready(client) == 503, 20)
            assert client.get("/healthz").status_code == 200, "what is accepted waits"
            taken = client.post("/v1/videos", json=film())
            assert taken.status_code == 202
        finally:
            for pid in hanging:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        until(lambda: ready(client) == 200, 60)
        until(lambda: client.get(f"/v1/videos/{taken.json()['id']}").json()["state"] == "completed", 60)
