"""Kills under load: 50 videos in flight, nothing lost, nothing made twice."""

import asyncio
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest
from ray.cluster_utils import Cluster

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.journal import Journal, StepRecord
from raypipe.models import Size, StepState, VideoRequest, VideoState
from tests.chaos.invariants import broken, creates
from tests.chaos.rig import (
    ROOT,
    all_completed,
    ended,
    hand_in,
    kill_gateway,
    put_to_sleep,
    service,
    six_beats,
)
from tests.cluster.test_durable import DONE, fragile
from tests.cluster.test_pipeline import Run, make, steps_of
from tests.films import same_pictures
from tests.patience import patience


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, simulated_ledger=tmp_path / "ledger")


def test_gateways_killed_with_50_videos_in_flight_lose_no_video_and_create_nothing_twice(
    with_coordinator: Run, settings: Settings
) -> None:
    chosen = random.Random(13)

    async def test(coordinator: Coordinator) -> None:
        for seconds in (0.15, chosen.uniform(0.3, 1.0), chosen.uniform(1.0, 2.5)):
            ids = await asyncio.gather(*(coordinator.submit(six_beats(seed)) for seed in range(50)))
            ends = asyncio.gather(*map(coordinator.wait, ids))
            await asyncio.sleep(seconds)
            await kill_gateway(coordinator, chosen.randrange(2))
            assert set(await asyncio.wait_for(ends, patience(60))) == DONE
            made = creates(settings)
            assert all(sum(made[key] for key in made if key[0] == each) == 13 for each in ids)
            assert broken(settings, ids) == []

    with_coordinator(test)


