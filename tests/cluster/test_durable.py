"""What a crash may cost: nothing that was paid, and no video. Real processes are killed, a real ledger is read."""

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.errors import LeaseLost
from raypipe.journal import Journal
from raypipe.models import Job, StepState, Track, VideoState
from raypipe.providers.base import MusicWork
from tests.chaos.invariants import broken, creates
from tests.chaos.rig import ended, hand_in, kill_gateway, pid_of, service, six_beats

from .test_pipeline import Run, make, simulated, steps_of

DONE = {VideoState.COMPLETED}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, simulated_ledger=tmp_path / "ledger")


def fragile(beats: int, kill: dict[str, str], **options: Any) -> Any:
    request = simulated(beats, kill=kill, **options)
    return request.model_copy(update={"provider": "fragile"})


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
            assert set(await asyncio.wait_for(ends, 60)) == DONE
            made = creates(settings)
            assert all(sum(made[key] for key in made if key[0] == each) == 13 for each in ids)
            assert broken(settings, ids) == []

    with_coordinator(test)


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


def test_a_create_whose_outcome_nobody_can_tell_is_held_and_then_fails_and_says_so(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(2, lose={"chunk/1": 1}, finds=False))
        assert state is VideoState.PARTIAL
        assert creates(settings)[video_id, "chunk/1"] == 1
        video, step = coordinator.journal.video(video_id), steps_of(coordinator, video_id)["chunk/1"]
        assert video.error_code == step.error_code == "outcome_unknown"
        assert "not known whether it was taken, and paid" in step.error_message
        kinds = [event.kind for event in coordinator.journal.events(video_id) if event.step == "chunk/1"]
        assert kinds == ["step.started", "step.unknown", "step.failed"]

    with_coordinator(test)


def test_a_create_whose_answer_was_lost_is_found_at_the_provider(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(2, lose={"chunk/1": 1}))
        assert state is VideoState.COMPLETED
        assert set(creates(settings).values()) == {1}
        assert not any(step.possible_duplicate for step in coordinator.journal.steps(video_id))

    with_coordinator(test)


def test_who_prefers_paying_twice_to_waiting_has_it_sent_once_more_and_marked(
    with_coordinator_of: Callable[..., Run], settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(2, lose={"chunk/1": 1}, finds=False))
        assert state is VideoState.COMPLETED
        made = creates(settings)
        assert made.pop((video_id, "chunk/1")) == 2
        assert set(made.values()) == {1}
        marked = [step.step for step in coordinator.journal.steps(video_id) if step.possible_duplicate]
        assert marked == ["chunk/1"]

    with_coordinator_of(settings.model_copy(update={"on_unknown": "resubmit_once"}))(test)


