"""What goes wrong around a video: bad text, bugs, dead processes, full disks; and what it all costs."""

import asyncio
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import ray
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from raypipe import workers
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.errors import DiskFull, InternalError, ProviderRejected, RaypipeError, VideoNotReady, WorkerLost
from raypipe.journal import LOCAL, SERVICE, Journal
from raypipe.models import (
    DraftBeat,
    DraftSpec,
    Phase,
    PhaseOutput,
    PhaseStatus,
    Size,
    StepState,
    VideoRequest,
    VideoState,
)
from raypipe.snapshot import QUEUED, RUNNING, Snapshot
from tests.patience import patience

from .test_pipeline import Run, make, simulated, steps_of


def test_an_error_text_that_is_no_text_ends_its_video_and_no_other(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(2, fail={"image/0": "cut \ud83d"}))
        assert state is VideoState.FAILED
        video = coordinator.journal.video(video_id)
        assert video.error_code == "provider_rejected"
        assert "cut \ufffd" in video.error_message
        _, state = await make(coordinator, simulated(2))
        assert state is VideoState.COMPLETED

    with_shared(test)


def _raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


WAYS = pytest.mark.parametrize("way", ["cpu", "helper", "render"])


async def _do(coordinator: Coordinator, way: str, work: Callable[..., Any], *args: Any) -> Any:
    async def started(*_: Any) -> None: ...

    if way == "cpu":
        return (await workers.run_on_cpu(work, *args)).value
    if way == "helper":
        return (await (await coordinator.gateways()).helpers.run(work, *args)).value
    return await workers.render(work, *args, num_cpus=1, num_gpus=0, started=started)


@WAYS
@pytest.mark.parametrize(
    ("raised", "named", "said"),
    [
        (ProviderRejected("no"), ProviderRejected, "no"),
        (ZeroDivisionError("division by zero"), InternalError, "ZeroDivisionError: division by zero"),
        (ValueError("cut \ud83d \x1b[36mred"), InternalError, "cut \ufffd red"),
        (OSError(errno.ENOSPC, "No space left on device", "/full"), DiskFull, "disk is full"),
    ],
    ids=["ours", "bug", "bad text", "full disk"],
)
def test_what_a_worker_raises_arrives_as_what_it_is(
    with_shared: Run, way: str, raised: Exception, named: type[RaypipeError], said: str
) -> None:
    async def test(coordinator: Coordinator) -> None:
        with pytest.raises(named) as caught:
            await _do(coordinator, way, _raising(raised))
        assert type(caught.value) is named
        assert said in str(caught.value)
        assert "Traceback" not in str(caught.value)

    with_shared(test)


@WAYS
def test_only_a_process_that_died_is_a_lost_worker(
    with_shared: Run, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "RETRY_AFTER", (0.1,))

    async def test(coordinator: Coordinator) -> None:
        with pytest.raises(WorkerLost):
            await _do(coordinator, way, os._exit, 1)
        assert await _do(coordinator, way, sum, [1, 2]) == 3

    with_shared(test)


def test_a_full_disk_is_named_and_the_video_says_what_is_kept(
    with_coordinator_of: Callable[..., Run], tmp_path: Path, small_disk: Path
) -> None:
    settings = Settings(data_dir=tmp_path, artifacts=str(small_disk / "artifacts"), min_free_mib=0)
    (small_disk / "filling").write_bytes(bytes(2**20 - 30_000))

    async def test(coordinator: Coordinator) -> None:
        request = simulated(6, clip=[0.1, 0.5]).model_copy(update={"size": Size(width=320, height=180)})
        video_id, state = await make(coordinator, request)
        assert state in (VideoState.PARTIAL, VideoState.FAILED)
        video = coordinator.journal.video(video_id)
        assert video.error_code == "disk_full"
        assert "disk is full" in video.error_message
        assert "kept" in video.error_message
        for step in steps_of(coordinator, video_id).values():
            assert "Traceback" not in (step.error_message or "")
            assert "\x1b" not in (step.error_message or "")
        assert_every_phase_is_told(coordinator, video_id)

    with_coordinator_of(settings)(test)


