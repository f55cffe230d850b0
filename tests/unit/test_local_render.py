"""Pictures and clips that the embedded provider makes."""

import io
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from raypipe.artifacts import ArtifactStore
from raypipe.media.video import frame_as_png, open_clip, png_text, probe, read_picture, write_png
from raypipe.models import FPS, Beat, Job, Kind, Size
from raypipe.providers.base import ClipWork, ImageWork
from raypipe.providers.local import LocalProvider
from raypipe.providers.local.camera import eased, move_of
from raypipe.providers.local.clips import RECIPE, dissolve_span
from raypipe.providers.local.motifs import PAINTERS
from raypipe.providers.local.palette import palette_of
from raypipe.providers.local.render import planes_of, render
from raypipe.providers.local.stage import Shot, Stage
from raypipe.providers.local.weather import finish
from raypipe.providers.local.words import World

SMALL = Size(width=160, height=90)
TIMES = ("dawn", "day", "sunset", "dusk", "night")
WEATHERS = ("clear", "clouds", "rain", "storm", "snow", "fog")
MOVES = ("slow push in", "pull back", "pan left", "pan right", "tilt up", "tilt down", "crane up", "orbit",
         "tracking", "static", "handheld", "drone", "dolly", "zoom")  # fmt: skip


def make_job(prompt: str = "a lake at sunset", size: Size = SMALL, seed: int = 7, **fields: str) -> Job:
    values = {"style": "cinematic", "mood": "calm", **fields}
    return Job(
        video_id="vid_1",
        size=size,
        fps=24,
        duration=5,
        prompt=prompt,
        seed=seed,
        models=dict.fromkeys(Kind, ("local",)),
        options={},
        **values,
    )


def make_beat(
    index: int = 0, camera: str = "slow push in", shot: str = "wide", prompt: str = "a lake at sunset"
) -> Beat:
    return Beat(
        beat_index=index,
        beat_id="custom",
        start=0,
        duration=5,
        prompt=prompt,
        shot_type=shot,
        camera_movement=camera,
    )


STORE = ArtifactStore("memory:///local")


def image(job: Job, beat: Beat) -> bytes:
    return LocalProvider().generate(ImageWork(job=job, beat=beat), STORE).data


def clip(job: Job, beat: Beat, start: bytes, frames: int = 24, continues: bool = False) -> bytes:
    stored = STORE.put(start, "image/png")
    beat = beat.model_copy(update={"start": 0, "duration": frames / FPS})
    work = ClipWork(job=job, beat=beat, start=stored, continues=continues)
    return LocalProvider().generate(work, STORE).data


def psnr(one: bytes, other: bytes, size: Size = SMALL) -> float:
    a, b = (read_picture(data, size).astype(float) for data in (one, other))
    return float(10 * np.log10(255**2 / max(((a - b) ** 2).mean(), 1e-9)))


def lumas(data: bytes) -> list[np.ndarray]:
    with open_clip(data) as (container, stream):
        return [frame.to_ndarray(format="gray").astype(float) for frame in container.decode(stream)]


