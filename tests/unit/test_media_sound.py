"""Sound of clips stays in step with their pictures, and is heard under the music."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from raypipe.artifacts import ArtifactStore
from raypipe.media.audio import decode, fit_track, loudness
from raypipe.media.door import fit_clip
from raypipe.media.resampling import Samples
from raypipe.media.sound import has_sound, mixed
from raypipe.media.video import SOUND_RATE
from raypipe.models import FPS, Chunk, Job, Kind, Size, Track
from raypipe.phases.stitch import stitch_film
from raypipe.testing import media
from raypipe.testing.media import CLIP_HZ, TRACK_HZ, ClipFormat

SIZE = Size(width=320, height=180)
LOUD: dict[str, Any] = {"width": 320, "height": 180, "sound": True}


def fitted(folder: Path, seconds: float, frames: int, skip_first: bool = False, **form: Any) -> Path:
    source, out = folder / "delivered", folder / f"fitted-{len(list(folder.iterdir()))}.mp4"
    source.write_bytes(media.clip(seconds, ClipFormat(**LOUD | form), (200, 60, 60)))
    assert fit_clip(source, out, SIZE, FPS, frames, skip_first) is not None
    return out


def loud(samples: Samples, rate: int, hertz: float) -> list[bool]:
    """Tell of each tenth of a second whether a pitch is heard in it."""
    step = rate // 10
    t = np.arange(step) / rate
    wave = np.exp(-2j * np.pi * hertz * t)
    parts = samples.mean(axis=0)[: samples.shape[1] // step * step].reshape(-1, step)
    return [bool(abs(part @ wave) / step > 0.005) for part in parts]


#: the tone of the fakes' clips: on in the first half of each second
SECOND = [True] * 5 + [False] * 5


@pytest.mark.parametrize(
    "form", [{}, {"fps": 30}, {"codec": "libvpx-vp9", "container": "webm", "sound": False}]
)
def test_sound_is_kept_in_step_with_the_pictures_and_as_long_as_they(
    tmp_path: Path, form: dict[str, Any]
) -> None:
    out = fitted(tmp_path, 3.0, 48, **form)
    assert has_sound(out) is form.get("sound", True)
    if has_sound(out):
        samples, rate = decode(out)
        assert (samples.shape[0], rate) == (2, SOUND_RATE)
        assert abs(samples.shape[1] - 2 * SOUND_RATE) <= 1024
        assert loud(samples, rate, CLIP_HZ)[:20] == SECOND * 2


def test_where_the_first_picture_is_left_out_so_is_what_is_heard_with_it(tmp_path: Path) -> None:
    samples, rate = decode(fitted(tmp_path, 3.0, 24, skip_first=True))
    shifted = np.pad(samples, ((0, 0), (rate // FPS, 0)))
    assert loud(shifted, rate, CLIP_HZ)[1:10] == SECOND[1:]


def test_a_clip_that_is_too_short_is_silent_at_its_end(tmp_path: Path) -> None:
    samples, rate = decode(fitted(tmp_path, 1.0, 48))
    assert loud(samples, rate, CLIP_HZ)[:20] == [*SECOND, *[False] * 10]


def test_sound_that_breaks_off_costs_no_picture(tmp_path: Path) -> None:
    data = bytearray(media.clip(2.0, ClipFormat(**LOUD), (200, 60, 60)))
    with av.open(str(_written(tmp_path / "whole", bytes(data)))) as container:
        packets = [each for each in container.demux(container.streams.audio[0]) if each.pos]
    for packet in packets[len(packets) // 2 :]:
        assert packet.pos is not None
        data[packet.pos : packet.pos + packet.size] = b"\xff" * packet.size
    source, out = _written(tmp_path / "delivered", bytes(data)), tmp_path / "fitted.mp4"
    assert fit_clip(source, out, SIZE, FPS, 48, False) is not None
    samples, rate = decode(out)
    assert loud(samples, rate, CLIP_HZ)[:5] == SECOND[:5]


def test_sound_of_a_sample_a_second_is_left_out_for_it_would_take_gigabytes(tmp_path: Path) -> None:
    source, out = tmp_path / "delivered", tmp_path / "fitted.mp4"
    with av.open(str(source), "w", format="matroska") as container:
        video: Any = container.add_stream("libx264", rate=24)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        sound: Any = container.add_stream("pcm_s16le", rate=10)
        for number in range(24):
            frame = av.VideoFrame.from_ndarray(np.zeros((180, 320, 3), np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, 24)
            container.mux(video.encode(frame))
        heard = av.AudioFrame.from_ndarray(np.full((1, 4_000), 9_000, np.int16), format="s16", layout="mono")
        heard.sample_rate, heard.pts, heard.time_base = 10, 0, Fraction(1, 10)
        container.mux([*sound.encode(heard), *sound.encode(None), *video.encode(None)])
    assert fit_clip(source, out, SIZE, FPS, 24, False) is not None
    assert not has_sound(out)


def test_sound_of_clips_is_under_the_music_and_the_whole_at_the_delivery_level(tmp_path: Path) -> None:
    clips = [(fitted(tmp_path, 2.0, 48), 48), (fitted(tmp_path, 2.0, 48, sound=False), 48)]
    track = _written(tmp_path / "track.mp4", fit_track(media.track(5.0), 4.0))
    data = mixed(clips, FPS, track)
    assert data is not None
    samples, rate = decode(data)
    assert loud(samples, rate, CLIP_HZ)[:40] == [*SECOND * 2, *[False] * 20]
    assert all(loud(samples, rate, TRACK_HZ)[5:20])
    assert abs(samples.shape[1] / rate - 4.0) < 0.05
    heard = loudness(samples, rate)
    assert heard.integrated_lufs == pytest.approx(-14, abs=0.5)
    assert heard.true_peak_dbtp <= -1


def test_without_music_the_clips_are_heard_alone_and_without_sound_the_music(tmp_path: Path) -> None:
    speaking, silent = fitted(tmp_path, 2.0, 48), fitted(tmp_path, 2.0, 48, sound=False)
    alone = mixed([(silent, 48), (speaking, 48)], FPS, None)
    assert alone is not None
    assert loud(*decode(alone), CLIP_HZ)[:40] == [*[False] * 20, *SECOND * 2]
    assert mixed([(silent, 48)], FPS, None) is None


@pytest.mark.parametrize("wanted", [False, True])
def test_a_film_has_the_sound_of_its_clips_if_that_is_asked_for(tmp_path: Path, wanted: bool) -> None:
    store = ArtifactStore((tmp_path / "artifacts").as_uri())
    job = Job(
        video_id="v", size=SIZE, fps=FPS, duration=4, prompt="", style="", mood="", seed=0, options={},
        models=dict.fromkeys(Kind, ("local",)), clip_sound=wanted,
    )  # fmt: skip
    path = fitted(tmp_path, 2.0, 48)
    artifact = store.put(path.read_bytes(), "video/mp4")
    chunks = [Chunk(artifact=artifact, beat_index=index, frames=48) for index in range(2)]
    music = Track(artifact=store.put(fit_track(media.track(5.0), 4.0), "audio/mp4"), seconds=4)
    # mixing takes seconds of CPU, which a helper must not spend
    assert (stitch_film(job, chunks, [48, 48], music, store, encode=False) is None) is wanted
    film = stitch_film(job, chunks, [48, 48], music, store)
    assert film is not None
    samples, rate = decode(store.get(film.artifact))
    assert loud(samples, rate, CLIP_HZ)[:40] == (SECOND * 4 if wanted else [False] * 40)
    assert all(loud(samples, rate, TRACK_HZ)[5:20])


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