def test_who_stops_waiting_for_a_video_does_not_stop_the_video(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id = await coordinator.submit(simulated(2, clip=0.5))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(coordinator.wait(video_id), 0.1)
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        assert coordinator.journal.video(video_id).state is VideoState.COMPLETED

    with_shared(test)


def test_no_more_videos_run_at_once_than_are_allowed_and_the_rest_follow(
    with_coordinator_of: Callable[..., Run], tmp_path: Path
) -> None:
    async def test(coordinator: Coordinator) -> None:
        ids = await asyncio.gather(*(coordinator.submit(simulated(1)) for _ in range(7)))
        ends = asyncio.gather(*map(coordinator.wait, ids))
        seen = []
        while not ends.done():
            states = [video.state for video in coordinator.journal.videos(ids).values()]
            seen.append(states.count(VideoState.RUNNING))
            await asyncio.sleep(0.01)
        assert max(seen) == 2
        assert set(await ends) == {VideoState.COMPLETED}
        assert {video.state for video in coordinator.journal.videos(ids).values()} == {VideoState.COMPLETED}

    with_coordinator_of(Settings(data_dir=tmp_path, active_videos=2))(test)


@pytest.mark.parametrize(
    ("runner", "left"), [(LOCAL, VideoState.WAITING), (SERVICE, VideoState.QUEUED)], ids=[LOCAL, SERVICE]
)
def test_closing_leaves_what_runs_and_what_waits_to_be_gone_on_with(
    cluster: Any, tmp_path: Path, runner: str, left: VideoState
) -> None:
    settings = Settings(data_dir=tmp_path, active_videos=1)

    async def main() -> tuple[list[str], list[VideoState]]:
        coordinator = Coordinator(settings, runner)
        await coordinator.ready()
        ids = [await coordinator.submit(simulated(1, clip=30.0, price=0.5)) for _ in range(2)]
        while not any(step.state is StepState.DONE for step in coordinator.journal.steps(ids[0])):
            await asyncio.sleep(0.02)
        ends = asyncio.gather(*map(coordinator.wait, ids))
        await asyncio.sleep(0)
        await coordinator.close()
        return ids, await asyncio.wait_for(ends, patience(5))

    ids, states = asyncio.run(main())
    assert states[0] is left
    journal = Journal(settings.journal_url)
    found = journal.videos(ids).values()
    assert [(video.state, video.lease_owner) for video in found] == [(left, None)] * 2
    assert journal.steps(ids[0])[0].state is StepState.DONE, "what was made is kept"
    journal.close()


def assert_every_phase_is_told(coordinator: Coordinator, video_id: str) -> None:
    """Each phase has an output whose times and cost are those of its steps."""
    phases, steps = coordinator.journal.phases(video_id), coordinator.journal.steps(video_id)
    assert set(phases) == set(Phase)
    for phase, output in phases.items():
        own = [step for step in steps if step.phase is phase]
        assert output.cost == pytest.approx(sum(step.cost for step in own)), phase
        begun = [step.started_at for step in own if step.started_at]
        if begun:
            assert output.started_at == pytest.approx(min(begun), abs=0.001), phase
            ended = [step.finished_at for step in own]
            if all(ended) and output.status is PhaseStatus.SUCCESS:
                assert output.finished_at == pytest.approx(max(ended), abs=0.001), phase
            elif all(ended):
                assert output.finished_at >= max(ended) - 0.001, phase
            assert output.duration == pytest.approx(output.finished_at - output.started_at), phase
        if phase in (Phase.PLAN, Phase.REFERENCES):
            assert output.duration > 0
            assert output.status is PhaseStatus.SUCCESS
        assert_ended_well_or_says_why(output)


def assert_ended_well_or_says_why(output: PhaseOutput) -> None:
    assert output.finished_at is not None
    assert (output.status is PhaseStatus.SUCCESS) == (output.error is None), output


STEPS = [*(f"image/{i}" for i in range(4)), *(f"chunk/{i}" for i in range(4)), "music"]


def test_whatever_fails_steps_phases_and_video_cost_the_same_and_every_phase_is_told(
    with_shared: Run,
) -> None:
    async def test(coordinator: Coordinator) -> None:
        async def check(failing: frozenset[str], price: float) -> None:
            request = simulated(4, fail=dict.fromkeys(failing, "refused"), price=price, scale=0.05)
            video_id, state = await make(coordinator, request)
            video, steps = coordinator.journal.video(video_id), coordinator.journal.steps(video_id)
            paid = [s for s in steps if s.state is StepState.DONE and s.provider == "simulated"]
            assert video.cost == pytest.approx(price * len(paid))
            assert video.cost == pytest.approx(sum(step.cost for step in steps))
            assert video.cost == pytest.approx(
                sum(p.cost for p in coordinator.journal.phases(video_id).values())
            )
            assert_every_phase_is_told(coordinator, video_id)
            harmless = failing <= {"music"}
            assert (state is VideoState.COMPLETED) == harmless
            assert (video.error_code is None) == harmless

        loop = asyncio.get_running_loop()

        @hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.frozensets(st.sampled_from(STEPS), max_size=4), st.sampled_from([0.25, 1.0]))
        def every(failing: frozenset[str], price: float) -> None:
            asyncio.run_coroutine_threadsafe(check(failing, price), loop).result(60)

        await asyncio.to_thread(every)

    with_shared(test)


