"""The whole pipeline on real Ray, with the simulated provider."""

import asyncio
import logging
import time
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import ray

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.journal import StepRecord
from raypipe.media.video import probe, read_picture
from raypipe.models import (
    DraftBeat,
    DraftSpec,
    Kind,
    Phase,
    PhaseStatus,
    Size,
    StepState,
    VideoRequest,
    VideoState,
)
from raypipe.snapshot import Snapshot

QUICK = {"image": 0.05, "clip": 0.1, "music": 0.05}

Run = Callable[[Callable[[Coordinator], Any]], Any]


def simulated(beats: int = 6, model: str = "simulated", **options: Any) -> VideoRequest:
    return VideoRequest(
        prompt="A lighthouse keeper in a storm",
        duration=5 * beats,
        model=model,
        options={model: {**QUICK, **options}},
    )


def from_beats(*continues: bool | None, **options: Any) -> VideoRequest:
    beats = tuple(DraftBeat(prompt=f"beat {i}", continues=flag) for i, flag in enumerate(continues))
    options = {**QUICK, **options}
    return VideoRequest(spec=DraftSpec(beats=beats), model="simulated", options={"simulated": options})


async def make(coordinator: Coordinator, request: VideoRequest) -> tuple[str, VideoState]:
    video_id = await coordinator.submit(request)
    return video_id, await coordinator.wait(video_id)


def steps_of(coordinator: Coordinator, video_id: str) -> dict[str, StepRecord]:
    return {step.step: step for step in coordinator.journal.steps(video_id)}


@pytest.mark.parametrize("beats", [1, 3, 5, 7])
def test_every_beat_gets_one_image_and_one_chunk_and_the_film_has_its_exact_length(
    with_shared: Run, beats: int
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(beats))
        assert state is VideoState.COMPLETED
        steps = steps_of(coordinator, video_id)
        assert sum(name.startswith("image/") for name in steps) == beats
        assert sum(name.startswith("chunk/") for name in steps) == beats
        assert {step.state for step in steps.values()} == {StepState.DONE}
        video = coordinator.journal.video(video_id)
        assert video.result is not None
        info = probe(coordinator.store.get(video.result))
        assert (info.frames, info.fps) == (beats * 120, 24)
        output = coordinator.journal.phases(video_id)[Phase.STORYBOARD].output
        assert [image["beat_index"] for image in output["images"]] == list(range(beats))

    with_shared(test)


def test_every_phase_leaves_an_output(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(price=0.25))
        phases = coordinator.journal.phases(video_id)
        assert set(phases) == set(Phase)
        assert {output.status for output in phases.values()} == {PhaseStatus.SUCCESS}
        assert phases[Phase.STORYBOARD].cost == pytest.approx(6 * 0.25)
        assert phases[Phase.CHUNKS].duration >= 0.2
        assert coordinator.journal.video(video_id).cost == pytest.approx(13 * 0.25)

    with_shared(test)


def test_a_follower_starts_before_an_unrelated_reference_ends(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(clip=[1.0, 0.2, 0.4, 0.2, 0.3, 0.2]))
        steps = steps_of(coordinator, video_id)
        slow, quick_follower = steps["chunk/0"], steps["chunk/5"]
        assert quick_follower.started_at < slow.finished_at
        assert steps["chunk/3"].started_at < slow.finished_at
        for reference, follower in ((0, 1), (2, 3), (4, 5)):
            assert steps[f"chunk/{follower}"].started_at >= steps[f"chunk/{reference}"].finished_at

    with_shared(test)


