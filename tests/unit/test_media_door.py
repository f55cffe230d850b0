"""What vendors deliver becomes the video's own format, to the frame, or a typed error."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from raypipe.errors import MediaError
from raypipe.media.door import Fitted, fit_clip
from raypipe.media.stitch import is_own
from raypipe.media.video import open_clip, read_delivered_picture
from raypipe.models import FPS, Size
from raypipe.testing import media
from raypipe.testing.media import ClipFormat

SIZE = Size(width=320, height=180)
SECONDS, FRAMES = 2, 48
RED = (200, 60, 60)
SMALL = {"width": 640, "height": 360}

FORMATS: dict[str, dict[str, Any]] = {
    "16 fps": {"fps": 16},
    "24 fps": {},
    "25 fps": {"fps": 25},
    "30 fps": {"fps": 30},
    "NTSC": {"fps": 30_000 / 1_001},
    "50 fps": {"fps": 50},
    "60 fps": {"fps": 60},
    "720p": {"width": 1280, "height": 720},
    "1248x704": {"width": 1248, "height": 704},
    "480p": {"width": 854, "height": 480},
    "B-frames": {"b_frames": 3},
    "HEVC": {"codec": "libx265"},
    "HEVC of 10 bits": {"codec": "libx265", "pix_fmt": "yuv420p10le"},
    "VP9 in WebM": {"codec": "libvpx-vp9", "container": "webm"},
    "AV1": {"codec": "libsvtav1"},
    "4:4:4": {"pix_fmt": "yuv444p"},
    "with sound": {"sound": True},
    "QuickTime": {"container": "mov"},
}


def fit(tmp_path: Path, data: bytes, skip_first: bool = False, frames: int = FRAMES) -> tuple[Path, Fitted]:
    source, out = tmp_path / "delivered", tmp_path / "fitted.mp4"
    source.write_bytes(data)
    fitted = fit_clip(source, out, SIZE, FPS, frames, skip_first)
    assert fitted is not None
    return out, fitted


def pictures(path: Path) -> list[Any]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def numbers(path: Path) -> list[int]:
    return [media.number_of(picture) for picture in pictures(path)]


def own(path: Path) -> bool:
    with open_clip(path) as (_, stream):
        return is_own(stream, SIZE, FPS)


@pytest.mark.parametrize("name", FORMATS)
def test_a_clip_of_any_rate_size_and_codec_is_shown_by_time_in_the_videos_own_format(
    tmp_path: Path, name: str
) -> None:
    form = ClipFormat(**SMALL | FORMATS[name])
    out, fitted = fit(tmp_path, media.clip(SECONDS, form, RED))
    assert fitted == Fitted(held=0, encoded=True)
    assert own(out)
    assert numbers(out) == [int((frame / FPS + 0.002) * form.fps) for frame in range(FRAMES)]
    colour = pictures(out)[FRAMES // 2][90, 160]
    assert np.abs(colour.astype(int) - RED).max() <= 8


def test_no_encoder_leaves_its_caller_with_another_priority() -> None:
    before = os.sched_getscheduler(0), os.nice(0)
    media.clip(0.2, ClipFormat(**SMALL, codec="libsvtav1"), RED)
    assert (os.sched_getscheduler(0), os.nice(0)) == before


def test_a_clip_of_4k_is_fitted_too(tmp_path: Path) -> None:
    out, _ = fit(tmp_path, media.clip(0.5, ClipFormat(width=3840, height=2160, fps=30), RED), frames=12)
    assert numbers(out) == [int((frame / FPS + 0.002) * 30) for frame in range(12)]


def test_a_variable_rate_is_shown_by_its_times(tmp_path: Path) -> None:
    # each second picture comes half a frame late: at the time of its own frame the one before is still to be seen
    out, _ = fit(tmp_path, media.clip(SECONDS, ClipFormat(**SMALL, variable=True), RED))
    assert numbers(out) == [frame - frame % 2 for frame in range(FRAMES)]


def test_a_follower_begins_with_the_picture_after_the_one_that_repeats_its_predecessors_last(
    tmp_path: Path,
) -> None:
    out, fitted = fit(tmp_path, media.clip(SECONDS + 1, ClipFormat(**SMALL), RED), skip_first=True)
    assert fitted.held == 0
    assert numbers(out) == list(range(1, FRAMES + 1))
    slow, _ = fit(tmp_path, media.clip(SECONDS + 1, ClipFormat(**SMALL, fps=16), RED), skip_first=True)
    assert numbers(slow)[0] == 1


@pytest.mark.parametrize(("extra", "held"), [(-1 / 24, 1), (-0.5, 12), (1.0, 0)])
def test_one_that_is_too_short_holds_its_last_picture_and_one_that_is_too_long_is_cut(
    tmp_path: Path, extra: float, held: int
) -> None:
    out, fitted = fit(tmp_path, media.clip(SECONDS, ClipFormat(**SMALL, extra_seconds=extra), RED))
    assert fitted.held == held
    assert numbers(out) == [min(frame, FRAMES - 1 - held) for frame in range(FRAMES)]


def test_a_portrait_clip_fills_a_landscape_video_and_is_not_squeezed(tmp_path: Path) -> None:
    out, _ = fit(tmp_path, media.clip(SECONDS, ClipFormat(width=360, height=640), RED))
    shown = pictures(out)[0]
    assert shown.shape == (180, 320, 3)
    assert np.abs(shown.astype(int) - RED).max() <= 12  # the numbers on top are cropped away


@pytest.mark.parametrize(
    "matrix",
    [
        (0, 1, -1, 0),
        (-1, 0, 0, -1),
        (0, -1, 1, 0),
        (-1, 0, 0, 1),
        (1, 0, 0, -1),
        (0, 1, 1, 0),
        (0, -1, -1, 0),
    ],
)
def test_a_clip_that_players_turn_or_mirror_is_turned_or_mirrored(
    tmp_path: Path, matrix: tuple[int, ...]
) -> None:
    size = {"width": 360, "height": 640} if matrix[0] == 0 else SMALL
    data = rotated(media.clip(SECONDS, ClipFormat(**size), RED), matrix)
    out, _ = fit(tmp_path, data)
    if shutil.which("ffmpeg") is None:
        pytest.skip("needs ffmpeg")
    # ffmpeg turns by the same matrix: what it shows is what we show
    command = [
        "ffmpeg",
        "-v",
        "error",
        "-i",
        str(tmp_path / "delivered"),
        "-frames:v",
        "1",
        str(tmp_path / "shown.png"),
    ]
    subprocess.run(command, check=True)
    theirs = read_delivered_picture((tmp_path / "shown.png").read_bytes(), SIZE).astype(float)
    ours = pictures(out)[0].astype(float)
    assert 10 * np.log10(255**2 / ((ours - theirs) ** 2).mean()) > 25


def rotated(mp4: bytes, matrix: tuple[int, ...]) -> bytes:
    """Write a matrix into the track header (ISO/IEC 14496-12, 8.3.2), as phones do."""
    a, b, c, d = (value * 65_536 for value in matrix)
    values = (a, b, 0, c, d, 0, 0, 0, 0x40000000)
    at = mp4.index(b"tkhd") + 4 + 40
    return mp4[:at] + b"".join(value.to_bytes(4, "big", signed=True) for value in values) + mp4[at + 36 :]


def test_a_clip_that_is_as_the_video_already_is_kept_as_it_is(tmp_path: Path) -> None:
    once, _ = fit(tmp_path, media.clip(SECONDS, ClipFormat(**SMALL), RED))
    assert fit_clip(once, tmp_path / "again.mp4", SIZE, FPS, FRAMES, False, encode=False) == Fitted(
        0, encoded=False
    )
    assert fit_clip(once, tmp_path / "again.mp4", SIZE, FPS, FRAMES, True, encode=False) is None
    assert fit_clip(once, tmp_path / "again.mp4", SIZE, FPS, FRAMES - 1, False, encode=False) is None
    assert not (tmp_path / "again.mp4").exists()


@pytest.mark.parametrize(("codec", "kept"), [("aac", True), ("pcm_s16le", False), ("mp3", False)])
def test_a_clip_as_the_video_already_is_but_for_its_sound_is_not_kept_for_others_to_read(
    tmp_path: Path, codec: str, kept: bool
) -> None:
    once, _ = fit(tmp_path, media.clip(SECONDS, ClipFormat(**SMALL), RED))
    heard = tmp_path / "heard.mov"
    with av.open(str(once)) as source, av.open(str(heard), "w", format="mov") as made:
        stream = made.add_stream_from_template(source.streams.video[0])
        sound: Any = made.add_stream(codec, rate=48_000, layout="stereo")
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 2 * 48_000), np.int16), format="s16", layout="stereo")
        frame.sample_rate, frame.pts = 48_000, 0
        made.mux([*sound.encode(frame), *sound.encode(None)])
    fitted = fit_clip(heard, tmp_path / "again.mp4", SIZE, FPS, FRAMES, False, encode=False)
    assert fitted == (Fitted(held=0, encoded=False) if kept else None)


CLIP = media.clip(0.5, ClipFormat(**SMALL), RED)


GARBAGE = {
    "HTML": b"<html><body>Not found</body></html>",
    "nothing": b"",
    "a picture": media.picture(64, 64, 1, 2, 3),
    "a truncated clip": CLIP[: len(CLIP) // 2],
    "only its beginning": CLIP[:40],
    "huge pictures": media.clip(
        0.1, ClipFormat(width=8192, height=4800, codec="mjpeg", pix_fmt="yuvj420p"), RED
    ),
    "noise in a clip's clothes": b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 400,
    "sound alone": media.sound_only(),
    "an encoding that nobody knows": CLIP.replace(b"avc1", b"xxxx"),
}


@pytest.mark.parametrize("name", GARBAGE)
def test_what_is_no_clip_is_a_typed_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(MediaError):
        fit(tmp_path, GARBAGE[name])
