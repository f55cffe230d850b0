"""Films of hosted models, made by fakes of their vendors: real HTTP, real media, and a ledger of every create."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray

from raypipe.coordinator import Coordinator
from raypipe.journal import LOCAL, SERVICE, StepRecord
from raypipe.marking import TRAINED
from raypipe.media.audio import decode
from raypipe.media.video import frame_as_png, probe, read_picture
from raypipe.models import Kind, Phase, Size, StepState, VideoRequest, VideoState
from raypipe.testing import media
from raypipe.testing.media import CLIP_HZ, TRACK_HZ
from tests.films import marking
from tests.vendors import fake, settings_for

from .test_steer import reached

REPLICATE = {
    Kind.IMAGE: ("replicate/black-forest-labs/flux-schnell",),
    Kind.CLIP: ("replicate/minimax/hailuo-02",),
    Kind.MUSIC: ("replicate/meta/musicgen",),
}
FAL = {
    Kind.IMAGE: ("fal/fal-ai/flux/schnell",),
    Kind.CLIP: ("fal/fal-ai/kling-video/v2.1/standard/image-to-video",),
    Kind.MUSIC: ("fal/fal-ai/stable-audio",),
}
MIXED = {Kind.IMAGE: FAL[Kind.IMAGE], Kind.CLIP: REPLICATE[Kind.CLIP], Kind.MUSIC: ("local",)}
SIZE = Size(width=320, height=180)
SMALL = {"form": {"width": 640, "height": 360}, "width": 640, "height": 360}
#: US dollars for each work: what the vendors' own pages say of these models
PRICES = {
    "replicate": {"image": 0.003, "clip": 6 * 0.045, "music": 0.15},
    "fal": {"image": 0.003, "clip": 5 * 0.05, "music": 0.02},
}

With = Callable[..., Callable[[Callable[[Coordinator], Any]], Any]]


def film(beats: int = 2, **more: Any) -> VideoRequest:
    return VideoRequest(
        prompt="A lighthouse in a storm", duration=5 * beats, size=SIZE, **{"models": REPLICATE, **more}
    )


def steps_of(coordinator: Coordinator, video_id: str) -> dict[str, StepRecord]:
    return {step.step: step for step in coordinator.journal.steps(video_id)}


async def made(coordinator: Coordinator, request: VideoRequest) -> tuple[str, VideoState]:
    video_id = await coordinator.submit(request)
    return video_id, await coordinator.wait(video_id)


def artifact(steps: dict[str, StepRecord], name: str) -> Any:
    found = steps[name].artifact
    assert found is not None, steps[name]
    return found


@pytest.mark.parametrize(
    ("models", "music"),
    [(REPLICATE, 1), (MIXED, 0)],
    ids=["replicate", "fal's pictures, replicate's clips, our music"],
)
def test_a_film_by_hosted_models_is_exact_and_each_of_its_works_is_paid_once(
    tmp_path: Path, with_coordinator_of: With, models: dict[Kind, tuple[str, ...]], music: int
) -> None:
    with fake("replicate", tmp_path, **SMALL) as replicate, fake("fal", tmp_path, **SMALL) as fal:
        vendors = replicate, fal

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(beats=6, models=models))
            video, steps = coordinator.journal.video(video_id), steps_of(coordinator, video_id)
            assert state is VideoState.COMPLETED, video.error_message
            assert video.result is not None
            film_bytes = coordinator.store.get(video.result)
            info = probe(film_bytes)
            assert (info.frames, info.fps, info.width, info.height) == (720, 24, 320, 180)
            said = marking(film_bytes)
            assert (said.state, said.source_type) == ("Valid", TRAINED)
            assert said.models == sorted({each.model for each in steps.values() if each.model})
            paid = [(vendor, line) for vendor in vendors for line in vendor.lines()]
            counts = Counter(line["job"]["kind"] for _, line in paid)
            assert counts == Counter(image=6, clip=6, music=music)
            assert len({line["job"]["id"] for _, line in paid}) == len(paid)
            check_starts([line for vendor in vendors for line in vendor.creates("clip")], steps)
            costs = sum(PRICES[vendor.name][line["job"]["kind"]] for vendor, line in paid)
            assert video.cost == pytest.approx(costs)
            check_seams(coordinator, film_bytes, steps)

        with_coordinator_of(settings_for(tmp_path, *vendors))(test)


def check_starts(clips: list[dict[str, Any]], steps: dict[str, StepRecord]) -> None:
    """Each clip began with its beat's image, or with the last frame of the clip before."""
    started = {line["job"]["id"]: next(iter(line["pictures"].values()))[0] for line in clips}
    for beat in range(6):
        start = f"last_frame/{beat - 1}" if beat % 2 else f"image/{beat}"
        assert started[steps[f"chunk/{beat}"].provider_job_id] == artifact(steps, start).digest