def test_a_chain_starts_when_its_own_image_is_there(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        request = simulated(image={"kind": "per_beat", "seconds": [0.05, 0.05, 1.0, 0.05, 0.05, 0.05]})
        video_id, _ = await make(coordinator, request)
        steps = steps_of(coordinator, video_id)
        assert steps["chunk/0"].started_at < steps["image/2"].finished_at
        assert steps["music"].started_at < steps["image/2"].finished_at

    with_shared(test)


def test_a_follower_continues_in_the_colour_of_its_predecessors_last_frame(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(4))
        steps = steps_of(coordinator, video_id)

        def mean(step: str) -> Any:
            from raypipe.media.video import frame_as_png

            data = coordinator.store.get(steps[step].artifact)
            picture = data if step.startswith("image") else frame_as_png(data, 0)
            return read_picture(picture, Size(width=64, height=36)).reshape(-1, 3).mean(axis=0)

        for reference, follower in ((0, 1), (2, 3)):
            assert abs(mean(f"chunk/{follower}") - mean(f"image/{reference}")).max() < 12
            assert abs(mean(f"chunk/{follower}") - mean(f"image/{follower}")).max() > 20

    with_shared(test)


def test_a_failed_reference_fails_its_follower_without_calling_the_provider_and_spares_the_others(
    with_shared: Run,
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(fail={"chunk/2": "out of credit"}))
        assert state is VideoState.PARTIAL
        steps = steps_of(coordinator, video_id)
        assert steps["chunk/2"].error_message == "out of credit"
        follower = steps["chunk/3"]
        assert (follower.state, follower.error_code) == (StepState.FAILED, "upstream_failed")
        assert follower.provider_job_id is None
        kept = [steps[f"chunk/{index}"] for index in (0, 1, 4, 5)]
        assert {step.state for step in kept} == {StepState.DONE}
        assert all(coordinator.store.get(step.artifact) for step in kept)
        video = coordinator.journal.video(video_id)
        assert video.error_message is not None
        for said in ("beat 2", "chunks", "simulated", "out of credit", "4 of 6"):
            assert said in video.error_message
        chunks = coordinator.journal.phases(video_id)[Phase.CHUNKS]
        assert chunks.status is PhaseStatus.PARTIAL

    with_shared(test)


def test_where_a_model_refuses_the_next_one_named_for_that_work_does_it(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        options = {"fragile": {**QUICK, "fail": {"chunk/1": "no sea"}}, "simulated": QUICK}
        request = VideoRequest(
            prompt="A boat",
            duration=10,
            model="simulated",
            models={Kind.CLIP: ("fragile", "simulated")},
            options=options,
        )
        video_id, state = await make(coordinator, request)
        assert state is VideoState.COMPLETED
        steps = steps_of(coordinator, video_id)
        models = {name: steps[name].model for name in ("image/0", "chunk/0", "chunk/1", "music", "stitch")}
        assert models == {
            "image/0": "simulated", "chunk/0": "fragile", "chunk/1": "simulated", "music": "simulated", "stitch": None,
        }  # fmt: skip
        (fell_back,) = (
            each for each in coordinator.journal.events(video_id) if each.kind == "step.fell_back"
        )
        assert (fell_back.step, fell_back.data["model"], fell_back.data["next"]) == (
            "chunk/1",
            "fragile",
            "simulated",
        )
        assert "no sea" in fell_back.data["reason"]

    with_shared(test)


def test_what_is_tried_again_is_asked_of_the_first_model_first(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        failing = {**QUICK, "fail": {"chunk/1": "no sea"}}
        request = VideoRequest(
            prompt="A boat", duration=10, model="simulated", models={Kind.CLIP: ("fragile", "simulated")},
            options={"fragile": failing, "simulated": failing},
        )  # fmt: skip
        video_id, state = await make(coordinator, request)
        assert state is VideoState.PARTIAL
        await coordinator.retry(video_id)
        assert await coordinator.wait(video_id) is VideoState.PARTIAL
        events = [each for each in coordinator.journal.events(video_id) if each.kind == "step.fell_back"]
        assert [(each.step, each.data["model"]) for each in events] == [("chunk/1", "fragile")] * 2
        assert steps_of(coordinator, video_id)["chunk/1"].attempt == 4

    with_shared(test)


def test_a_failed_follower_leaves_its_reference_and_the_other_chains(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(fail={"chunk/1": "no"}))
        assert state is VideoState.PARTIAL
        done = [
            name for name, step in steps_of(coordinator, video_id).items() if step.state is StepState.DONE
        ]
        assert {f"chunk/{index}" for index in (0, 2, 3, 4, 5)} <= set(done)

    with_shared(test)


def test_a_failed_image_is_a_storyboard_mismatch_naming_both_counts(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(fail={"image/0": "refused"}))
        assert state is VideoState.PARTIAL
        storyboard = coordinator.journal.phases(video_id)[Phase.STORYBOARD]
        assert storyboard.status is PhaseStatus.FAILED
        assert storyboard.error is not None
        assert storyboard.error.startswith("storyboard_mismatch: 6 beats and 5 storyboard images")
        video = coordinator.journal.video(video_id)
        assert video.error_code == "provider_rejected", "the cause, not what followed from it"
        for said in ("image/0", "refused", "6 beats and 5 storyboard images", "4 of 6 chunks"):
            assert said in video.error_message
        assert coordinator.journal.phases(video_id)[Phase.STITCH].status is PhaseStatus.FAILED
        assert steps_of(coordinator, video_id)["chunk/0"].error_code == "upstream_failed"

    with_shared(test)


def test_a_film_that_lacks_only_an_image_nobody_started_from_is_made_kept_and_partial(
    with_shared: Run, tmp_path: Path
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(fail={"image/1": "refused"}))
        assert state is VideoState.PARTIAL
        video = coordinator.journal.video(video_id)
        assert video.error_code == "provider_rejected"
        for said in ("image/1", "refused", "6 beats and 5 storyboard images", "film"):
            assert said in video.error_message
        assert coordinator.journal.phases(video_id)[Phase.STORYBOARD].status is PhaseStatus.FAILED
        film = await coordinator.save(video_id, tmp_path / "film.mp4")
        assert probe(film).frames == 720

    with_shared(test)


def test_failed_music_leaves_a_silent_film(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(2, fail={"music": "no musicians"}))
        assert state is VideoState.COMPLETED
        assert coordinator.journal.phases(video_id)[Phase.MUSIC].status is PhaseStatus.FAILED

    with_shared(test)


@pytest.mark.parametrize(
    "continues",
    [(False,), (False, True), (False, True, False), (False,) * 4, (False, True) * 2, (False, True) * 3],
    ids=["one", "two", "three", "all references", "four", "six"],
)
def test_sequences_as_the_spec_says_become_chains_of_that_shape(
    with_shared: Run, continues: tuple[bool, ...]
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, from_beats(*continues))
        assert state is VideoState.COMPLETED
        frames = [name for name in steps_of(coordinator, video_id) if name.startswith("last_frame/")]
        assert len(frames) == sum(continues)
        chains = [e.data["beats"] for e in coordinator.journal.events(video_id) if e.kind == "chain.done"]
        assert sorted(chain.from_iterable(chains)) == list(range(len(continues)))

    with_shared(test)


def test_ten_videos_at_once_take_hardly_longer_than_one(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        await make(coordinator, simulated())
        one = time.perf_counter()
        await make(coordinator, simulated(clip=1.0))
        one = time.perf_counter() - one
        ten = time.perf_counter()
        ids = await asyncio.gather(*(coordinator.submit(simulated(clip=1.0)) for _ in range(10)))
        assert len(set(ids)) == 10
        assert time.perf_counter() - ten < 1.0, "submitting must not wait for the videos"
        states = await asyncio.gather(*map(coordinator.wait, ids))
        ten = time.perf_counter() - ten
        assert set(states) == {VideoState.COMPLETED}
        assert ten < 5 * one, f"one {one:.2f} s, ten {ten:.2f} s"

    with_shared(test)


def test_progress_never_goes_backwards_and_ends_at_100(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id = await coordinator.submit(simulated(image=0.2, clip=[0.5, 0.1, 0.3, 0.1, 0.2, 0.1]))
        end = asyncio.create_task(coordinator.wait(video_id))
        seen = []
        while not end.done():
            seen.append(Snapshot.read(coordinator.journal, video_id).progress)
            await asyncio.sleep(0.02)
        seen.append(Snapshot.read(coordinator.journal, video_id).progress)
        for numbers in ([each.overall for each in seen], [each.chunks for each in seen]):
            assert numbers == sorted(numbers)
            assert numbers[-1] == 100
            assert len(set(numbers)) > 4

    with_shared(test)


def test_events_are_numbered_without_gaps(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(clip=[0.5, 0.1, 0.3, 0.1, 0.2, 0.1]))
        events = coordinator.journal.events(video_id)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert (events[0].kind, events[-1].kind) == ("video.accepted", "video.completed")

    with_shared(test)


def test_chains_and_counts_are_logged_where_the_coordinator_is(
    with_shared: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(2, image=0.5))
        (chain,) = [e for e in coordinator.journal.events(video_id) if e.kind == "chain.done"]
        steps = steps_of(coordinator, video_id)
        took = steps["chunk/1"].finished_at - steps["chunk/0"].started_at
        assert chain.data["seconds"] == pytest.approx(took, abs=0.002), (
            "the wait for the image is not the chain's"
        )

    with caplog.at_level(logging.INFO, logger="raypipe"):
        with_shared(test)
    assert "Chain of beats [0, 1]" in caplog.text
    assert "beat count 2, image count 2" in caplog.text
    assert "Gathered 2 chunks of 2 beats" in caplog.text


def test_queued_videos_are_claimed_and_made_by_a_service(with_service: Run) -> None:
    from raypipe.intake import accept

    async def test(coordinator: Coordinator) -> None:
        video, rows = accept(simulated(2), coordinator.settings, coordinator.journal, coordinator.store)
        await coordinator.journal.writer.put(*rows)
        serving = asyncio.create_task(coordinator.serve())
        while not coordinator.journal.video(video.id).state.terminal:
            await asyncio.sleep(0.05)
        serving.cancel()
        assert coordinator.journal.video(video.id).state is VideoState.COMPLETED

    with_service(test)


def test_cpu_work_spreads_over_both_nodes_and_waiting_stays_where_the_journal_is(
    with_coordinator_of: Callable[..., Run], settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        ids = await asyncio.gather(*(coordinator.submit(simulated(12)) for _ in range(4)))
        assert set(await asyncio.gather(*map(coordinator.wait, ids))) == {VideoState.COMPLETED}
        steps = [step for video_id in ids for step in coordinator.journal.steps(video_id)]
        cpu_nodes = {step.node for step in steps if step.step.startswith("last_frame/")}
        assert len(cpu_nodes) == 2
        waited_on = {step.node for step in steps if step.step.startswith("image/")}
        assert waited_on == {ray.get_runtime_context().get_node_id()}

    with_coordinator_of(settings, helpers=2)(test)
