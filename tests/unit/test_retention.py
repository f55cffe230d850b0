"""What is deleted is gone, what it cost is not forgotten, and no file that a row names is ever removed."""

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import (
    ArtifactMissing,
    ArtifactStoreUnavailable,
    BudgetReached,
    DiskFull,
    VideoBusy,
    VideoNotFound,
)
from raypipe.intake import accept
from raypipe.journal import Journal, StepRecord, VideoRecord
from raypipe.models import Artifact, Image, StepState, VideoRequest, VideoState


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
def journal(settings: Settings) -> Iterator[Journal]:
    opened = Journal(settings.journal_url)
    yield opened
    opened.close()


@pytest.fixture
def store(settings: Settings) -> ArtifactStore:
    return ArtifactStore(settings.artifacts_url)


async def made(
    journal: Journal, store: ArtifactStore, settings: Settings, seed: int, data: bytes, cost: float = 0.0
) -> tuple[VideoRecord, StepRecord]:
    """Leave a video that is over and has an image."""
    video, rows = accept(VideoRequest(prompt="a boat", duration=5, seed=seed), settings, journal, store)
    await journal.writer.put(*rows)
    image = Image(artifact=store.put(data, "image/png"), beat_index=0, cost=cost)
    (step,) = (each for each in journal.steps(video.id) if each.step == "image/0")
    done = {
        "state": StepState.DONE,
        "result": image.model_dump(mode="json"),
        "cost": cost,
        "sent_at": time.time(),
    }
    step = step.evolve(**done)
    await journal.writer.put(journal.step(step))
    await journal.writer.put(journal.finish(video.id, VideoState.COMPLETED, cost=cost))
    return video, step


def aged(store: ArtifactStore, artifact: Artifact, seconds: float = 1_000) -> Path:
    path = store.path_of(artifact, Path())
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_a_deleted_video_is_gone_and_its_files_go_with_the_next_sweep_unless_another_names_them(
    journal: Journal, store: ArtifactStore, settings: Settings
) -> None:
    async def test() -> None:
        shared, own = b"shared", b"own"
        first, _ = await made(journal, store, settings, 1, shared)
        second, step = await made(journal, store, settings, 2, own)
        third, kept = await made(journal, store, settings, 3, shared)
        assert step.artifact is not None
        assert kept.artifact is not None
        for each in (step.artifact, kept.artifact):
            aged(store, each)
        for video in (first, second):
            await journal.delete(video.id)
            with pytest.raises(VideoNotFound):
                journal.video(video.id)
            assert (journal.steps(video.id), journal.events(video.id), journal.phases(video.id)) == (
                [],
                [],
                {},
            )
        with pytest.raises(VideoNotFound):
            await journal.delete(first.id)
        swept = store.sweep(journal.named_digests(), 60)
        assert swept == (1, len(own))
        assert store.get(kept.artifact) == shared
        with pytest.raises(ArtifactMissing):
            store.get(step.artifact)
        assert journal.video_ids() == [third.id]

    asyncio.run(test())


def test_what_is_not_over_is_not_deleted(journal: Journal, store: ArtifactStore, settings: Settings) -> None:
    async def test() -> None:
        video, rows = accept(VideoRequest(prompt="a boat", duration=5), settings, journal, store)
        await journal.writer.put(*rows)
        with pytest.raises(VideoBusy, match="cancel it first"):
            await journal.delete(video.id)
        await journal.cancel(video.id)
        await journal.delete(video.id)

    asyncio.run(test())


def test_what_a_deleted_video_cost_today_still_counts_today(
    journal: Journal, store: ArtifactStore, settings: Settings
) -> None:
    async def test() -> None:
        video, _ = await made(journal, store, settings, 1, b"paid", cost=0.75)
        _, step = await made(journal, store, settings, 2, b"other")
        await journal.delete(video.id)
        await journal.reserve(step, 0.25, 1.0, epoch=0)
        with pytest.raises(BudgetReached):
            await journal.reserve(step, 0.26, 1.0, epoch=0)

    asyncio.run(test())