def painted(motif: str, time: str, weather: str, size: Size = SMALL, shot: str = "wide") -> np.ndarray:
    stage = Stage(World(motif, time, weather, "calm", "", ()), Shot(shot, f"{motif}/seed"), size)
    PAINTERS[motif](stage)
    finish(stage)
    planes = planes_of(render(stage.scene(), move_of("pan").at(0, 0), 0.0))
    assert planes.y.shape == (size.height, size.width)
    assert planes.u.shape == planes.v.shape == (size.height // 2, size.width // 2)
    return np.concatenate([planes.y.ravel(), planes.u.ravel(), planes.v.ravel()]).astype(float)


@pytest.mark.parametrize("motif", sorted(PAINTERS))
def test_every_motif_can_be_painted_at_every_time_and_in_every_weather(motif: str) -> None:
    tiny = Size(width=64, height=64)
    for index, time in enumerate(TIMES):
        for weather in (WEATHERS[index], WEATHERS[(index + 3) % 6]):
            assert painted(motif, time, weather, tiny).std() > 2


def test_different_motifs_give_clearly_different_pictures() -> None:
    pictures = {motif: painted(motif, "sunset", "clear") for motif in PAINTERS}
    names = sorted(pictures)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert np.abs(pictures[one] - pictures[other]).mean() > 3, (one, other)


def test_times_of_day_give_clearly_different_pictures() -> None:
    pictures = [painted("mountain", time, "clear") for time in TIMES]
    assert min(np.abs(a - b).mean() for a, b in pairwise(pictures)) > 4


def test_moods_give_different_palettes() -> None:
    palettes = {
        palette_of(World("sea", "day", "clear", mood, "", ())) for mood in ("calm", "dark", "neon", "joyful")
    }
    assert len(palettes) == 4


@pytest.mark.parametrize("size", ["90x160", "32x32", "34x300", "300x34"])
def test_any_even_size_can_be_painted(size: str) -> None:
    width, height = (int(part) for part in size.split("x"))
    box = Size(width=width, height=height)
    for motif in PAINTERS:
        painted(motif, "night", "snow", box, "close" if len(motif) % 2 else "aerial")


def test_the_same_work_gives_the_same_bytes() -> None:
    job, beat = make_job("a busy street in the rain with neon signs"), make_beat()
    first = image(job, beat)
    assert image(job, beat) == first
    assert clip(job, beat, first, 12) == clip(job, beat, first, 12)


def test_another_process_with_another_hash_seed_gives_the_same_bytes() -> None:
    program = (
        "import hashlib, test_local_render as t;"
        "print(hashlib.sha256(t.image(t.make_job('a cup of coffee by candle light'), t.make_beat())).hexdigest())"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert len(digests) == 1


def test_seed_beat_and_shot_change_the_picture() -> None:
    pictures = [
        image(make_job(seed=1), make_beat()),
        image(make_job(seed=2), make_beat()),
        image(make_job(seed=1), make_beat(1)),
        image(make_job(seed=1), make_beat(shot="close-up")),
    ]
    assert max(psnr(a, b) for i, a in enumerate(pictures) for b in pictures[i + 1 :]) < 30


def test_a_storyboard_image_is_a_png_of_the_jobs_size_that_carries_its_recipe() -> None:
    data = image(make_job(), make_beat())
    assert Image.open(io.BytesIO(data)).size == (160, 90)
    assert len(png_text(data)[RECIPE]) == 64


@pytest.mark.parametrize("frames", [1, 2, 23, 48])
def test_a_clip_has_exactly_the_frames_asked_for(frames: int) -> None:
    job, beat = make_job(), make_beat()
    info = probe(clip(job, beat, image(job, beat), frames))
    assert (info.frames, info.width, info.height, info.fps) == (frames, 160, 90, 24)


@pytest.mark.parametrize(
    "prompt", ["a lake at sunset", "a storm at sea", "a snowy village", "a city street at night"]
)
def test_a_clip_begins_with_its_storyboard_image(prompt: str) -> None:
    size = Size(width=640, height=360)
    job, beat = make_job(prompt, size), make_beat(prompt=prompt, camera="pull back")
    start = image(job, beat)
    made = clip(job, beat, start, 12)
    assert psnr(start, frame_as_png(made, 0), size) > 38
    assert psnr(start, frame_as_png(made, 11), size) < 37


def test_a_follower_begins_with_exactly_the_frame_it_continues_from_and_ends_in_its_own_scene() -> None:
    size = Size(width=320, height=180)
    job = make_job(size=size)
    start = image(job, make_beat())
    last = frame_as_png(clip(job, make_beat(), start, 24), 23)
    follower = make_beat(1, "pan right")
    made = clip(job, follower, last, 60, continues=True)
    assert psnr(last, frame_as_png(made, 0), size) > 38
    own = clip(job, follower, image(job, follower), 60)
    assert psnr(frame_as_png(own, 59), frame_as_png(made, 59), size) > 30
    assert psnr(last, frame_as_png(made, 59), size) < 25


def test_a_dissolve_lies_in_the_first_part_of_a_shot_however_short() -> None:
    for frames in (1, 6, 24, 36, 120, 600):
        start, end = dissolve_span(frames, 24)
        assert 0 <= start <= end <= max(1, 0.6 * frames)
    assert 1.2 <= (dissolve_span(120, 24)[1] - dissolve_span(120, 24)[0]) / 24 <= 1.8


def test_a_users_photo_is_filmed_as_it_is() -> None:
    size = Size(width=320, height=180)
    ramp = np.linspace(40, 220, 320, dtype=np.uint8)
    photo = write_png(np.stack([np.tile(ramp, (180, 1))] * 3, axis=-1))
    made = clip(make_job(size=size), make_beat(camera="pan left"), photo, 24)
    assert psnr(photo, frame_as_png(made, 0), size) > 38
    assert psnr(photo, frame_as_png(made, 23), size) < 45


def test_the_picture_of_another_beat_is_taken_for_a_photo() -> None:
    size = Size(width=640, height=360)
    job = make_job(size=size)
    other = image(job, make_beat(3))
    assert psnr(other, frame_as_png(clip(job, make_beat(), other, 4), 0), size) > 38


@pytest.mark.parametrize("camera", MOVES)
def test_camera_moves_are_smooth(camera: str) -> None:
    job, beat = make_job("a meadow"), make_beat(prompt="a meadow", camera=camera)
    made = lumas(clip(job, beat, image(job, beat), 24))
    steps = np.array([np.abs(b - a).mean() for a, b in pairwise(made)])
    assert steps.max() < 4 * np.median(steps) + 0.6
    assert np.median(steps) > 0


def test_camera_moves_differ() -> None:
    paths = {camera: tuple(move_of(camera).at(p, p * 4) for p in (0.0, 0.5, 1.0)) for camera in MOVES}
    same = {"dolly", "zoom"}
    assert len(set(paths.values())) == len(MOVES) - len(same)


def test_a_move_eases_but_never_stands_still() -> None:
    steps = np.diff([eased(p) for p in np.linspace(0, 1, 101)])
    assert eased(0) == 0
    assert eased(1) == pytest.approx(1)
    assert steps.min() > 0.2 * steps.max() / 1.5
    assert steps[0] < steps[50]
