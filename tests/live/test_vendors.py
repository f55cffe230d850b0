"""One short film by each vendor, for real money: run by hand, with a key in the environment.

REPLICATE_API_TOKEN=... pytest tests/live -k replicate     # about $0.45
FAL_KEY=... pytest tests/live -k fal                       # about $0.28
"""

import asyncio
import os
from pathlib import Path

import pytest
import ray

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.costs import estimate
from raypipe.media.video import probe
from raypipe.models import Kind, VideoRequest, VideoState

FILMS = {
    "replicate": {
        Kind.IMAGE: ("replicate/black-forest-labs/flux-schnell",),
        Kind.CLIP: ("replicate/minimax/hailuo-02",),
        Kind.MUSIC: ("replicate/meta/musicgen",),
    },
    "fal": {
        Kind.IMAGE: ("fal/fal-ai/flux/schnell",),
        Kind.CLIP: ("fal/fal-ai/kling-video/v2.1/standard/image-to-video",),
        Kind.MUSIC: ("fal/fal-ai/stable-audio",),
    },
}
KEYS = {"replicate": "REPLICATE_API_TOKEN", "fal": "FAL_KEY"}


@pytest.mark.live
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("vendor", FILMS)
def test_a_film_of_one_beat(vendor: str, tmp_path: Path) -> None:
    if not os.environ.get(KEYS[vendor]):
        pytest.skip(f"{KEYS[vendor]} is not set")

    async def main() -> None:
        coordinator = Coordinator(Settings(data_dir=tmp_path))
        try:
            request = VideoRequest(
                prompt="A lighthouse in a storm", duration=5, models=FILMS[vendor], budget=0.6
            )
            video_id = await coordinator.submit(request)
            state, video = await coordinator.wait(video_id), coordinator.journal.video(video_id)
            assert state is VideoState.COMPLETED, video.error_message
            assert video.result is not None
            assert probe(coordinator.store.get(video.result)).frames == 120
            assert video.cost == pytest.approx(estimate(video.spec, {}).total)
        finally:
            await coordinator.close()

    ray.init("local", include_dashboard=False)
    try:
        asyncio.run(main())
    finally:
        ray.shutdown()
