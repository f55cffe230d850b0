"""Stitching, on clips that were really encoded and are decoded again."""

from fractions import Fraction
from itertools import chain, pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from raypipe.errors import MediaError
from raypipe.film_label import FilmLabel
from raypipe.media.stitch import stitch
from raypipe.media.video import Plane, Planes, encode_clip, frame_as_png, probe, read_picture, to_planes
from raypipe.models import Size

SIZE = Size(width=64, height=36)


def grey(level: int) -> Planes:
    half = (SIZE.height // 2, SIZE.width // 2)
    luma = np.full((SIZE.height, SIZE.width), level, np.uint8)
    return Planes(luma, np.full(half, 128, np.uint8), np.full(half, 128, np.uint8))


def clip(folder: Path, name: str, levels: list[int]) -> Path:
    path = folder / name
    path.write_bytes(encode_clip(map(grey, levels), SIZE, 24))
    return path


def foreign_clip(folder: Path, frames: int, rate: int = 30, b_frames: int = 2) -> Path:
    """A clip of another encoder setting, size and rate, with B-frames."""
    path = folder / f"foreign-{rate}-{b_frames}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"bf": str(b_frames), "g": "300"})
        stream.width, stream.height, stream.pix_fmt = 128, 72, "yuv420p"
        rng = np.random.default_rng(1)
        for index in range(frames):
            noise = rng.integers(0, 255, (72, 128, 3), dtype=np.uint8)
            frame = av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def levels_of(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [
            round(frame.to_ndarray(format="yuv420p")[: frame.height].mean())
            for frame in container.decode(video=0)
        ]


def times_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [frame.time or 0.0 for frame in container.decode(video=0)]


def test_the_frame_that_a_seam_shows_twice_is_left_out_once(tmp_path: Path) -> None:
    first = clip(tmp_path, "0.mp4", [*range(40, 136, 4), 136])
    follower = clip(tmp_path, "1.mp4", [*range(136, 232, 4)])
    out = tmp_path / "out.mp4"
    made = stitch([(first, 24), (follower, 24)], None, out, SIZE, 24, tmp_path)
    assert made == 0
    levels = levels_of(out)
    assert len(levels) == 48
    assert all(abs(a - b) <= 2 for a, b in zip(levels, range(40, 232, 4), strict=True))
    assert all(b > a for a, b in pairwise(levels))


def test_equal_clips_are_copied_packet_by_packet(tmp_path: Path) -> None:
    paths = [clip(tmp_path, f"{i}.mp4", [50 + 10 * i] * 24) for i in range(3)]
    out = tmp_path / "out.mp4"
    assert stitch([(path, 24) for path in paths], None, out, SIZE, 24, tmp_path) == 0

    def packets(path: Path) -> list[bytes]:
        with av.open(str(path)) as container:
            return [bytes(packet) for packet in container.demux(video=0) if packet.dts is not None]

    assert packets(out) == list(chain.from_iterable(map(packets, paths)))


def test_frames_are_evenly_spaced_over_the_seams(tmp_path: Path) -> None:
    paths = [clip(tmp_path, f"{i}.mp4", [90] * 25) for i in range(3)]
    out = tmp_path / "out.mp4"
    stitch([(path, 24) for path in paths], None, out, SIZE, 24, tmp_path)
    assert times_of(out) == pytest.approx([i / 24 for i in range(72)])


def test_a_clip_that_is_too_short_holds_its_last_frame(tmp_path: Path) -> None:
    paths = [clip(tmp_path, f"{i}.mp4", [90] * 20) for i in range(2)]
    out = tmp_path / "out.mp4"
    assert stitch([(path, 24) for path in paths], None, out, SIZE, 24, tmp_path) == 0
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert float(stream.duration * stream.time_base) == pytest.approx(2.0, abs=0.001)
    assert times_of(out)[20] == pytest.approx(1.0)


def test_only_clips_that_differ_are_encoded_anew(tmp_path: Path) -> None:
    own = [clip(tmp_path, f"{i}.mp4", [90] * 24) for i in range(2)]
    foreign = foreign_clip(tmp_path, 60)
    out = tmp_path / "out.mp4"
    made = stitch([(own[0], 24), (foreign, 48), (own[1], 24)], None, out, SIZE, 24, tmp_path)
    assert made == 1
    info = probe(out)
    assert (info.width, info.height, info.fps, info.frames) == (64, 36, 24, 96)
    assert len(levels_of(out)) == 96


def test_clips_that_differ_are_left_alone_where_encoding_is_not_asked_for(tmp_path: Path) -> None:
    own, foreign = clip(tmp_path, "0.mp4", [90] * 24), foreign_clip(tmp_path, 60)
    out = tmp_path / "out.mp4"
    assert stitch([(own, 24), (foreign, 48)], None, out, SIZE, 24, tmp_path, encode=False) is None
    assert not out.exists()


def test_clips_that_agree_are_copied_whatever_they_are(tmp_path: Path) -> None:
    foreign = foreign_clip(tmp_path, 60)
    out = tmp_path / "out.mp4"
    assert stitch([(foreign, 60), (foreign, 60)], None, out, SIZE, 24, tmp_path) == 0
    assert probe(out).width == 128


def test_a_cut_that_b_frames_forbid_is_made_by_encoding(tmp_path: Path) -> None:
    foreign = foreign_clip(tmp_path, 60, b_frames=3)
    for frames in range(40, 46):
        out = tmp_path / f"{frames}.mp4"
        stitch([(foreign, frames)], None, out, SIZE, 30, tmp_path)
        assert len(levels_of(out)) == frames


def test_the_index_of_the_video_comes_first(tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    stitch([(clip(tmp_path, "0.mp4", [90] * 24), 24)], None, out, SIZE, 24, tmp_path)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_what_is_no_clip_is_a_media_error(tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"nothing of use")
    with pytest.raises(MediaError):
        stitch([(broken, 24)], None, tmp_path / "out.mp4", SIZE, 24, tmp_path)


def test_the_seam_shows_the_predecessors_last_frame(tmp_path: Path) -> None:
    first = clip(tmp_path, "0.mp4", [*range(40, 136, 4), 136])
    last: Plane = read_picture(frame_as_png(first, 24), SIZE)
    follower = tmp_path / "1.mp4"
    follower.write_bytes(encode_clip([to_planes(last)] * 24, SIZE, 24))
    out = tmp_path / "out.mp4"
    stitch([(first, 24), (follower, 24)], None, out, SIZE, 24, tmp_path)
    seam = read_picture(frame_as_png(out, 24), SIZE).astype(float)
    assert 10 * np.log10(255**2 / max(np.mean((seam - last) ** 2), 1e-9)) > 40


@pytest.mark.parametrize(
    "size", [Size(width=640, height=360), Size(width=360, height=640), Size(width=64, height=36)]
)
@pytest.mark.parametrize("text", ["Made by AI", "Généré par IA, сделано ИИ: Ł", "x" * 60])
def test_a_label_is_seen_in_the_corner_of_every_frame_and_nowhere_else(
    tmp_path: Path, size: Size, text: str
) -> None:
    y, x = np.mgrid[0 : size.height, 0 : size.width]
    picture = np.stack([90 + x * 60 // size.width, 90 + y * 60 // size.height, 120 + 0 * x], -1).astype(
        np.uint8
    )
    paths = [tmp_path / f"{number}.mp4" for number in range(2)]
    for path in paths:
        path.write_bytes(encode_clip([to_planes(picture)] * 12, size, 24))
    plain, labelled = tmp_path / "plain.mp4", tmp_path / "labelled.mp4"
    clips = [(path, 12) for path in paths]
    assert stitch(clips, None, labelled, size, 24, tmp_path, encode=False, label=FilmLabel(text)) is None
    assert stitch(clips, None, plain, size, 24, tmp_path) == 0
    assert stitch(clips, None, labelled, size, 24, tmp_path, label=FilmLabel(text)) == 2
    assert probe(labelled).frames == 24
    for index in (0, 11, 12, 23):
        before, after = (
            read_picture(frame_as_png(path, index), size).astype(int) for path in (plain, labelled)
        )
        changed = np.abs(after - before).max(axis=2) > 30
        assert changed.any()
        assert np.nonzero(changed)[0].min() > size.height * 0.6
        assert size.width == 64 or after[changed].max() > 200, "letters, where there is room for them"
        assert not changed[: size.height // 2].any()
