"""Files are swept while videos are made, and no file that a row names is ever missing."""

import asyncio
from pathlib import Path

import pytest

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.models import VideoState
from tests.chaos.invariants import broken

from .test_pipeline import Run, make, simulated

#: seconds within which a file that was written is named by a row
GRACE = 2.0


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path, gateways=1)


def test_twenty_videos_are_made_while_files_are_swept_fifty_times(
    with_coordinator: Run, settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        # files like those that the videos will need, which no row names any more
        for seed in range(5):
            video_id, _ = await make(coordinator, simulated(2).model_copy(update={"seed": seed}))
            await coordinator.journal.delete(video_id)
        await asyncio.sleep(GRACE)
        requests = [simulated(4, clip=0.5).model_copy(update={"seed": seed % 5}) for seed in range(20)]
        ids = await asyncio.gather(*map(coordinator.submit, requests))
        ends = asyncio.ensure_future(asyncio.gather(*map(coordinator.wait, ids)))
        swept = 0
        for _ in range(50):
            named = await asyncio.to_thread(coordinator.journal.named_digests)
            swept += (await asyncio.to_thread(coordinator.store.sweep, named, GRACE)).files
            await asyncio.sleep(0.02)
        assert set(await ends) == {VideoState.COMPLETED}
        assert broken(settings, ids) == []
        assert swept > 0
        # what is deleted goes, and the others stay whole
        for video_id in ids[::2]:
            await coordinator.journal.delete(video_id)
        await asyncio.sleep(GRACE)
        assert coordinator.store.sweep(coordinator.journal.named_digests(), GRACE).files > 0
        assert broken(settings, ids[1::2]) == []

    with_coordinator(test)
