"""Programs that are killed, and started again: what was paid is not paid again, and every video comes to its end."""

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from raypipe.config import Settings
from raypipe.journal import Journal
from tests.acceptance.conftest import Service, _free_port, _when_ready
from tests.acceptance.test_cli import RAYPIPE, assert_no_process_is_left, environment, options, raypipe
from tests.chaos.invariants import broken, creates
from tests.films import same_pictures
from tests.patience import patience

LOCAL = ("generate", "A hiker at sunrise", "--size", "192x108", "--seed", "7", "--duration", "20")


def started(data: Path, *args: str, **more: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [RAYPIPE, *args],
        env={**environment(data), **more},
        cwd=data,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_steps(data: Path, number: int) -> dict[str, Any]:
    """Return the newest video when so many of its steps are done."""
    deadline = time.monotonic() + patience(60)
    while time.monotonic() < deadline:
        shown = raypipe(data, "show", "last", "--json")
        if shown.returncode == 0:
            video: dict[str, Any] = json.loads(shown.stdout)
            if sum(step["state"] == "done" for step in video["steps"]) >= number:
                return video
    pytest.fail(f"there were never {number} steps done")


def test_a_killed_generate_is_resumed_and_the_film_is_what_it_would_have_been(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    assert raypipe(whole, *LOCAL, "-o", "film.mp4").returncode == 0
    process = started(killed, *LOCAL, "-o", "film.mp4")
    before = wait_for_steps(killed, 5)
    process.kill()
    process.communicate()
    done = {step["step"]: step for step in before["steps"] if step["state"] == "done"}
    resumed = raypipe(killed, "resume", "last", "-o", "film.mp4")
    assert resumed.returncode == 0, resumed.stderr
    after = {
        step["step"]: step for step in json.loads(raypipe(killed, "show", "last", "--json").stdout)["steps"]
    }
    assert {name: after[name] for name in done} == done, "what was done is as it was"
    # the encoder's bytes may differ from run to run, by what it saw of the processor's time
    assert same_pictures((killed / "film.mp4").read_bytes(), (whole / "film.mp4").read_bytes())
    again = raypipe(killed, "resume", "last")
    assert again.returncode == 1
    assert "is completed: there is nothing to go on with here. Try: raypipe show" in again.stderr
    kill_all(killed)  # some of Ray's own


def test_an_interrupted_generate_says_how_to_go_on_and_the_paid_clip_is_fetched(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    paid = {"RAYPIPE_SIMULATED_LEDGER": str(ledger)}
    simulated = ("generate", "A keeper", "--model", "simulated", "--duration", "20")
    process = started(tmp_path, *simulated, *options(clip=[0.3, 6.0], price=0.5), **paid)
    wait_for_steps(tmp_path, 9)
    wait_until_accepted(tmp_path, 9)
    process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=patience(20))
    assert "raylet" not in out + said
    assert process.returncode == 128 + signal.SIGTERM
    assert "raypipe resume vid_" in said
    assert len(ledger.read_text().splitlines()) == 9, "all is sent by now"
    environs = {**environment(tmp_path), **paid}
    resumed = subprocess.run(
        [RAYPIPE, "resume", "last", "-o", "film.mp4"],
        env=environs,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert "image 0 done" not in resumed.stderr, "only what is new is told"
    assert len(ledger.read_text().splitlines()) == 9, "nothing was sent again"
    assert json.loads(raypipe(tmp_path, "show", "last", "--json").stdout)["cost"] == 4.5


def test_who_else_makes_a_video_is_left_to_it(tmp_path: Path) -> None:
    simulated = ("generate", "A keeper", "--model", "simulated", "--duration", "5")
    process = started(tmp_path, *simulated, *options(clip=30.0))
    wait_for_steps(tmp_path, 1)
    second = raypipe(tmp_path, "resume", "last")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=patience(20))
    assert second.returncode == 1
    assert "is being made by another process" in second.stderr


@contextmanager
def serving(data: Path, **more: str) -> Iterator[tuple["subprocess.Popen[bytes]", httpx.Client]]:
    """A service with a data directory that outlives it; every process of it is killed at the end."""
    port = _free_port()
    command = [RAYPIPE, "serve", "--port", str(port)]
    environs = {**environment(data), "RAYPIPE_SIMULATED_LEDGER": str(data / "ledger"), **more}
    with (data / "serve.log").open("a") as log:
        process = subprocess.Popen(
            command, env=environs, cwd=data, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        _when_ready(Service(f"http://127.0.0.1:{port}", data), process, data / "serve.log")
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=patience(30)) as client:
            yield process, client
    finally:
        kill_all(data)
        process.wait()


def kill_all(data: Path) -> None:
    """SIGKILL every process that was started for this data directory, by its id."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"RAYPIPE_DATA_DIR={data}\0".encode() in (process / "environ").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)
        except OSError:
            continue
    assert_no_process_is_left(data)


def hand_in(client: httpx.Client, number: int) -> list[str]:
    asked = {"image": 0.3, "clip": [2.0, 1.0], "music": 0.3, "price": 0.1}
    body = {
        "prompt": "A lighthouse in a storm",
        "seconds": 30,
        "model": "simulated",
        "options": {"simulated": asked},
    }
    return [client.post("/v1/videos", json={**body, "seed": seed}).json()["id"] for seed in range(number)]


def wait_until_accepted(data: Path, number: int) -> None:
    ledger, deadline = data / "ledger", time.monotonic() + patience(60)
    while not ledger.exists() or len(ledger.read_text().splitlines()) < number:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ends(client: httpx.Client, ids: list[str], seconds: float) -> set[str]:
    deadline = time.monotonic() + patience(seconds)
    while True:
        states = {client.get(f"/v1/videos/{each}").json()["state"] for each in ids}
        if states <= {"completed", "failed", "partial"} or time.monotonic() > deadline:
            return states
        time.sleep(0.2)


def test_a_service_goes_on_after_a_restart_and_after_everything_was_killed(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, simulated_ledger=tmp_path / "ledger")
    with serving(tmp_path) as (process, client):
        first = hand_in(client, 20)
        wait_until_accepted(tmp_path, 60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(patience(60)) == 128 + signal.SIGTERM
        assert_no_process_is_left(tmp_path)
    with serving(tmp_path) as (_, client):
        assert ends(client, first, 30) == {"completed"}
        assert sum(creates(settings).values()) == 13 * 20
        second = hand_in(client, 50)
        wait_until_accepted(tmp_path, 13 * 20 + 200)
    with serving(tmp_path) as (_, client):
        up = time.monotonic()
        assert ends(client, second, 30) == {"completed"}
        print(f"all of Ray killed: 50 videos ended {time.monotonic() - up:.1f} s after Serve was up")
        assert broken(settings, [*first, *second]) == []
        made = creates(settings)
        assert set(made.values()) == {1}
        assert sum(made.values()) == 13 * 70


async def follower(url: str, video_id: str, number: int) -> list[tuple[int, str]]:
    """Follow a video's events to its end, and come back whenever the connection is lost."""
    seen: list[tuple[int, str]] = []
    await asyncio.sleep(number * 0.01)
    async with httpx.AsyncClient(base_url=url, timeout=httpx.Timeout(30)) as client:
        while not seen or seen[-1][1] != "video.completed":
            headers = {"Last-Event-ID": str(seen[-1][0])} if seen else {}
            try:
                async with client.stream("GET", f"/v1/videos/{video_id}/events", headers=headers) as answer:
                    if answer.status_code == 200:
                        await read_events(answer, seen)
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)
    return seen


async def read_events(answer: httpx.Response, seen: list[tuple[int, str]]) -> None:
    event_id = 0
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if name == "id":
            event_id = int(value)
        elif name == "data":
            seen.append((event_id, json.loads(value)["kind"]))
            if seen[-1][1] == "video.completed":
                return


def test_200_clients_see_every_event_once_through_the_death_of_the_replica_that_sends_them(
    tmp_path: Path,
) -> None:
    async def test(url: str, video_id: str, api: int) -> list[list[tuple[int, str]]]:
        following = asyncio.gather(*(follower(url, video_id, number) for number in range(200)))
        await asyncio.sleep(5)
        os.kill(api, signal.SIGKILL)
        return await asyncio.wait_for(following, patience(120))

    with serving(tmp_path) as (process, client):
        slow = {"simulated": {"image": 2.0, "clip": [6.0, 5.0], "music": 2.0}}
        request = {"prompt": "A storm", "seconds": 30, "model": "simulated", "options": slow}
        video_id = client.post("/v1/videos", json=request).json()["id"]
        found = psutil.Process(process.pid).children(recursive=True)
        (api,) = (each.pid for each in found if "ServeReplica:raypipe:Api" in " ".join(each.cmdline()))
        seen = asyncio.run(test(str(client.base_url), video_id, api))
        journal = Journal(Settings(data_dir=tmp_path).journal_url)
        everything = [(event.id, event.kind) for event in journal.events(video_id)]
        journal.close()
    assert everything[-1][1] == "video.completed"
    assert len(everything) > 40
    assert all(each == everything for each in seen)


def test_a_disk_on_which_not_even_the_journal_fits_any_more_is_said_to_be_full_and_what_is_kept(
    tmp_path: Path, small_disk: Path
) -> None:
    (small_disk / "filling").write_bytes(bytes(350_000))
    environs = {**environment(tmp_path), "RAYPIPE_DATA_DIR": str(small_disk), "RAYPIPE_MIN_FREE_MIB": "0"}
    command = [RAYPIPE, "generate", "A lighthouse", "--size", "320x180", "-o", "film.mp4"]
    ran = subprocess.run(
        command, env=environs, cwd=tmp_path, capture_output=True, text=True, timeout=patience(90), check=False
    )
    assert ran.returncode == 1
    assert "disk is full" in ran.stderr
    assert "kept" in ran.stderr
    assert "raypipe resume vid_" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "never retrieved" not in ran.stderr
    (small_disk / "filling").unlink()
    for data in (small_disk / "artifacts").glob("*/*.*"):
        pytest.fail(f"{data} is half written")
    listed = subprocess.run(
        [RAYPIPE, "list"], env=environs, capture_output=True, text=True, timeout=patience(30), check=False
    )
    assert "A lighthouse" in listed.stdout
