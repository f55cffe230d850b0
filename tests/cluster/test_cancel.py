"""Cancel is exact: this video only, its jobs at the provider too, nothing sent afterwards, what it cost still shown."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.errors import VideoBusy, VideoOver
from raypipe.journal import SERVICE, Journal
from raypipe.models import Phase, StepState, VideoState
from tests.chaos.rig import hand_in
from tests.patience import patience
from tests.vendors import FakeVendor, fake, settings_for

from .test_pipeline import Run, simulated, steps_of
from .test_vendors import SMALL, With, film

SLOW = SMALL | {"image": 0.2, "clip": 60.0, "music": 0.2}


async def clips_accepted(coordinator: Coordinator, video_id: str, number: int) -> None:
    """Wait until so many clips of a video are under way at their provider, and nothing else of it is."""
    async with asyncio.timeout(patience(30)):
        while True:
            steps = steps_of(coordinator, video_id)
            clips = [step for name, step in steps.items() if name.startswith("chunk")]
            others = [
                step for step in steps.values() if step not in clips and step.provider == clips[0].provider
            ]
            is_rest_over = all(step.state in (StepState.DONE, StepState.FAILED) for step in others)
            if is_rest_over and sum(step.state is StepState.ACCEPTED for step in clips) >= number:
                return
            await asyncio.sleep(0.05)


def times(vendor: FakeVendor, what: str) -> list[float]:
    return [line["at"] for line in vendor.lines(what)]


def test_a_cancelled_video_has_its_jobs_stopped_and_costs_what_it_has_and_may_be_gone_on_with(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    with fake("replicate", tmp_path, **SLOW) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, other = [await coordinator.submit(film(beats=4, seed=seed)) for seed in range(2)]
            await clips_accepted(coordinator, video_id, 2)
            await clips_accepted(coordinator, other, 2)
            await coordinator.cancel(video_id)
            assert await asyncio.wait_for(coordinator.wait(video_id), patience(10)) is VideoState.CANCELLED
            video, steps = coordinator.journal.video(video_id), steps_of(coordinator, video_id)
            assert (video.error_code, video.cost) == ("cancelled", pytest.approx(4 * 0.003 + 0.15))
            jobs = {step.provider_job_id for step in steps.values() if step.error_code == "cancelled"}
            assert len(jobs) == 2
            assert {line["job_id"] for line in vendor.lines("cancel")} == jobs
            assert sum(step.doubtful for step in steps.values()) == pytest.approx(2 * 6 * 0.045)
            requested = video.cancel_requested_at or 0.0
            await asyncio.sleep(1)
            assert max(times(vendor, "create")) < requested
            assert coordinator.journal.phases(video_id).keys() == set(Phase)
            with pytest.raises(VideoOver):
                await coordinator.cancel(video_id)
            # the other goes on, and is cancelled as the HTTP API does it
            assert coordinator.journal.video(other).state is VideoState.RUNNING
            assert await coordinator.journal.cancel(other) is VideoState.CANCELLING
            assert await asyncio.wait_for(coordinator.wait(other), patience(15)) is VideoState.CANCELLED
            assert len(vendor.lines("cancel")) == 4
            await coordinator.retry(video_id)
            await clips_accepted(coordinator, video_id, 2)
            assert len(vendor.creates("clip")) == 4 + 2
            assert len(vendor.creates("image")) == 8

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_what_nobody_makes_is_cancelled_at_once(
    with_coordinator_of: Callable[..., Run], settings: Settings
) -> None:
    bounded = settings.model_copy(update={"active_videos": 1})

    async def test(coordinator: Coordinator) -> None:
        first, second = [await coordinator.submit(simulated(2, clip=1.0)) for _ in range(2)]
        assert await coordinator.journal.cancel(second) is VideoState.CANCELLED
        assert {step.state for step in steps_of(coordinator, second).values()} == {StepState.INTENT}
        assert await asyncio.wait_for(coordinator.wait(second), patience(10)) is VideoState.CANCELLED
        assert await coordinator.wait(first) is VideoState.COMPLETED
        with pytest.raises(VideoOver):
            await coordinator.cancel(first)
        # what was cancelled before anything of it was begun can be gone on with, too
        await coordinator.retry(second)
        with pytest.raises(VideoBusy):
            await coordinator.retry(second)
        assert await coordinator.wait(second) is VideoState.COMPLETED

    with_coordinator_of(bounded)(test)


def test_a_service_cancels_what_is_cancelled_in_the_journal_also_what_a_dead_one_left(
    with_coordinator_of: Callable[..., Run], settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        serving = asyncio.create_task(coordinator.serve())
        journal = Journal(settings.journal_url)
        (video_id,) = await hand_in(settings, journal, [simulated(2, clip=30.0)])
        await clips_accepted(coordinator, video_id, 1)
        assert await journal.cancel(video_id) is VideoState.CANCELLING
        async with asyncio.timeout(patience(10)):
            while journal.video(video_id).state is not VideoState.CANCELLED or coordinator._runs:
                await asyncio.sleep(0.05)
        serving.cancel()

    with_coordinator_of(settings, SERVICE)(test)


def test_a_job_that_is_made_when_it_is_cancelled_is_fetched_and_not_bought_again(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    slow = [{"at": "download", "do": "error", "kind": "clip", "times": 100}]
    with fake("replicate", tmp_path, **SLOW | {"clip": 0.5}, faults=slow) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id = await coordinator.submit(film(beats=1))
            await clips_accepted(coordinator, video_id, 1)
            await asyncio.sleep(1)
            await coordinator.cancel(video_id)
            assert await asyncio.wait_for(coordinator.wait(video_id), patience(30)) is VideoState.CANCELLED
            assert steps_of(coordinator, video_id)["chunk/0"].state is StepState.ACCEPTED
            assert vendor.lines("cancel") == []
            await coordinator.retry(video_id)
            await clips_accepted(coordinator, video_id, 1)
            assert len(vendor.creates("clip")) == 1
            await coordinator.cancel(video_id)
            await asyncio.wait_for(coordinator.wait(video_id), patience(30))

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_a_stop_that_a_provider_does_not_answer_is_asked_for_until_it_is_and_money_follows(
    tmp_path: Path, with_coordinator_of: With, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("raypipe.settling.FIRST_PAUSE_SECONDS", 0.1)
    # each question is asked four times before it counts as unanswered
    refused = [{"at": "cancel", "do": "error", "kind": "clip", "times": 6}]
    with fake("replicate", tmp_path, **SLOW, faults=refused) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id = await coordinator.submit(film(beats=1))
            await clips_accepted(coordinator, video_id, 1)
            await coordinator.cancel(video_id)
            assert await asyncio.wait_for(coordinator.wait(video_id), patience(30)) is VideoState.CANCELLED
            async with asyncio.timeout(patience(60)):
                while steps_of(coordinator, video_id)["chunk/0"].state is not StepState.FAILED:
                    await asyncio.sleep(0.05)
            stops = [line["stopped"] for line in vendor.lines("cancel")]
            assert stops == [False] * 6 + [True]
            assert coordinator.journal.left_videos() == []

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_what_a_dead_coordinator_has_left_is_stopped_by_the_next(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    with fake("replicate", tmp_path, **SLOW) as vendor:
        settings = settings_for(tmp_path, vendor)

        async def leave(coordinator: Coordinator) -> str:
            video_id = await coordinator.submit(film(beats=1))
            await clips_accepted(coordinator, video_id, 1)
            # as if it had died just after it wrote the end
            await coordinator.journal.writer.put(coordinator.journal.finish(video_id, VideoState.CANCELLED))
            return video_id

        async def find(coordinator: Coordinator) -> None:
            async with asyncio.timeout(patience(60)):
                while coordinator.journal.left_videos():
                    await asyncio.sleep(0.05)
            row = steps_of(coordinator, video_id)["chunk/0"]
            assert (row.state, row.error_code) == (StepState.FAILED, "cancelled")
            assert [line["job_id"] for line in vendor.lines("cancel")] == [row.provider_job_id]

        video_id = with_coordinator_of(settings)(leave)
        assert vendor.lines("cancel") == []
        with_coordinator_of(settings)(find)


def test_a_render_that_is_cancelled_gives_its_cpu_back(with_coordinator: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        request: Any = simulated(2).model_copy(update={"models": None, "model": ("local",), "options": None})
        video_id = await coordinator.submit(request)
        async with asyncio.timeout(patience(60)):
            while not any(s.state is StepState.RUNNING for s in steps_of(coordinator, video_id).values()):
                await asyncio.sleep(0.02)
        await coordinator.cancel(video_id)
        assert await asyncio.wait_for(coordinator.wait(video_id), patience(15)) is VideoState.CANCELLED

    with_coordinator(test)
