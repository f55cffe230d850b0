"""Videos that stop for approval, and films without the beats that failed."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.errors import VideoOver
from raypipe.journal import SERVICE
from raypipe.media.audio import track_seconds
from raypipe.media.video import probe
from raypipe.models import Phase, PhaseStatus, StepState, VideoRequest, VideoState
from tests.chaos.invariants import creates
from tests.films import packets
from tests.patience import patience

from .test_pipeline import Run, from_beats, make, simulated, steps_of

Of = Callable[..., Run]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, simulated_ledger=tmp_path / "ledger", gateways=1)


def with_(request: VideoRequest, **changes: Any) -> VideoRequest:
    return request.model_copy(update=changes)


def test_a_video_stops_when_its_storyboard_is_made_and_nothing_else_is_bought_until_it_is_approved(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        request = with_(simulated(4, price=0.1), until="storyboard")
        video_id, state = await make(coordinator, request)
        assert state is VideoState.WAITING
        video = coordinator.journal.video(video_id)
        assert (video.error_code, video.lease_owner) == ("approval", None)
        assert "the rest is estimated at $0.50" in (video.error_message or "")
        assert {step for _, step in creates(settings)} == {f"image/{beat}" for beat in range(4)}
        assert coordinator.journal.phases(video_id)[Phase.STORYBOARD].status is PhaseStatus.SUCCESS
        before = steps_of(coordinator, video_id)
        await coordinator.resume(video_id)  # which approves nothing
        assert await coordinator.wait(video_id) is VideoState.WAITING
        await coordinator.continue_(video_id)
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        after = steps_of(coordinator, video_id)
        assert {name: after[name] for name in before if name.startswith("image")} == {
            name: before[name] for name in before if name.startswith("image")
        }
        assert set(creates(settings).values()) == {1}
        assert len(creates(settings)) == 9
        assert coordinator.journal.video(video_id).cost == pytest.approx(0.9)
        with pytest.raises(VideoOver, match="is completed, and does not wait for anybody"):
            await coordinator.continue_(video_id)

    with_coordinator(test)


def test_a_service_goes_on_with_what_is_approved_or_tried_again_in_the_journal(
    with_coordinator_of: Of, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        serving = asyncio.create_task(coordinator.serve())
        video_id, state = await make(coordinator, simulated(2))  # the setting says where to stop
        assert state is VideoState.WAITING
        await coordinator.journal.continue_(None, video_id)
        await reached(coordinator, video_id, VideoState.COMPLETED)
        failing = with_(simulated(2, fail={"chunk/1": "no"}), until=None)
        video_id, _ = await make(coordinator, failing)
        await coordinator.journal.continue_(None, video_id)
        await reached(coordinator, video_id, VideoState.PARTIAL)
        await coordinator.journal.allow_missing(None, video_id)
        async with asyncio.timeout(patience(20)):
            while coordinator.journal.video(video_id).result is None:
                await asyncio.sleep(0.05)
        await coordinator.journal.retry(None, video_id, resubmit=False)
        await reached(coordinator, video_id, VideoState.PARTIAL)
        serving.cancel()

    with_coordinator_of(settings.model_copy(update={"until": "storyboard"}), SERVICE)(test)


async def reached(coordinator: Coordinator, video_id: str, state: VideoState) -> None:
    async with asyncio.timeout(patience(20)):
        while coordinator.journal.video(video_id).state is not state:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("asked", ["before", "afterwards"])
def test_a_film_is_made_without_the_beats_that_failed_if_that_is_asked_for(
    with_coordinator: Run, settings: Settings, asked: str
) -> None:
    async def test(coordinator: Coordinator) -> None:
        request = simulated(4, fail={"chunk/1": "no sea", "chunk/2": "no land"})
        request = with_(request, allow_missing=asked == "before")
        video_id, state = await make(coordinator, request)
        assert state is VideoState.PARTIAL
        if asked == "afterwards":
            assert coordinator.journal.video(video_id).result is None
            sent = creates(settings)
            await coordinator.allow_missing(video_id)
            assert await coordinator.wait(video_id) is VideoState.PARTIAL
            assert creates(settings) == sent
        video = coordinator.journal.video(video_id)
        assert video.result is not None
        film = coordinator.store.get(video.result)
        # beat 3 follows beat 2, so it is missing too
        assert probe(film).frames == 120
        assert track_seconds(film) == pytest.approx(5, abs=0.05)
        assert video.error_code == "provider_rejected"
        assert "a film was made without beats 1, 2, 3 and kept" in (video.error_message or "")
        # what is tried again makes another film, and the wish holds
        before = steps_of(coordinator, video_id)["stitch"].attempt
        await coordinator.retry(video_id)
        assert await coordinator.wait(video_id) is VideoState.PARTIAL
        again = coordinator.journal.video(video_id).result
        assert again is not None
        assert packets(coordinator.store.get(again)) == packets(film)
        assert steps_of(coordinator, video_id)["stitch"].attempt == before + 1

    with_coordinator(test)


def test_of_eight_long_chains_one_that_fails_at_its_second_link_ends_there_and_the_others_are_whole(
    with_coordinator_of: Of, settings: Settings
) -> None:
    chains, links = 8, 4
    bad = 3 * links + 1  # the second link of the fourth chain

    async def test(coordinator: Coordinator) -> None:
        request = from_beats(*[None] * chains * links, fail={f"chunk/{bad}": "out of ideas"})
        video_id, state = await make(coordinator, with_(request, allow_missing=True))
        assert state is VideoState.PARTIAL
        steps = steps_of(coordinator, video_id)
        failed = {name: step.error_code for name, step in steps.items() if step.state is StepState.FAILED}
        upstream = [f"last_frame/{bad}"] if f"last_frame/{bad}" in failed else []
        assert failed == {
            f"chunk/{bad}": "provider_rejected",
            **dict.fromkeys([f"chunk/{bad + 1}", f"chunk/{bad + 2}", *upstream], "upstream_failed"),
        }
        assert not {step for _, step in creates(settings)} & {f"chunk/{bad + 1}", f"chunk/{bad + 2}"}
        video = coordinator.journal.video(video_id)
        assert video.result is not None
        assert probe(coordinator.store.get(video.result)).frames == (chains * links - 3) * 120
        assert "without beats 13, 14, 15" in (video.error_message or "")

    with_coordinator_of(settings.model_copy(update={"followers_per_reference": links - 1}))(test)
