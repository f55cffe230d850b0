import asyncio
import io
import json
import statistics
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from PIL import Image

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import InvalidRequest, OutcomeUnknown, ProviderRejected
from raypipe.media.audio import track_seconds
from raypipe.media.video import probe
from raypipe.models import Beat, Job, Kind, Size
from raypipe.providers.base import ClipWork, Context, Delivery, ImageWork, MusicWork, Pending, Work
from raypipe.providers.registry import provider_class, provider_names
from raypipe.providers.simulated import LongTail, PerBeat, SimulatedOptions, SimulatedProvider
from tests.patience import patience

CREATE = "vid_1/image/3/1/1"
BEAT = Beat(
    beat_index=3, beat_id="x", start=15, duration=5, prompt="p", shot_type="wide", camera_movement="static"
)


def job(**options: Any) -> Job:
    return Job(
        video_id="vid_1",
        size=Size(width=128, height=72),
        fps=24,
        duration=30,
        prompt="p",
        style="s",
        mood="calm",
        seed=1,
        models=dict.fromkeys(Kind, ("simulated",)),
        options={"simulated": {"image": 0, "clip": 0, "music": 0, **options}},
    )


def picture_size(data: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(data)) as picture:
        return picture.size


def image_work(**options: Any) -> ImageWork:
    return ImageWork(job=job(**options), model="simulated", beat=BEAT)


STORE = ArtifactStore("memory:///simulated")


def simulated(settings: Settings | None = None) -> SimulatedProvider:
    return SimulatedProvider(Context(settings or Settings(), STORE))


async def deliver(work: Work) -> bytes:
    work = work.model_copy(update={"model": "simulated"})
    provider = simulated()
    job_id = await provider.submit(work, CREATE)
    while isinstance(reply := await provider.poll(job_id, work), Pending):
        await asyncio.sleep(reply.poll_after)
    return STORE.get(reply.artifact)


def test_both_built_in_providers_are_found_by_name() -> None:
    assert {"local", "simulated"} <= set(provider_names())
    assert provider_class("simulated") is SimulatedProvider


def test_it_delivers_real_pictures_clips_and_tracks() -> None:
    image = asyncio.run(deliver(image_work()))
    assert picture_size(image) == (128, 72)
    start = STORE.put(image, "image/png")
    clip_work = ClipWork(job=job(), beat=BEAT, start=start, continues=False, followed=True)
    clip = asyncio.run(deliver(clip_work))
    made = probe(clip)
    assert (made.frames, made.width, made.height) == (121, 128, 72)
    track = asyncio.run(deliver(MusicWork(job=job(), seconds=7.5)))
    assert track_seconds(track) >= 7.5


def test_every_piece_of_work_has_bytes_of_its_own() -> None:
    one = asyncio.run(deliver(image_work()))
    other = asyncio.run(deliver(ImageWork(job=job(), beat=BEAT.model_copy(update={"beat_index": 4}))))
    assert one != other


def test_it_is_pending_until_its_time_is_up_and_says_when_that_is() -> None:
    async def wait() -> float:
        provider = simulated()
        began = time.perf_counter()
        job_id = await provider.submit(image_work(image=0.2), CREATE)
        reply = await provider.poll(job_id, image_work())
        assert isinstance(reply, Pending)
        assert 0.15 < reply.poll_after <= 0.2
        await asyncio.sleep(reply.poll_after)
        assert isinstance(await provider.poll(job_id, image_work()), Delivery)
        return time.perf_counter() - began

    assert asyncio.run(wait()) >= 0.2


def test_latencies_per_beat_go_by_the_beats_index() -> None:
    latency = PerBeat(seconds=(1, 2, 3))
    assert [latency.draw(index, Random(0)) for index in range(4)] == [1, 2, 3, 1]


def test_long_tailed_latencies_have_the_median_and_the_range_that_were_seen() -> None:
    random = Random(7)
    drawn = [LongTail().draw(0, random) for _ in range(4_000)]
    assert min(drawn) >= 83
    assert max(drawn) <= 253
    assert max(drawn) > 200
    assert statistics.median(drawn) == pytest.approx(105, rel=0.03)
    assert statistics.fmean(drawn) > statistics.median(drawn)


def test_the_same_work_takes_the_same_time_in_any_video() -> None:
    async def waits() -> list[float]:
        found = []
        for video_id in ("vid_1", "vid_2"):
            provider = simulated()
            work = image_work(image="long_tail", scale=0.1)
            work = work.model_copy(update={"job": work.job.model_copy(update={"video_id": video_id})})
            reply = await provider.poll(await provider.submit(work, CREATE), work)
            assert isinstance(reply, Pending)
            found.append(reply.poll_after)
        return found

    first, second = asyncio.run(waits())
    assert first == pytest.approx(second, abs=patience(0.05))
    assert 8 < first < 26


def test_a_step_told_to_fail_fails_with_its_message() -> None:
    with pytest.raises(ProviderRejected, match="out of credit"):
        asyncio.run(deliver(image_work(fail={"image/3": "out of credit"})))


def test_any_process_can_poll_what_another_one_submitted() -> None:
    async def test() -> bytes:
        job_id = await simulated().submit(image_work(), CREATE)
        reply = await simulated().poll(job_id, image_work())
        assert isinstance(reply, Delivery)
        return STORE.get(reply.artifact)

    assert asyncio.run(test()) == asyncio.run(deliver(image_work()))


@pytest.mark.parametrize("job_id", ["sim_1", "replicate_1", "", "sim_xyz_0123456789abcdef"])
def test_a_job_it_never_gave_out_is_unknown_to_it(job_id: str) -> None:
    with pytest.raises(ProviderRejected, match="does not know"):
        asyncio.run(simulated().poll(job_id, image_work()))


def test_its_ledger_has_a_line_for_each_create_and_finds_them_by_their_token(tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"

    async def test() -> tuple[str, list[str | None]]:
        provider = simulated(Settings(simulated_ledger=ledger))
        before = await provider.find(image_work(), "v/image/3/1/1")
        with pytest.raises(OutcomeUnknown):
            await provider.submit(image_work(lose={"image/3": 1}), "v/image/3/1/1")
        again = await provider.submit(image_work(lose={"image/3": 1}), "v/image/3/1/2")
        found = [await provider.find(image_work(), f"v/image/3/1/{number}") for number in (1, 2, 3)]
        return again, [before, *found]

    again, (before, first, second, third) = asyncio.run(test())
    assert (before, third) == (None, None)
    assert first
    assert second == again
    assert [json.loads(line)["job"] for line in ledger.read_text().splitlines()] == [first, second]


def test_it_can_be_one_that_cannot_be_asked() -> None:
    with pytest.raises(OutcomeUnknown):
        asyncio.run(simulated().find(image_work(finds=False), CREATE))


@pytest.mark.parametrize(
    "options", [{"speed": 1}, {"clip": "slow"}, {"clip": -1}, {"clip": []}, {"scale": "big"}, {"fail": ["x"]}]
)
def test_options_it_does_not_know_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="simulated"):
        SimulatedProvider.parse_options(options)


def test_latencies_have_short_forms() -> None:
    options = SimulatedOptions.model_validate({"image": 1, "clip": [1, 2], "music": "long_tail"})
    assert [each.kind for each in (options.image, options.clip, options.music)] == [
        "fixed",
        "per_beat",
        "long_tail",
    ]