def test_a_call_that_kills_its_gateway_every_time_fails_alone_after_three_starts(
    with_coordinator_of: Callable[..., Run], settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        ids = await asyncio.gather(*(coordinator.submit(six_beats(seed)) for seed in range(49)))
        bad = await coordinator.submit(fragile(2, {"chunk/1": "polling"}, times=99))
        states = await asyncio.wait_for(asyncio.gather(*map(coordinator.wait, ids)), patience(90))
        assert set(states) == DONE
        assert await asyncio.wait_for(coordinator.wait(bad), patience(60)) is VideoState.PARTIAL
        step = steps_of(coordinator, bad)["chunk/1"]
        assert step.error_code == "step_kills_gateway"
        assert (settings.data_dir / "kills").read_text().count("chunk/1") == 3
        assert broken(settings, [*ids, bad]) == []

    with_coordinator_of(settings.model_copy(update={"gateways": 1}))(test)


def test_a_journal_that_is_locked_for_ten_seconds_delays_and_loses_nothing(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        ids = await asyncio.gather(*(coordinator.submit(six_beats(seed)) for seed in range(50)))
        ends = asyncio.gather(*map(coordinator.wait, ids))
        await asyncio.sleep(0.6)
        other = sqlite3.connect(settings.data_dir / "journal.db", isolation_level=None, timeout=10)
        other.execute("begin immediate")
        until, slowest = time.monotonic() + 10, 0.0
        while time.monotonic() < until:
            asked = time.monotonic()
            await coordinator.check()  # as Serve's health check does
            slowest = max(slowest, time.monotonic() - asked)
            await asyncio.sleep(0.1)
        assert not ends.done()
        other.execute("rollback")
        other.close()
        assert set(await asyncio.wait_for(ends, patience(30))) == DONE
        assert slowest < patience(2.0), "who waits for the journal serves everybody else meanwhile"
        assert set(creates(settings).values()) == {1}
        assert broken(settings, ids) == []

    with_coordinator(test)


def test_a_killed_coordinators_50_videos_are_taken_over_and_nothing_is_made_again(
    cluster: Cluster, settings: Settings
) -> None:
    async def test(journal: Journal) -> None:
        log = settings.data_dir / "service.log"
        with (
            service(settings, cluster.address, log) as first,
            service(settings, cluster.address, log) as second,
        ):
            ids = await hand_in(settings, journal, map(six_beats, range(50)))
            await under_way(journal, ids, 20)
            first.kill()
            second.kill()
            killed = time.monotonic()
            with service(settings, cluster.address, log):
                await all_completed(journal, ids, 60)
            assert time.monotonic() - killed < patience(30)
        assert set(creates(settings).values()) == {1}
        assert sum(creates(settings).values()) == 13 * 50
        assert {video.epoch for video in journal.videos(ids).values()} == {2}
        assert broken(settings, ids) == []

    _with_journal(settings, test)


def _with_journal(settings: Settings, test: Callable[[Journal], Any]) -> None:
    journal = Journal(settings.journal_url)
    try:
        asyncio.run(test(journal))
    finally:
        journal.close()


def rows(journal: Journal, ids: list[str]) -> Any:
    """Return all that is written of videos; how long their owner's lease lasts is not theirs."""
    videos = {
        key: video.model_copy(update={"lease_until": None}) for key, video in journal.videos(ids).items()
    }
    return videos, journal.steps_of(ids), journal.phases_of(ids)


def test_a_coordinator_that_slept_past_its_lease_changes_nothing_when_it_wakes_up(
    cluster: Cluster, settings: Settings
) -> None:
    async def test(journal: Journal) -> None:
        log = settings.data_dir / "service.log"
        with service(settings, cluster.address, log) as sleeper:
            ids = await hand_in(settings, journal, (six_beats(seed, scale=2) for seed in range(20)))
            await under_way(journal, ids, 20)
            await put_to_sleep(sleeper, settings)
            with service(settings, cluster.address, log):
                await all_completed(journal, ids, 60)
                before = rows(journal, ids)
                last = {each: len(journal.events(each)) for each in ids}
                os.kill(sleeper.pid, signal.SIGCONT)
                await asyncio.sleep(3)
                assert rows(journal, ids) == before
                assert {each: len(journal.events(each)) for each in ids} == last
                more = await hand_in(settings, journal, map(six_beats, range(20, 26)))
                await all_completed(journal, more, 30)
            assert sleeper.poll() is None
        assert set(creates(settings).values()) == {1}
        assert {video.epoch for video in journal.videos(ids).values()} == {2}
        assert broken(settings, [*ids, *more]) == []

    _with_journal(settings, test)


def test_a_service_that_is_stopped_and_started_again_goes_on_by_itself(
    cluster: Cluster, settings: Settings
) -> None:
    async def test(journal: Journal) -> None:
        log = settings.data_dir / "service.log"
        with service(settings, cluster.address, log) as first:
            ids = await hand_in(settings, journal, map(six_beats, range(20)))
            await under_way(journal, ids, 20)
            first.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(first.wait, 20) == 0
        assert {video.state for video in journal.videos(ids).values()} <= {VideoState.QUEUED, *DONE}
        began = time.monotonic()
        with service(settings, cluster.address, log):
            await all_completed(journal, ids, 60)
        assert time.monotonic() - began < patience(20)
        assert set(creates(settings).values()) == {1}
        assert broken(settings, ids) == []

    _with_journal(settings, test)


def test_cpu_work_whose_process_is_killed_is_done_again_and_the_film_is_the_same(
    with_coordinator: Run, settings: Settings
) -> None:
    """The local provider's renders, last frames and stitch; kills as long as the video is made."""
    request = VideoRequest(prompt="a lake", duration=30, seed=5, size=Size(width=320, height=180))

    async def test(coordinator: Coordinator) -> None:
        undisturbed, state = await make(coordinator, request)
        assert state is VideoState.COMPLETED
        video_id = await coordinator.submit(request)
        end = asyncio.create_task(coordinator.wait(video_id))
        kills = 0
        while not end.done() and kills < 6:
            await asyncio.sleep(0.4)
            busy = [pid for pid, name in workers() if "_reporting_task" in name or "Helper" in name]
            if busy:
                os.kill(busy[kills % len(busy)], signal.SIGKILL)
                kills += 1
        assert kills >= 3
        assert await asyncio.wait_for(end, patience(90)) is VideoState.COMPLETED
        films = [coordinator.journal.video(each).result for each in (undisturbed, video_id)]
        one, other = (coordinator.store.get(film) for film in films if film is not None)
        assert same_pictures(one, other)
        assert broken(settings, [undisturbed, video_id]) == []

    with_coordinator(test)


def workers() -> list[tuple[int, str]]:
    """Return the Ray workers of this test run's cluster: process ids and what they do."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if line.startswith("ray::"):
            found.append((process.pid, line))
    return found


def test_videos_go_on_when_the_node_of_their_gateways_is_lost(
    cluster: Cluster, with_coordinator_of: Callable[..., Run], settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        node = cluster.add_node(num_cpus=1)
        cluster.wait_for_nodes()
        gateways = await coordinator.gateways()
        gateways._node = node.node_id
        ids = await asyncio.gather(*(coordinator.submit(six_beats(seed, scale=2)) for seed in range(20)))
        ends = asyncio.gather(*map(coordinator.wait, ids))
        where = {step.node for each in ids for step in await _begun(coordinator, each)}
        assert where == {node.node_id}
        cluster.remove_node(node, allow_graceful=False)
        assert set(await asyncio.wait_for(ends, patience(90))) == DONE
        assert set(creates(settings).values()) == {1}
        assert broken(settings, ids) == []

    # not ready before: the gateways are started on the node that is added
    with_coordinator_of(settings, ready=False)(test)


async def _begun(coordinator: Coordinator, video_id: str) -> list[StepRecord]:
    while True:
        steps = await asyncio.to_thread(coordinator.journal.steps, video_id)
        begun = [step for step in steps if step.state is StepState.ACCEPTED]
        if begun:
            return begun
        await asyncio.sleep(0.05)


def test_a_video_that_brings_its_coordinator_down_three_times_is_quarantined_and_the_others_are_made(
    cluster: Cluster, settings: Settings
) -> None:
    async def test(journal: Journal) -> None:
        log, deaths = settings.data_dir / "service.log", 0
        poison = six_beats(1).model_copy(update={"prompt": "kill the coordinator"})
        requests = [
            *(six_beats(seed) for seed in range(5)),
            poison,
            *(six_beats(seed) for seed in range(5, 10)),
        ]
        ids = await hand_in(settings, journal, requests)
        bad = ids[5]
        while (await ended(journal, [bad], 0))[0] is not VideoState.FAILED:
            with service(
                settings, cluster.address, log, RAYPIPE_TEST_POISON="kill the coordinator"
            ) as process:
                while process.poll() is None and journal.video(bad).state is not VideoState.FAILED:
                    await asyncio.sleep(0.1)
                deaths += process.poll() is not None
                if process.poll() is None:
                    await all_completed(journal, [each for each in ids if each != bad], 30)
        assert deaths == 3
        assert journal.video(bad).error_code == "quarantined"
        assert broken(settings, ids) == []

    _with_journal(settings, test)


def test_messages_that_ray_loses_or_delays_lose_nothing(tmp_path: Path) -> None:
    """Of raypipe's own calls three of 20 fail, unsent, unanswered or cut off, and all are late; 30 videos."""
    chances = {"num_failures": -1, "req_failure_prob": 5, "resp_failure_prob": 5, "in_flight_failure_prob": 5}
    environment = {
        **os.environ,
        "RAY_testing_rpc_failure": json.dumps({"CoreWorkerService.grpc_client.PushTask": chances}),
        "RAY_testing_asio_delay_us": "CoreWorkerService.grpc_server.PushTask=1000:20000",
    }
    command = [sys.executable, "-m", "tests.chaos.flaky", "--data", str(tmp_path), "--videos", "30"]
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=patience(170), check=False
    )
    assert ran.returncode == 0, ran.stdout[-1_000:] + ran.stderr[-1_000:]
    assert "30 completed" in ran.stdout, ran.stdout


@pytest.mark.usefixtures("namespaces")
def test_work_that_takes_more_memory_than_there_is_fails_alone_after_three_tries() -> None:
    command = [sys.executable, "-m", "tests.chaos.greedy"]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(170), check=False
    )
    assert ran.returncode == 0, ran.stdout[-1_000:] + ran.stderr[-1_000:]
    said = [line for line in ran.stdout.splitlines() if line.startswith(("video: ", "step: "))]
    assert said[0] == "video: partial"
    assert "step: chunk/1 out_of_memory" in said
    assert said[-1] == "video: completed"


