"""What a crash may cost: nothing that was paid, and no video. Real processes are killed, a real ledger is read."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.errors import LeaseLost, VideoOver
from raypipe.models import Job, Phase, PhaseStatus, StepState, Track, VideoState
from raypipe.providers.base import MusicWork
from tests.chaos.invariants import broken, creates
from tests.chaos.rig import hand_in, pid_of, six_beats
from tests.patience import patience

from .test_pipeline import Run, make, simulated, steps_of

DONE = {VideoState.COMPLETED}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, simulated_ledger=tmp_path / "ledger")


def fragile(beats: int, kill: dict[str, str], **options: Any) -> Any:
    return simulated(beats, "fragile", kill=kill, **options)


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


def test_retry_tries_what_failed_again_and_nothing_else_and_sends_in_doubt_only_when_told(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(4, lose={"chunk/1": 1}, finds=False, price=0.5))
        assert state is VideoState.PARTIAL
        before = {
            name: step
            for name, step in steps_of(coordinator, video_id).items()
            if step.state is StepState.DONE
        }
        with pytest.raises(VideoOver, match="--resubmit"):
            await coordinator.retry(video_id)
        assert coordinator.journal.video(video_id).state is VideoState.PARTIAL
        await coordinator.retry(video_id, resubmit=True)
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        after = steps_of(coordinator, video_id)
        assert {name: after[name] for name in before} == before
        assert (after["chunk/1"].attempt, after["chunk/1"].possible_duplicate) == (2, True)
        made = creates(settings)
        assert made.pop((video_id, "chunk/1")) == 2
        assert set(made.values()) == {1}
        assert coordinator.journal.phases(video_id)[Phase.CHUNKS].status is PhaseStatus.SUCCESS
        video = coordinator.journal.video(video_id)
        assert (video.error_code, video.cost) == (None, 4.5)
        with pytest.raises(VideoOver):
            await coordinator.retry(video_id)

    with_coordinator(test)


def test_a_video_that_waits_for_a_create_nobody_answered_may_be_stopped_and_have_it_sent_again(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        slow = simulated(2, lose={"chunk/1": 1}, finds=False, price=0.5)
        other = Coordinator(settings)
        try:
            video_id = await other.submit(slow)
            while steps_of(other, video_id)["chunk/1"].state is not StepState.UNKNOWN:
                await asyncio.sleep(0.05)
        finally:
            await other.close(ends_cluster=True)
        assert coordinator.journal.video(video_id).state is VideoState.WAITING
        with pytest.raises(VideoOver, match="it waits, and can be continued"):
            await coordinator.retry(video_id)
        await coordinator.retry(video_id, resubmit=True)
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        step = steps_of(coordinator, video_id)["chunk/1"]
        assert (step.attempt, step.possible_duplicate, step.cost, step.doubtful) == (2, True, 0.5, 0.5)
        assert creates(settings)[video_id, "chunk/1"] == 2

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
    deadline = time.monotonic() + patience(10)
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} is still there"
        await asyncio.sleep(0.1)


def test_a_gateway_that_is_ended_for_good_is_replaced(with_coordinator: Run, settings: Settings) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id = await coordinator.submit(simulated(2, clip=1.0))
        while not creates(settings)[video_id, "chunk/0"]:
            await asyncio.sleep(0.05)
        ray.kill((await coordinator.gateways()).of(video_id))
        assert await asyncio.wait_for(coordinator.wait(video_id), patience(30)) is VideoState.COMPLETED
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
    from raypipe import step_log

    step_log.JOIN_SECONDS = 0.5