def test_what_was_written_lately_or_half_is_told_apart(store: ArtifactStore, tmp_path: Path) -> None:
    old, new = store.put(b"old", "image/png"), store.put(b"new", "image/png")
    path = aged(store, old)
    half = path.with_name(f"{path.name}.1-2-3")
    half.write_bytes(b"ha")
    os.utime(half, (0, 0))
    crashed = path.with_name(f"{'0' * 64}.aside")  # a sweep that was killed
    crashed.write_bytes(b"x")
    os.utime(crashed, (0, 0))
    assert store.sweep({old.digest}, 60).files == 2
    assert (store.get(old), store.get(new)) == (b"old", b"new")
    assert not half.exists()
    named = path.rename(path.with_name(f"{path.name}.aside"))
    assert store.sweep({old.digest}, 60).files == 0
    assert store.get(old) == b"old"
    assert not named.exists()
    # who stores the same bytes again keeps them
    aged(store, old)
    store.put(b"old", "image/png")
    assert store.sweep(set(), 60).files == 0
    assert store.sweep(set(), -1).files == 2


@pytest.mark.parametrize("look", ["get", "keep", "path_of"])
def test_what_a_sweep_has_set_aside_is_never_missing(store: ArtifactStore, tmp_path: Path, look: str) -> None:
    artifact = store.put(b"touched", "image/png")
    path = aged(store, artifact)
    path.rename(path.with_name(f"{path.name}.aside"))
    if look == "get":
        assert store.get(artifact) == b"touched"
    elif look == "keep":
        assert asyncio.run(store.keep(artifact))
    else:
        assert store.path_of(artifact, tmp_path) == path
    assert store.sweep({artifact.digest}, -1).files == 0
    assert [each.name for each in path.parent.iterdir()] == [path.name]


def test_what_was_put_back_beside_itself_is_removed_once(store: ArtifactStore) -> None:
    artifact = store.put(b"x" * 100, "image/png")
    path = aged(store, artifact)
    path.rename(path.with_name(f"{path.name}.aside"))  # a sweep that was killed
    assert store.get(artifact) == b"x" * 100  # puts it back
    swept = [store.sweep(set(), -1), store.sweep(set(), -1)]
    assert (sum(each.files for each in swept), sum(each.bytes for each in swept)) == (1, 100)
    assert list(path.parent.iterdir()) == []


#: seconds for which what was stored is safe from a sweep
GRACE = 0.05


class Writer(threading.Thread):
    """Stores the same bytes again and again, each time when they are about to be swept, and looks for them in time."""

    def __init__(self, store: ArtifactStore, data: bytes, stop: threading.Event) -> None:
        super().__init__()
        self.store, self.data, self.stopped = store, data, stop
        self.problems: list[str] = []
        self.looks = 0

    def run(self) -> None:
        while not self.stopped.wait(GRACE + 0.01):
            began = time.monotonic()
            problem = None
            try:
                artifact = self.store.put(self.data, "image/png")
                assert self.store.get(artifact) == self.data
            except (ArtifactMissing, ArtifactStoreUnavailable, AssertionError) as error:
                problem = repr(error)
            if time.monotonic() - began < GRACE:  # who is later has no promise
                self.looks += 1
                self.problems += [problem] if problem else []


def test_bytes_that_are_stored_again_while_files_are_swept_are_there(store: ArtifactStore) -> None:
    stop = threading.Event()
    writers = [Writer(store, f"{number}".encode(), stop) for number in range(8)]
    for writer in writers:
        writer.start()
    began, swept = time.monotonic(), 0
    while time.monotonic() < began + 3 or (swept <= 100 and time.monotonic() < began + 60):
        swept += store.sweep(set(), GRACE).files
    stop.set()
    for writer in writers:
        writer.join()
    assert swept > 100
    assert sum(writer.looks for writer in writers) > 100
    assert [writer.problems for writer in writers] == [[]] * 8


def test_a_video_is_refused_before_the_disk_is_full(
    journal: Journal, store: ArtifactStore, settings: Settings
) -> None:
    greedy = settings.model_copy(update={"min_free_mib": 10**9})
    with pytest.raises(DiskFull, match="RAYPIPE_MIN_FREE_MIB"):
        accept(VideoRequest(prompt="a boat"), greedy, journal, store)
    assert journal.video_ids() == []


def test_a_bucket_is_swept_too() -> None:
    store = ArtifactStore("memory:///swept")
    kept, gone = store.put(b"kept", "image/png"), store.put(b"gone", "image/png")
    assert store.sweep({kept.digest}, -5) == (1, 4)
    assert store.get(kept) == b"kept"
    with pytest.raises(ArtifactMissing):
        store.get(gone)