def test_services_that_are_restarted_one_after_the_other_lose_nothing_of_100_videos_in_flight(
    cluster: Cluster, settings: Settings
) -> None:
    async def test(journal: Journal) -> None:
        log = settings.data_dir / "service.log"
        with (
            service(settings, cluster.address, log) as first,
            service(settings, cluster.address, log) as second,
        ):
            ids = await hand_in(settings, journal, (six_beats(seed, scale=3) for seed in range(100)))
            await under_way(journal, ids, 100)
            for old in (first, second):
                began = time.monotonic()
                old.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(old.wait, 30) == 0
                assert time.monotonic() - began < patience(20), "it ends within its grace"
                await asyncio.to_thread(replaced.enter_context, service(settings, cluster.address, log))
            await all_completed(journal, ids, 90)
        assert set(creates(settings).values()) == {1}
        assert sum(creates(settings).values()) == 13 * 100
        assert broken(settings, ids) == []

    with ExitStack() as replaced:
        _with_journal(settings, test)


async def under_way(journal: Journal, ids: list[str], number: int) -> None:
    """Return when providers are at work on so many steps."""
    while sum(step.state is StepState.ACCEPTED for each in ids for step in journal.steps(each)) < number:
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("moment", ["before create", "after create", "polling", "before delivery"])
def test_a_gateway_killed_around_a_create_a_poll_or_a_delivery_makes_the_step_once(
    with_coordinator: Run, settings: Settings, moment: str
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, fragile(2, {"chunk/0": moment}))
        assert state is VideoState.COMPLETED
        made = creates(settings)
        assert set(made.values()) == {1}
        assert len(made) == 5
        step = steps_of(coordinator, video_id)["chunk/0"]
        assert (step.attempt, step.possible_duplicate) == (2 if moment == "before create" else 1, False)
        assert broken(settings, [video_id]) == []

    with_coordinator(test)
