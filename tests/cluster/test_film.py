"""A film of the local provider, checked by decoding what was really encoded."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.media.audio import decode, loudness
from raypipe.media.video import Plane, probe, read_picture
from raypipe.models import Phase, Size, VideoRequest, VideoState

SIZE = Size(width=192, height=108)
SECONDS = 20


class Film:
    """A finished video with what it was made from."""

    def __init__(self, coordinator: Coordinator, video_id: str) -> None:
        video = coordinator.journal.video(video_id)
        assert video.result is not None
        self.data = coordinator.store.get(video.result)
        self.beats = video.spec.beats
        self.steps = {step.step: step for step in coordinator.journal.steps(video_id)}
        self.stitched = coordinator.journal.phases(video_id)[Phase.STITCH].output
        self.pictures = {
            name: read_picture(coordinator.store.get(step.artifact), SIZE)
            for name, step in self.steps.items()
            if name.startswith(("image/", "last_frame/")) and step.artifact
        }


@pytest.fixture(scope="module")
def film(cluster: Any, tmp_path_factory: pytest.TempPathFactory) -> Film:
    async def make() -> Film:
        coordinator = Coordinator(Settings(data_dir=tmp_path_factory.mktemp("film")))
        request = VideoRequest(prompt="A sailing boat at sunset", duration=SECONDS, size=SIZE, seed=3)
        video_id = await coordinator.submit(request)
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        made = Film(coordinator, video_id)
        await coordinator.close()
        return made

    return asyncio.run(make())


@pytest.fixture(scope="module")
def frames(film: Film, tmp_path_factory: pytest.TempPathFactory) -> list[Plane]:
    path = tmp_path_factory.mktemp("frames") / "film.mp4"
    path.write_bytes(film.data)
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def psnr(one: Plane, other: Plane) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def test_it_has_exactly_the_frames_size_and_rate_that_were_asked_for(film: Film, frames: list[Plane]) -> None:
    info = probe(film.data)
    assert (info.width, info.height, info.fps, info.codec, info.pix_fmt) == (192, 108, 24, "h264", "yuv420p")
    assert info.frames == len(frames) == SECONDS * 24
    assert film.data.index(b"moov") < film.data.index(b"mdat")


def test_it_was_stitched_without_encoding_anything_anew(film: Film) -> None:
    assert film.stitched["normalised"] == 0


def test_every_sequence_begins_with_its_storyboard_image(film: Film, frames: list[Plane]) -> None:
    for reference in (0, 2):
        first = frames[round(film.beats[reference].start * 24)]
        assert psnr(first, film.pictures[f"image/{reference}"]) > 34


def test_every_follower_begins_with_its_predecessors_last_frame_shown_once(
    film: Film, frames: list[Plane]
) -> None:
    for follower in (1, 3):
        seam = round(film.beats[follower].start * 24)
        last_frame = film.pictures[f"last_frame/{follower - 1}"]
        assert psnr(frames[seam], last_frame) > 34
        assert psnr(frames[seam - 1], frames[seam]) > 24, "the picture jumps at the seam"
        moved = np.abs(frames[seam + 60].astype(int) - frames[seam]).mean()
        assert moved > 1, "the follower does not move on"


def test_the_picture_moves_all_the_time_and_never_jumps_within_a_sequence(
    film: Film, frames: list[Plane]
) -> None:
    cuts = {round(film.beats[reference].start * 24) for reference in (0, 2)}
    changes = np.array([np.abs(b.astype(int) - a).mean() for a, b in pairwise(frames)])
    inside = np.array([change for index, change in enumerate(changes, start=1) if index not in cuts])
    assert inside.max() < 12 * np.median(inside) + 2
    assert (inside > 0).mean() > 0.95


def test_its_music_has_its_length_and_the_loudness_of_the_web(film: Film, tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(film.data)
    samples, rate = decode(path)
    measured = loudness(samples, rate)
    assert samples.shape[1] / rate == pytest.approx(SECONDS, abs=1 / 24)
    assert measured.integrated_lufs == pytest.approx(-14, abs=1)
    assert measured.true_peak_dbtp <= -1
    edge, loudest = round(0.05 * rate), np.abs(samples).max()
    assert np.abs(samples[:, :edge]).max() < 0.3 * loudest
    assert np.abs(samples[:, -edge:]).max() < 0.1 * loudest