def check_seams(coordinator: Coordinator, film_bytes: bytes, steps: dict[str, StepRecord]) -> None:
    """What a follower began with is the frame that the film shows last of the clip before."""
    for beat in (0, 2, 4):
        shown = read_picture(frame_as_png(film_bytes, 120 * (beat + 1) - 1), SIZE).astype(float)
        saved = read_picture(coordinator.store.get(artifact(steps, f"last_frame/{beat}")), SIZE).astype(float)
        assert 10 * np.log10(255**2 / max(((shown - saved) ** 2).mean(), 1e-9)) > 40


def test_a_film_of_clips_with_sound_has_it_under_the_music(tmp_path: Path, with_coordinator_of: With) -> None:
    with fake("replicate", tmp_path, **SMALL | {"form": SMALL["form"] | {"sound": True}}) as vendor:
        models = REPLICATE | {Kind.CLIP: ("replicate/google/veo-3-fast",)}

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(models=models, clip_sound=True))
            assert state is VideoState.COMPLETED
            result = coordinator.journal.video(video_id).result
            assert result is not None
            samples, rate = decode(coordinator.store.get(result))
            assert samples.shape[1] / rate == pytest.approx(10, abs=0.05)
            spectrum = np.abs(np.fft.rfft(samples.mean(axis=0)[: 10 * rate]))
            heard = {hertz: spectrum[10 * hertz - 3 : 10 * hertz + 4].max() for hertz in (CLIP_HZ, TRACK_HZ)}
            assert min(heard.values()) > 100 * np.median(spectrum)
            assert heard[TRACK_HZ] > heard[CLIP_HZ]

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_reference_pictures_go_with_every_image(tmp_path: Path, with_coordinator_of: With) -> None:
    with fake("replicate", tmp_path, **SMALL) as vendor:
        models = REPLICATE | {Kind.IMAGE: ("replicate/google/nano-banana",), Kind.MUSIC: ("local",)}

        async def test(coordinator: Coordinator) -> None:
            pictures = [
                coordinator.store.put(media.picture(64, 64, red, 0, 0), "image/png") for red in (1, 2)
            ]
            request = film(models=models, reference_pictures=tuple(pictures))
            _, state = await made(coordinator, request)
            assert state is VideoState.COMPLETED
            given = [line["pictures"]["image_input"] for line in vendor.creates("image")]
            assert given == [[each.digest for each in pictures]] * 2

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


#: what is downloaded, and what a poll says: row 10 of the table of faults
GARBAGE = [
    *(("download", each) for each in ("html", "zip", "empty", "truncated", "huge", "audio")),
    *(("poll", each) for each in ("elsewhere", "expired")),
]


def test_garbage_is_a_typed_failure_that_names_vendor_and_beat_and_touches_nothing_else(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    faults = [{"at": at, "do": garbage, "kind": "clip", "times": 1} for at, garbage in GARBAGE]
    with fake("replicate", tmp_path, **SMALL, faults=faults) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(beats=10))
            assert state is VideoState.PARTIAL
            video, steps = coordinator.journal.video(video_id), steps_of(coordinator, video_id)
            clips = [each for each in steps.values() if each.step.startswith("chunk")]
            failed = [each for each in clips if each.state is StepState.FAILED]
            # what came empty, or as a page, was asked for again, and what is not found can be
            codes = {"media_error": 4, "delivery_expired": 1, "delivery_not_fetched": 1}
            assert Counter(each.error_code for each in failed) == codes
            assert {each.state for each in clips if each not in failed} == {StepState.DONE}
            told = coordinator.journal.phases(video_id)[Phase.CHUNKS].error or ""
            assert all(f"chunk/{each.beat_index} of beat {each.beat_index}" in told for each in failed), told
            assert told.count("replicate") >= len(failed)
            # what was delivered is paid, whatever it is
            assert [each.cost for each in clips] == [pytest.approx(PRICES["replicate"]["clip"])] * 10
            assert video.cost == pytest.approx(10 * (0.003 + 6 * 0.045) + 0.15)

        settings = settings_for(tmp_path, vendor, followers_per_reference=0)
        with_coordinator_of(settings)(test)


