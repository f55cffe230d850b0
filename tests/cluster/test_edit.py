"""Beats that are made anew, and what is made of them before."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.errors import BeatNotFound, InvalidReferenceImage, InvalidRequest, OverBudget, VideoBusy
from raypipe.journal import StepRecord
from raypipe.media.video import probe
from raypipe.models import BeatEdit, Phase, Size, StepState, VideoState
from raypipe.snapshot import Snapshot
from tests.chaos.invariants import broken, creates
from tests.patience import patience
from tests.vendors import fake, settings_for

from .test_pipeline import Run, make, simulated
from .test_steer import with_
from .test_vendors import SMALL, film


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, simulated_ledger=tmp_path / "ledger", gateways=1)


def rows(coordinator: Coordinator, video_id: str) -> dict[tuple[str, int], StepRecord]:
    return {(step.step, step.take): step for step in coordinator.journal.steps(video_id)}


async def edited(coordinator: Coordinator, video_id: str, beat: int, **change: Any) -> VideoState:
    await coordinator.edit(video_id, beat, BeatEdit(**change))
    return await coordinator.wait(video_id)


def test_a_beat_of_a_finished_film_is_made_anew_with_what_depends_on_it_and_nothing_else(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(6, price=0.1))
        before, sent = rows(coordinator, video_id), creates(settings)
        film = coordinator.journal.video(video_id).result
        assert film is not None
        files = digests(coordinator)
        assert await edited(coordinator, video_id, 2, prompt="something else") is VideoState.COMPLETED
        after = rows(coordinator, video_id)
        new = {"image/2", "chunk/2", "last_frame/2", "chunk/3", "stitch"}
        assert after.keys() - before.keys() == {(step, 2) for step in new}
        assert {key: after[key] for key in before} == before
        assert creates(settings) - sent == {(video_id, step): 1 for step in ("image/2", "chunk/2", "chunk/3")}
        assert {digest: data for digest, data in digests(coordinator).items() if digest in files} == files
        video = coordinator.journal.video(video_id)
        assert video.result is not None
        assert probe(coordinator.store.get(video.result)).frames == 720
        assert (video.cost, video.estimated_cost) == (pytest.approx(1.6), pytest.approx(1.6))
        phases = coordinator.journal.phases(video_id)
        assert sum(output.cost for output in phases.values()) == pytest.approx(1.6)
        assert set(phases) == set(Phase)
        # and back again, for nothing
        sent = creates(settings)
        assert await edited(coordinator, video_id, 2, take=1) is VideoState.COMPLETED
        assert creates(settings) == sent
        assert coordinator.journal.video(video_id).result == film
        assert coordinator.journal.video(video_id).cost == pytest.approx(1.6)
        assert rows(coordinator, video_id) == after
        assert broken(settings, [video_id]) == []

    with_coordinator(test)


def digests(coordinator: Coordinator) -> dict[str, str]:
    """What files of artifacts there are, and what is in each."""
    root = coordinator.settings.data_dir / "artifacts"
    files = (path for path in root.rglob("*") if path.is_file())
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_beat_that_is_made_once_more_looks_different(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(
            coordinator, with_(simulated(1), model=("local",), options=None, size=Size(width=160, height=90))
        )
        assert await edited(coordinator, video_id, 0) is VideoState.COMPLETED
        found = rows(coordinator, video_id)
        assert found["image/0", 1].artifact != found["image/0", 2].artifact
        assert found["chunk/0", 1].artifact != found["chunk/0", 2].artifact

    with_shared(test)


def test_a_beat_that_failed_can_be_changed_and_the_film_is_made(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        # the fault is of the first take alone
        video_id, state = await make(coordinator, simulated(4, fail={"chunk/2": "refused"}))
        assert state is VideoState.PARTIAL
        assert await edited(
            coordinator, video_id, 2, reference_image=await picture(coordinator, video_id)
        ) is (VideoState.PARTIAL)
        found = rows(coordinator, video_id)
        given = coordinator.journal.video(video_id).spec.beats[2].reference_image
        assert given is not None
        assert found["image/2", 2].artifact == given
        assert (found["chunk/2", 1].state, found["chunk/2", 2].state) == (StepState.FAILED, StepState.FAILED)
        assert broken(settings, [video_id]) == []

    with_coordinator(test)


async def picture(coordinator: Coordinator, video_id: str) -> Any:
    return rows(coordinator, video_id)["image/0", 1].artifact


def test_beats_are_changed_before_anything_else_is_bought(with_coordinator: Run, settings: Settings) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, with_(simulated(4, price=0.1), until="storyboard"))
        assert state is VideoState.WAITING
        for beat, prompt in ((1, "a cat"), (2, "a dog"), (1, "a cow")):
            assert await edited(coordinator, video_id, beat, prompt=prompt) is VideoState.WAITING
        assert coordinator.journal.video(video_id).error_code == "approval"
        assert {step for _, step in creates(settings)} == {f"image/{beat}" for beat in range(4)}
        await coordinator.continue_(video_id)
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        assert creates(settings).total() == 4 + 3 + 4 + 1
        video, found = coordinator.journal.video(video_id), rows(coordinator, video_id)
        assert [beat.prompt for beat in video.spec.beats][1:3] == ["a cow", "a dog"]
        assert (video.cost, video.estimated_cost) == (pytest.approx(1.2), pytest.approx(1.2))
        # takes of clips that were never bought leave no rows behind
        assert {step.state for step in found.values()} == {StepState.DONE}
        snapshot = Snapshot.read(coordinator.journal, video_id)
        assert (snapshot.progress.overall, snapshot.cost) == (100, pytest.approx(1.2))

    with_coordinator(test)


def test_what_cannot_be_changed_is_refused_and_nothing_is_changed(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(2))
        before = coordinator.journal.video(video_id), coordinator.journal.events(video_id)
        with pytest.raises(BeatNotFound, match="has no beat 2: its beats are 0 to 1"):
            await coordinator.edit(video_id, 2, BeatEdit())
        with pytest.raises(InvalidRequest, match="no take 3"):
            await coordinator.edit(video_id, 1, BeatEdit(take=3))
        with pytest.raises(InvalidReferenceImage, match="reference_image of beat 1"):
            await coordinator.edit(video_id, 1, BeatEdit(reference_image="data:image/png;base64,AAAA"))
        assert (coordinator.journal.video(video_id), coordinator.journal.events(video_id)) == before
        running = await coordinator.submit(simulated(2, clip=[1.5]))
        with pytest.raises(VideoBusy):
            await coordinator.edit(running, 1, BeatEdit())
        await coordinator.cancel(running)
        await coordinator.wait(running)
        # what was cancelled is made, and the changed beat as it is now
        assert await edited(coordinator, running, 0, prompt="quick") is VideoState.COMPLETED

    with_shared(test)


def test_of_two_who_change_a_beat_at_once_one_is_told_that_the_other_does(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, _ = await make(coordinator, simulated(2))
        results = await asyncio.gather(
            *(coordinator.edit(video_id, 0, BeatEdit(prompt=f"prompt {n}")) for n in range(2)),
            return_exceptions=True,
        )
        assert sorted(type(each) for each in results if each is not None) == [VideoBusy]
        assert await coordinator.wait(video_id) is VideoState.COMPLETED

    with_shared(test)


async def sent_clips(coordinator: Coordinator, video_id: str, number: int) -> list[StepRecord]:
    """Return clips that the vendor is at work on, once there are so many."""
    async with asyncio.timeout(patience(30)):
        while True:
            found = [
                step
                for (name, _), step in rows(coordinator, video_id).items()
                if name.startswith("chunk") and step.state is StepState.ACCEPTED
            ]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.05)


def test_a_cancelled_film_that_is_changed_has_what_was_cancelled_made_anew(
    tmp_path: Path, with_coordinator_of: Callable[..., Run]
) -> None:
    with fake("replicate", tmp_path, **{**SMALL, "clip": 2.0}) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id = await coordinator.submit(film(4))
            await sent_clips(coordinator, video_id, 2)
            await coordinator.cancel(video_id)
            assert await coordinator.wait(video_id) is VideoState.CANCELLED
            assert len([line for line in vendor.lines("cancel") if line["stopped"]]) == 2
            assert await edited(coordinator, video_id, 3, prompt="The end") is VideoState.COMPLETED
            found = rows(coordinator, video_id)
            assert {found[f"chunk/{beat}", 1].attempt for beat in (0, 2)} == {2}
            assert not any(step.possible_duplicate for step in found.values())
            clips = found["chunk/0", 1], found["chunk/2", 1]
            assert all(step.doubtful_cost == pytest.approx(6 * 0.045) for step in clips)

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_a_take_that_is_left_while_it_is_made_is_stopped_at_its_vendor(
    tmp_path: Path, with_coordinator_of: Callable[..., Run]
) -> None:
    with fake("replicate", tmp_path, **{**SMALL, "clip": 5.0}) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await make(coordinator, film(2))
            assert state is VideoState.COMPLETED
            before = coordinator.journal.video(video_id)
            await coordinator.edit(video_id, 1, BeatEdit(prompt="Another end"))
            await sent_clips(coordinator, video_id, 1)
            await coordinator.close()
            other = Coordinator(coordinator.settings)
            try:
                assert await edited(other, video_id, 1, take=1) is VideoState.COMPLETED
                found = rows(other, video_id)["chunk/1", 2]
                assert (found.state, found.error_code) == (StepState.FAILED, "cancelled")
                assert [line["job_id"] for line in vendor.lines("cancel")] == [found.provider_job_id]
                snapshot = Snapshot.read(other.journal, video_id)
                assert snapshot.video.result == before.result
                assert snapshot.reserved_cost == 0
                # the clip's, and perhaps that of its image, which may be made and not be fetched
                assert any(snapshot.doubtful_cost == pytest.approx(6 * 0.045 + image) for image in (0, 0.003))
            finally:
                await other.close()

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_a_change_that_the_budget_has_no_room_for_is_refused_and_changes_nothing(
    with_shared: Run,
) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, with_(simulated(3, price=0.1), budget=0.75))
        assert state is VideoState.COMPLETED
        before = coordinator.journal.video(video_id)
        with pytest.raises(
            OverBudget, match=r"\$0.30 more, \$0.70 is spent, and the video's budget is \$0.75"
        ):
            await coordinator.edit(video_id, 0, BeatEdit(prompt="too much"))
        assert coordinator.journal.video(video_id) == before

    with_shared(test)


def test_of_other_takes_nothing_is_tried_again(with_shared: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        video_id, state = await make(coordinator, simulated(4, fail={"chunk/2": "no", "music": "no sound"}))
        assert state is VideoState.PARTIAL
        left = rows(coordinator, video_id)["chunk/2", 1]
        assert await edited(coordinator, video_id, 2, prompt="another") is VideoState.PARTIAL
        await coordinator.retry(video_id, resubmit=True)
        await coordinator.wait(video_id)
        assert rows(coordinator, video_id)["chunk/2", 1] == left

    with_shared(test)