def test_music_that_was_paid_is_counted_when_it_cannot_be_fitted(with_coordinator: Run) -> None:
    async def find(coordinator: Coordinator) -> Path:
        video_id, _ = await make(coordinator, simulated(1))
        track = steps_of(coordinator, video_id)["music"].artifact
        return coordinator.store.path_of(track, Path())

    track = with_coordinator(find)
    track.unlink()
    track.mkdir()  # the same track counts as stored, and cannot be read

    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(1, price=0.5))
        assert state is VideoState.COMPLETED
        steps = steps_of(coordinator, video_id)
        assert (steps["music"].state, steps["music_fit"].state) == (StepState.DONE, StepState.FAILED)
        music = coordinator.journal.phases(video_id)[Phase.MUSIC]
        assert (music.status, music.cost) == (PhaseStatus.FAILED, pytest.approx(0.5))
        assert coordinator.journal.video(video_id).cost == pytest.approx(sum(s.cost for s in steps.values()))

    with_coordinator(test)


def test_a_submit_that_is_given_up_leaves_no_row_that_runs_for_ever(with_coordinator: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        for turns in range(6):
            submitting = asyncio.create_task(coordinator.submit(simulated(1)))
            for _ in range(turns):
                await asyncio.sleep(0)
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
        await asyncio.sleep(0.2)
        ids = coordinator.journal.video_ids()
        states = set(await asyncio.gather(*map(coordinator.wait, ids)))
        assert states <= {VideoState.COMPLETED}
        assert {video.state for video in coordinator.journal.videos(ids).values()} == states

    with_coordinator(test)


def test_a_film_whose_end_is_being_written_is_not_taken_back_by_closing(cluster: Any, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)

    async def main() -> tuple[str, VideoState]:
        coordinator = Coordinator(settings)
        await coordinator.ready()
        video_id = await coordinator.submit(simulated(1))
        end = asyncio.create_task(coordinator.wait(video_id))
        run, _ = coordinator._runs[video_id]
        while run._end_written is None:
            await asyncio.sleep(0)
        await coordinator.close()
        return video_id, await asyncio.wait_for(end, patience(5))

    video_id, state = asyncio.run(main())
    journal = Journal(settings.journal_url)
    video = journal.video(video_id)
    assert (state, video.state) == (VideoState.COMPLETED, VideoState.COMPLETED)
    assert video.result is not None
    journal.close()


def test_one_broken_row_keeps_no_other_video_from_being_put_back(cluster: Any, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, active_videos=1)

    async def main() -> list[str]:
        coordinator = Coordinator(settings)
        await coordinator.ready()
        ids = [await coordinator.submit(simulated(1, clip=30.0)) for _ in range(2)]
        with coordinator.journal._engine.begin() as connection:
            connection.exec_driver_sql("update videos set spec = 'no json' where id = ?", (ids[1],))
        await coordinator.close()
        return ids

    ids = asyncio.run(main())
    journal = Journal(settings.journal_url)
    assert journal.video(ids[0]).state is VideoState.WAITING
    journal.close()


def test_helpers_that_are_killed_are_started_again(with_coordinator: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        helpers = (await coordinator.gateways()).helpers
        for actor in helpers._actors:
            ray.kill(actor)  # for good
        _, state = await asyncio.wait_for(make(coordinator, simulated(4)), patience(60))
        assert state is VideoState.COMPLETED

    with_coordinator(test)


def test_counts_are_said_however_long_the_cause_is(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(4, fail={"image/0": "x" * 5_000}))
        message = coordinator.journal.video(video_id).error_message
        assert "4 beats and 3 storyboard images" in message
        assert "2 of 4 chunks" in message

    with_shared(test)


def test_a_render_that_waits_for_a_cpu_is_shown_as_queued(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        beats = tuple(DraftBeat(prompt="a lake", continues=False) for _ in range(6))
        request = VideoRequest(spec=DraftSpec(beats=beats), size=Size(width=192, height=108))
        video_id = await coordinator.submit(request)
        end, seen = asyncio.create_task(coordinator.wait(video_id)), set()
        while not end.done():
            rows = Snapshot.read(coordinator.journal, video_id).rows
            seen |= {row.chunk.state for row in rows if row.image.state == "done"}
            running = sum(row.chunk.state == RUNNING or row.image.state == RUNNING for row in rows)
            assert running <= 2, "two CPUs render two things"
            await asyncio.sleep(0.02)
        assert await end is VideoState.COMPLETED
        assert QUEUED in seen

    with_shared(test)


def test_films_that_are_rendered_end_in_the_order_in_which_they_came(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        beats = (DraftBeat(prompt="a lake"), DraftBeat(prompt="a wood", continues=True))
        request = VideoRequest(spec=DraftSpec(beats=beats), size=Size(width=192, height=108))
        ids = [await coordinator.submit(request) for _ in range(7)]
        assert set(await asyncio.gather(*map(coordinator.wait, ids))) == {VideoState.COMPLETED}
        ended = coordinator.journal.videos(ids)
        order = sorted(ids, key=lambda video_id: ended[video_id].finished_at or 0.0)
        assert all(order.index(video_id) < ids.index(video_id) + 5 for video_id in ids)
        last = steps_of(coordinator, ids[-1])
        assert (ended[ids[0]].finished_at or 0.0) < (last["chunk/0"].started_at or 0.0)

    with_shared(test)


def test_a_film_can_be_handed_out_once_it_is_there(with_shared: Run, tmp_path: Path) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id = await coordinator.submit(simulated(1))
        with pytest.raises(VideoNotReady, match="running"):
            await coordinator.save(video_id, tmp_path / "early.mp4")
        await coordinator.wait(video_id)
        saved = await coordinator.save(video_id, tmp_path / "film.mp4")
        assert saved.read_bytes() == coordinator.store.get(coordinator.journal.video(video_id).result)

    with_shared(test)


def test_followers_do_not_wait_behind_renders_of_other_videos(with_coordinator: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        beats = tuple(DraftBeat(prompt="a lake", continues=False) for _ in range(8))
        rendering = await coordinator.submit(VideoRequest(spec=DraftSpec(beats=beats)))
        while sum(step.state is StepState.RUNNING for step in coordinator.journal.steps(rendering)) < 2:
            await asyncio.sleep(0.05)
        began = time.monotonic()
        video_id, state = await make(coordinator, simulated(6))
        assert state is VideoState.COMPLETED
        assert not coordinator.journal.video(rendering).state.terminal, "the renders went on meanwhile"
        steps = steps_of(coordinator, video_id)
        gaps = [steps[f"chunk/{i + 1}"].started_at - steps[f"chunk/{i}"].finished_at for i in (0, 2, 4)]
        assert max(gaps) < patience(1.5), (
            f"a render takes seconds; gaps {gaps}, {time.monotonic() - began:.1f} s in all"
        )

    with_coordinator(test)