@pytest.mark.parametrize("runner", [LOCAL, SERVICE])
def test_an_empty_account_makes_the_video_wait_and_what_is_missing_is_gone_on_with(
    tmp_path: Path, with_coordinator_of: With, runner: str
) -> None:
    faults = [
        {"at": "create", "do": "funds", "kind": "clip"},
        {"at": "create", "do": "funds", "kind": "music"},
    ]
    with fake("replicate", tmp_path, **SMALL, faults=faults) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(beats=4 if runner == LOCAL else 2))
            assert state is VideoState.WAITING
            video = coordinator.journal.video(video_id)
            assert (video.error_code, video.lease_owner) == ("out_of_funds", None)
            assert video.error_message is not None
            assert "no funds left" in video.error_message
            paid = len(vendor.lines())
            if runner == LOCAL:
                await coordinator.resume(video_id)
                assert await coordinator.wait(video_id) is VideoState.COMPLETED
            else:  # as over HTTP: it is left to whatever service there is
                await coordinator.journal.continue_(None, video_id)
                serving = asyncio.create_task(coordinator.serve())
                await reached(coordinator, video_id, VideoState.COMPLETED)
                serving.cancel()
            video = coordinator.journal.video(video_id)
            assert (video.error_code, video.error_message, video.runner) == (None, None, runner)
            all_of_it = 9 if runner == LOCAL else 5
            # a clip, its follower and the music
            assert (len(vendor.lines()), paid) == (all_of_it, all_of_it - 3)
            assert len({line["job"]["id"] for line in vendor.lines()}) == all_of_it

        with_coordinator_of(settings_for(tmp_path, vendor), runner)(test)


def test_a_step_goes_on_with_the_model_that_had_no_funds_and_asks_no_other_twice(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    models = {**REPLICATE, Kind.CLIP: (REPLICATE[Kind.CLIP][0], FAL[Kind.CLIP][0])}
    funds = {"at": "create", "do": "funds", "kind": "clip", "times": 2}
    fails = {"at": "poll", "do": "fail", "kind": "clip", "times": 100}
    with (
        fake("replicate", tmp_path, **SMALL, faults=[funds]) as unpaid,
        fake("fal", tmp_path, **SMALL, faults=[fails]) as other,
    ):

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(beats=1, models=models))
            for _ in range(2):  # the second time there are still no funds
                clip = steps_of(coordinator, video_id)["chunk/0"]
                assert (state, clip.error_code, clip.model) == (
                    VideoState.WAITING,
                    "out_of_funds",
                    models[Kind.CLIP][0],
                )
                assert (clip.provider, clip.provider_job_id, clip.reserved_cost) == ("replicate", None, None)
                assert len(other.lines()) == 1
                await coordinator.continue_(video_id)
                state = await coordinator.wait(video_id)
            clip = steps_of(coordinator, video_id)["chunk/0"]
            assert (state, clip.provider, len(other.lines())) == (VideoState.COMPLETED, "replicate", 1)
            assert (clip.cost, clip.cost + clip.doubtful_cost) == (pytest.approx(0.27), pytest.approx(0.52))

        with_coordinator_of(settings_for(tmp_path, unpaid, other))(test)


def test_the_key_is_in_no_row_no_log_and_no_task(tmp_path: Path, with_coordinator_of: With) -> None:
    with fake("replicate", tmp_path, **SMALL) as vendor:

        async def test(coordinator: Coordinator) -> None:
            await made(coordinator, film())
            session = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[union-attr]
            for folder in (tmp_path, session / "logs"):
                for file in (each for each in folder.rglob("*") if each.is_file() and each.name != "secrets"):
                    assert b"r8_fake" not in file.read_bytes(), file

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


@pytest.mark.parametrize(
    ("key", "code", "said"),
    [(None, "key_missing", "set REPLICATE_API_TOKEN"), ("r8_wrong", "key_refused", "REPLICATE_API_TOKEN")],
)
def test_without_a_right_key_nothing_is_sent_and_the_error_says_what_to_do(
    tmp_path: Path, with_coordinator_of: With, key: str | None, code: str, said: str
) -> None:
    with fake("replicate", tmp_path, **SMALL) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film())
            assert state is VideoState.FAILED
            video = coordinator.journal.video(video_id)
            assert video.error_code == code
            assert video.error_message is not None
            assert said in video.error_message
            assert "r8_wrong" not in video.model_dump_json()
            assert vendor.lines() == []

        with_coordinator_of(settings_for(tmp_path, vendor, key=key))(test)


def test_nothing_is_paid_where_another_kind_of_work_has_no_key(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    with fake("replicate", tmp_path, **SMALL) as vendor, fake("fal", tmp_path, **SMALL) as keyless:
        settings = settings_for(tmp_path, vendor)
        urls = settings.provider_urls | {"fal": keyless.url}

        async def test(coordinator: Coordinator) -> None:
            models = REPLICATE | {Kind.CLIP: FAL[Kind.CLIP]}
            video_id, state = await made(coordinator, film(models=models))
            assert state is VideoState.FAILED
            error = coordinator.journal.video(video_id).error_message or ""
            assert "nothing is paid, because for clip there is no key for fal: set FAL_KEY" in error
            assert vendor.lines() + keyless.lines() == []

        with_coordinator_of(settings.model_copy(update={"provider_urls": urls}))(test)