def test_a_call_that_kills_its_gateway_every_time_fails_alone_after_three_starts(
    with_coordinator_of: Callable[..., Run], settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        ids = await asyncio.gather(*(coordinator.submit(six_beats(seed)) for seed in range(49)))
        bad = await coordinator.submit(fragile(2, {"chunk/1": "polling"}, times=99))
        states = await asyncio.wait_for(asyncio.gather(*map(coordinator.wait, ids)), 90)
        assert set(states) == DONE
        assert await asyncio.wait_for(coordinator.wait(bad), 60) is VideoState.PARTIAL
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
        assert set(await asyncio.wait_for(ends, 30)) == DONE
        assert slowest < 2.0, "who waits for the journal serves everybody else meanwhile"
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
            while sum(step.state is StepState.ACCEPTED for each in ids for step in journal.steps(each)) < 20:
                await asyncio.sleep(0.05)
            first.kill()
            second.kill()
            killed = time.monotonic()
            with service(settings, cluster.address, log):
                assert set(await ended(journal, ids, 60)) == DONE
            assert time.monotonic() - killed < 30
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


def test_a_coordinator_that_slept_past_its_lease_changes_nothing_when_it_wakes_up(
    cluster: Cluster, settings: Settings
) -> None:
    async def test(journal: Journal) -> None:
        log = settings.data_dir / "service.log"
        with service(settings, cluster.address, log) as sleeper:
            ids = await hand_in(settings, journal, (six_beats(seed, scale=2) for seed in range(20)))
            while sum(step.state is StepState.ACCEPTED for each in ids for step in journal.steps(each)) < 20:
                await asyncio.sleep(0.05)
            os.kill(sleeper.pid, signal.SIGSTOP)
            with service(settings, cluster.address, log):
                assert set(await ended(journal, ids, 60)) == DONE
                before = journal.videos(ids), journal.steps_of(ids), journal.phases_of(ids)
                last = {each: len(journal.events(each)) for each in ids}
                os.kill(sleeper.pid, signal.SIGCONT)
                await asyncio.sleep(3)
                assert (journal.videos(ids), journal.steps_of(ids), journal.phases_of(ids)) == before
                assert {each: len(journal.events(each)) for each in ids} == last
                more = await hand_in(settings, journal, map(six_beats, range(20, 26)))
                assert set(await ended(journal, more, 30)) == DONE, "both go on with other videos"
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
            while sum(step.state is StepState.ACCEPTED for each in ids for step in journal.steps(each)) < 20:
                await asyncio.sleep(0.05)
            first.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(first.wait, 20) == 0
        assert {video.state for video in journal.videos(ids).values()} <= {VideoState.QUEUED, *DONE}
        began = time.monotonic()
        with service(settings, cluster.address, log):
            assert set(await ended(journal, ids, 60)) == DONE
        assert time.monotonic() - began < 20
        assert set(creates(settings).values()) == {1}
        assert broken(settings, ids) == []

    _with_journal(settings, test)


def test_a_coordinators_end_is_not_that_of_the_gateways_of_others(
    cluster: Cluster, settings: Settings
) -> None:
    async def test() -> None:
        one, other = Coordinator(settings), Coordinator(settings)
        await asyncio.gather(one.ready(), other.ready())
        gateways = await one.gateways()
        pids = [await pid_of(gateways._gateway(number)) for number in range(2)]
        video_id = await one.submit(simulated(2))
        await other.close()
        assert await one.wait(video_id) is VideoState.COMPLETED
        assert [await pid_of(gateways._gateway(number)) for number in range(2)] == pids
        await one.close()
        for pid in pids:
            await _gone(pid)

    asyncio.run(test())


async def _gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        await asyncio.sleep(0.1)


def test_a_gateway_that_is_ended_for_good_is_replaced(with_coordinator: Run, settings: Settings) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id = await coordinator.submit(simulated(2, clip=1.0))
        while not creates(settings)[video_id, "chunk/0"]:
            await asyncio.sleep(0.05)
        ray.kill((await coordinator.gateways()).of(video_id))
        assert await asyncio.wait_for(coordinator.wait(video_id), 30) is VideoState.COMPLETED
        assert set(creates(settings).values()) == {1}

    with_coordinator(test)


def test_a_video_that_was_left_is_resumed_and_only_what_is_missing_is_made(
    cluster: Cluster, settings: Settings
) -> None:
    async def leave() -> str:
        coordinator = Coordinator(settings)
        video_id = await coordinator.submit(six_beats(1))
        while sum(step.state is StepState.DONE for step in coordinator.journal.steps(video_id)) < 9:
            await asyncio.sleep(0.02)
        await coordinator.close()
        return video_id

    async def resume(video_id: str) -> VideoState:
        coordinator = Coordinator(settings)
        before = {step.step: step for step in coordinator.journal.steps(video_id)}
        await coordinator.resume(video_id)
        state = await coordinator.wait(video_id)
        after = {step.step: step for step in coordinator.journal.steps(video_id)}
        kept = [name for name, step in before.items() if step.state is StepState.DONE]
        assert len(kept) >= 9
        assert [after[name] for name in kept] == [before[name] for name in kept]
        await coordinator.close()
        return state

    video_id = asyncio.run(leave())
    assert asyncio.run(resume(video_id)) is VideoState.COMPLETED
    assert set(creates(settings).values()) == {1}
    assert sum(creates(settings).values()) == 13
    assert broken(settings, [video_id]) == []


def test_a_stale_call_does_not_begin_a_step(with_coordinator: Run, settings: Settings) -> None:
    """A coordinator that lost a video may still have calls on their way."""

    async def test(coordinator: Coordinator) -> None:
        journal = coordinator.journal
        (video_id,) = await hand_in(settings, journal, [simulated(1)])  # nobody here takes a service's videos
        with journal._engine.begin() as connection:
            connection.exec_driver_sql("update videos set epoch = 2")
        gateway = (await coordinator.gateways()).of(video_id)
        await gateway.__ray_call__.remote(_impatient)
        job = Job.of(video_id, journal.video(video_id).spec, epoch=1)
        stale = MusicWork(job=job, seconds=5.0)
        with pytest.raises(LeaseLost):
            await gateway.generate_music.remote(stale)
        assert steps_of(coordinator, video_id)["music"].state is StepState.INTENT
        assert not creates(settings)
        now = stale.model_copy(update={"job": job.model_copy(update={"epoch": 2})})
        assert isinstance(await gateway.generate_music.remote(now), Track)

    with_coordinator(test)


def _impatient(_: Any) -> None:
    from raypipe import steps

    steps.JOIN_SECONDS = 0.5
