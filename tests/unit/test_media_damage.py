"""What is damaged, changes on the way or breaks off costs what is in it; the rest keeps its time."""

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as Picture
from PIL import ImageFilter

from raypipe.errors import MediaError
from raypipe.media.audio import decode, fit_track
from raypipe.media.door import Fitted, fit_clip
from raypipe.media.resampling import Samples, joined, resampled
from raypipe.media.sound import sound_of
from raypipe.models import FPS, Size
from raypipe.testing import media
from raypipe.testing.media import ClipFormat

SIZE = Size(width=320, height=180)
FRAMES, HERTZ = 48, 440
ROOM = {"width": 320, "height": 180}
RED = (200, 60, 60)


def fit(folder: Path, data: bytes, frames: int = FRAMES) -> tuple[Path, Fitted]:
    source, out = folder / "delivered", folder / "fitted.mp4"
    source.write_bytes(data)
    fitted = fit_clip(source, out, SIZE, FPS, frames, False)
    assert fitted is not None
    return out, fitted


def numbers(path: Path) -> list[int]:
    with av.open(str(path)) as container:
        return [
            media.number_of(frame.to_ndarray(format="rgb24")) for frame in container.decode(container.streams.video[0])
        ]  # fmt: skip


def loud(samples: Samples, rate: int) -> str:
    """Tell of each tenth of a second whether something is heard in it."""
    tenths = samples[0, : samples.shape[1] // (rate // 10) * (rate // 10)].reshape(-1, rate // 10)
    return "".join("#" if level > 0.02 else "." for level in np.sqrt((tenths**2).mean(axis=1)))


def pitch(samples: Samples, rate: int, begin: float) -> int:
    part = samples[0][round(begin * rate) : round((begin + 0.6) * rate)]
    return round(np.argmax(np.abs(np.fft.rfft(part * np.hanning(len(part))))) * rate / len(part))


def tone(seconds: float, rate: int, channels: int) -> Samples:
    wave = 0.2 * np.sin(2 * np.pi * HERTZ * np.arange(round(seconds * rate)) / rate)
    return np.tile(wave, (channels, 1)).astype(np.float32)


def encoded(container: Any, stream: Any, samples: Samples, at: float = 0.0) -> None:
    """Encode samples in frames of 1,024, the first of them at a time."""
    layout = "mono" if len(samples) == 1 else "stereo"
    for first in range(0, samples.shape[1], 1024):
        part = np.ascontiguousarray(samples[:, first : first + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.time_base = stream.rate, Fraction(1, stream.rate)
        frame.pts = round(at * stream.rate) + first
        container.mux(stream.encode(frame))


def mp3(seconds: float, rate: int, channels: int) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp3", options={"write_xing": "0", "id3v2_version": "0"}) as container:
        stream: Any = container.add_stream("mp3", rate=rate, layout="mono" if channels == 1 else "stereo")
        stream.bit_rate = 128_000
        samples = tone(seconds, rate, channels)
        frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=stream.layout.name)
        frame.sample_rate, frame.pts = rate, 0
        container.mux([*stream.encode(frame), *stream.encode(None)])
    return out.getvalue()


def with_sound(track: bytes) -> bytes:
    """Copy a track beside pictures of two seconds."""
    out = io.BytesIO()
    pictures = media.clip(2.0, ClipFormat(**ROOM), RED)
    with (
        av.open(io.BytesIO(pictures)) as first,
        av.open(io.BytesIO(track)) as second,
        av.open(out, "w", format="mp4") as container,
    ):
        sources = first, second
        streams = [container.add_stream_from_template(source.streams[0]) for source in sources]
        for source, stream in zip(sources, streams, strict=True):
            for packet in source.demux(source.streams[0]):
                if packet.dts is not None:
                    packet.stream = stream
                    container.mux(packet)
    return out.getvalue()


TWO_LAYOUTS = mp3(1, 44_100, 2) + mp3(1, 44_100, 1)
TWO_RATES = mp3(1, 44_100, 2) + mp3(1, 48_000, 2)
BACK_AGAIN = mp3(0.5, 44_100, 2) + mp3(0.5, 48_000, 1) + mp3(1, 44_100, 2)


@pytest.mark.parametrize("track", [TWO_LAYOUTS, TWO_RATES, BACK_AGAIN])
def test_sound_that_changes_its_layout_or_rate_keeps_its_pitch_and_length(
    tmp_path: Path, track: bytes
) -> None:
    samples, rate = decode(track)
    # each of the parts ends with some padding
    assert samples.shape[1] / rate == pytest.approx(2, abs=0.15)
    assert [pitch(samples, rate, begin) for begin in (0.2, 1.2)] == pytest.approx([HERTZ] * 2, abs=3)
    assert "." not in loud(samples, rate)[:20]
    assert decode(fit_track(track, 6.0))[0].shape[1] / rate == pytest.approx(6, abs=0.05)


def test_sound_of_a_clip_that_goes_from_stereo_to_mono_is_heard_to_its_end(tmp_path: Path) -> None:
    out, fitted = fit(tmp_path, with_sound(TWO_LAYOUTS))
    assert fitted == Fitted(held=0, encoded=True)
    assert "." not in loud(*decode(out))[:20]


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_sound_with_a_gap_is_silent_there_and_goes_on_at_its_time(tmp_path: Path, container: str) -> None:
    out, alone = io.BytesIO(), io.BytesIO()
    samples = (tone(0.48, 48_000, 1) * 32_767).astype(np.int16)
    with av.open(out, "w", format=container) as made, av.open(alone, "w", format="mp4") as track:
        video: Any = made.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        sounds: Any = [file.add_stream("flac", rate=48_000, layout="mono") for file in (made, track)]
        for number in range(FRAMES):
            frame = av.VideoFrame.from_ndarray(np.zeros((180, 320, 3), np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
        for at in (0, 72_000):
            for file, sound in zip((made, track), sounds, strict=True):
                heard = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
                heard.sample_rate, heard.time_base, heard.pts = 48_000, Fraction(1, 48_000), at
                file.mux(sound.encode(heard))
        for file, sound in zip((made, track), sounds, strict=True):
            file.mux(sound.encode(None))
    fitted, _ = fit(tmp_path, out.getvalue())
    for heard in (decode(fitted), decode(alone.getvalue())):
        assert loud(*heard)[:19] == "#####..........####"


def tenths(seconds: float, clock: float = 1.0) -> Iterator[av.AudioFrame]:
    """Give a tone in frames of a tenth of a second, by a clock that is off."""
    samples = (tone(seconds, 48_000, 1) * 32_767).astype(np.int16)
    for first in range(0, samples.shape[1], 4_800):
        part = np.ascontiguousarray(samples[:, first : first + 4_800])
        frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
        frame.sample_rate, frame.time_base, frame.pts = 48_000, Fraction(1, 48_000), round(first * clock)
        yield frame


def sounding(out: Path, seconds: float, clock: float = 1.0) -> Path:
    """Write a clip with a tone in packets of a tenth of a second."""
    with av.open(str(out), "w") as made:
        pictures: Any = made.add_stream("libx264", rate=FPS)
        pictures.width, pictures.height, pictures.pix_fmt = 320, 180, "yuv420p"
        sound: Any = made.add_stream("flac", rate=48_000, layout="mono")
        for number in range(round(seconds * FPS)):
            picture = av.VideoFrame.from_ndarray(np.zeros((180, 320, 3), np.uint8))
            picture.pts, picture.time_base = number, Fraction(1, FPS)
            made.mux(pictures.encode(picture))
        made.mux(pictures.encode(None))
        for heard in tenths(seconds, clock):
            made.mux(sound.encode(heard))
        made.mux(sound.encode(None))
    return out


def test_sound_of_which_a_frame_has_a_time_far_ahead_is_silent_there_and_goes_on(tmp_path: Path) -> None:
    clip = sounding(tmp_path / "clip.mkv", 2.0)
    data = bytearray(clip.read_bytes())
    with av.open(str(clip)) as container:
        late = next(packet for packet in container.demux(audio=0) if packet.pts == 672)
    at = data.index(bytes(late))
    data[at - 3 : at - 1] = (30_000).to_bytes(2)  # its time in Matroska, in milliseconds
    fitted, _ = fit(tmp_path, bytes(data))
    samples, rate = decode(fitted)
    assert "." not in loud(samples, rate)[:7] + loud(samples, rate)[8:19]
    assert np.abs(samples[0, round(0.68 * rate) : round(0.76 * rate)]).max() < 0.02
    frames = list(tenths(2.0))
    frames[7].pts = 48_000 * 600
    track = joined(resampled(frames, "mono", 48_000), 2.0 * 48_000)
    assert track is not None
    assert loud(track, 48_000)[:19] == "#######.###########"


def test_sound_that_goes_on_behind_its_end_is_not_read_to_its_own() -> None:
    frames = tenths(60.0)
    track = joined(resampled(frames, "mono", 48_000), 2.0 * 48_000)
    assert track is not None
    assert track.shape == (1, 2.0 * 48_000)
    assert len(list(frames)) > 500


@pytest.mark.parametrize("clock", [1.0043, 0.9957])
@pytest.mark.parametrize("container", ["mkv", "mp4"])
def test_sound_whose_clock_is_off_has_neither_holes_nor_jumps_and_keeps_its_time(
    tmp_path: Path, clock: float, container: str
) -> None:
    clip = sounding(tmp_path / f"clip.{container}", 30.0, clock)
    with av.open(str(clip)) as opened:
        samples = sound_of(opened, 0.0, 32 * 48_000)
    assert samples is not None
    heard = samples[0][: round((30 * clock - 0.1) * 48_000)]
    levels = np.sqrt((heard[: len(heard) // 480 * 480].reshape(-1, 480) ** 2).mean(axis=1))
    assert levels.min() > 0.08
    assert np.abs(np.diff(heard)).max() < 0.012
    # by the end it may be late or early by a hundredth of a second, and a frame
    assert np.flatnonzero(np.abs(samples[0]) > 0.02)[-1] / 48_000 == pytest.approx(30 * clock, abs=0.02)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_clip_that_begins_between_two_key_frames_has_its_sound_with_its_pictures(
    tmp_path: Path, container: str
) -> None:
    whole, out = io.BytesIO(), io.BytesIO()
    with av.open(whole, "w", format="mp4") as made:
        video: Any = made.add_stream("libx264", rate=FPS, options={"g": "24", "bf": "0"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        sound: Any = made.add_stream("aac", rate=48_000)
        for number, pixels in enumerate(media._pictures(60, ClipFormat(**ROOM), RED)):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
        encoded(made, sound, np.pad(tone(0.5, 48_000, 1), ((0, 0), (48_000, 48_000))))
        made.mux(sound.encode(None))
    with av.open(io.BytesIO(whole.getvalue())) as source, av.open(out, "w", format=container) as cut:
        streams = {stream.index: cut.add_stream_from_template(stream) for stream in source.streams.get()}
        for packet in source.demux():
            if packet.dts is not None and packet.pts * packet.time_base >= Fraction(1, 2):
                packet.stream = streams[packet.stream.index]
                cut.mux(packet)
    fitted, done = fit(tmp_path, out.getvalue())
    # its first picture that can be shown is that of second 1, where the tone begins, and the last that of second 2.5
    assert numbers(fitted) == [min(24 + number, 59) for number in range(FRAMES)]
    assert (done.held, done.lost) == (12, 0)
    assert loud(*decode(fitted))[:20] == "#####..............."


@pytest.mark.parametrize(
    "form",
    [{}, {"b_frames": 2}, {"codec": "libvpx-vp9", "container": "webm"}, {"codec": "libx265"}, {"container": "mov"}],
)  # fmt: skip
def test_a_picture_that_is_damaged_costs_itself_and_the_one_before_is_held(
    tmp_path: Path, form: dict[str, Any]
) -> None:
    whole = media.clip(2.0, ClipFormat(**ROOM | form), RED)
    out, fitted = fit(tmp_path, media.damaged(whole, "video", 0.5, 0.5))
    assert fitted.held == 0
    assert 1 <= fitted.lost <= 3
    shown = numbers(out)
    assert shown[:20] == list(range(20))
    assert len(shown) == FRAMES


def test_a_damaged_first_picture_costs_all_until_the_next_key_frame(tmp_path: Path) -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as made:
        video: Any = made.add_stream("libx264", rate=FPS, options={"g": "12", "bf": "0"})
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        for number, pixels in enumerate(media._pictures(60, ClipFormat(**ROOM), RED)):
            frame = av.VideoFrame.from_ndarray(pixels)
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
    fitted, done = fit(tmp_path, media.damaged(out.getvalue(), "video", 0.0, 0.0))
    assert done == Fitted(held=0, encoded=True, lost=12)
    assert numbers(fitted) == list(range(12, 60))


@pytest.fixture(scope="module")
def hevc() -> bytes:
    """A scene in HEVC of one key frame, in which hardly a block is made without the pictures before it."""
    small = np.random.default_rng(1).integers(0, 255, (45, 80, 3), np.uint8)
    ground = Picture.fromarray(small).resize((320, 180), Picture.Resampling.BICUBIC)
    scene, out = np.asarray(ground.filter(ImageFilter.GaussianBlur(2))), io.BytesIO()
    options = {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"}
    with av.open(out, "w", format="mp4") as made:
        video: Any = made.add_stream("libx265", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = 320, 180, "yuv420p"
        for number in range(96):
            frame = av.VideoFrame.from_ndarray(np.roll(scene, number // 2, axis=1))
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
    return out.getvalue()


def pictures(path: Path) -> Samples:
    with av.open(str(path)) as container:
        shown = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.asarray(shown, np.float32)


@pytest.mark.parametrize("at", [18, 42, 66])
def test_pictures_of_hevc_that_lack_one_they_are_made_of_are_shown_where_they_are_whole(
    tmp_path: Path, hevc: bytes, at: int
) -> None:
    out, whole = fit(tmp_path, hevc, 96)
    assert whole == Fitted(held=0, encoded=True)
    meant = pictures(out)
    out, fitted = fit(tmp_path, media.damaged(hevc, "video", (at + 0.1) / 96, (at + 0.1) / 96), 96)
    assert 1 <= fitted.lost <= 3
    errors = np.abs(pictures(out) - meant).mean(axis=(1, 2, 3))
    assert errors.shape == (96,)
    assert errors.max() < 20


@pytest.mark.parametrize("at", [0, 9, 45])
def test_a_clip_in_hevc_of_which_a_third_lacks_what_it_is_made_of_is_refused_and_not_shown_in_grey(
    tmp_path: Path, hevc: bytes, at: int
) -> None:
    with pytest.raises(MediaError, match=r"pictures are damaged|holds no pictures"):
        fit(tmp_path, media.damaged(hevc, "video", (at + 0.1) / 96, (at + 0.1) / 96), 96)


@pytest.mark.parametrize("container", ["mp4", "matroska"])
def test_a_clip_of_which_a_third_is_damaged_is_refused(tmp_path: Path, container: str) -> None:
    whole = media.clip(2.0, ClipFormat(**ROOM, container=container), RED)
    out, fitted = fit(tmp_path, media.damaged(whole, "video", 0.5, 0.7))
    assert 0 < fitted.lost < FRAMES / 3
    assert len(numbers(out)) == FRAMES
    with pytest.raises(MediaError, match="pictures are damaged"):
        fit(tmp_path, media.damaged(whole, "video", 0.3, 0.7))


def in_front(mp4: bytes, folder: Path) -> bytes:
    """Put the index in front, so that a part of the file can be opened."""
    out = folder / "in_front.mp4"
    with (
        av.open(io.BytesIO(mp4)) as source,
        av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}) as made,
    ):
        stream = made.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                made.mux(packet)
    return out.read_bytes()


@pytest.mark.parametrize("form", [{}, {"codec": "libvpx-vp9", "container": "webm"}])
def test_a_clip_that_breaks_off_is_refused_where_a_third_of_what_is_needed_is_missing(
    tmp_path: Path, form: dict[str, Any]
) -> None:
    whole = media.clip(2.0, ClipFormat(**ROOM | form), RED)
    whole = whole if form else in_front(whole, tmp_path)
    head = len(whole) * 0.15
    with pytest.raises(MediaError, match="breaks off after"):
        fit(tmp_path, whole[: int(head + (len(whole) - head) * 0.3)])
    _, fitted = fit(tmp_path, whole[: int(len(whole) * 0.97)])
    assert 0 < fitted.held < FRAMES / 3
    # a second of it is there, and no more is needed
    (tmp_path / "delivered").write_bytes(whole[: int(head + (len(whole) - head) * 0.65)])
    short = fit_clip(tmp_path / "delivered", tmp_path / "short.mp4", SIZE, FPS, 20, False)
    assert short is not None
    assert short.held == 0


def test_a_packet_of_sound_that_is_damaged_is_silent_and_what_follows_keeps_its_time(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = media.clip(2.0, ClipFormat(**ROOM, sound=True), RED)
    before, _ = fit(tmp_path, whole)
    expected, rate = decode(before)
    after, fitted = fit(tmp_path, media.damaged(whole, "audio", 0.55, 0.6))
    assert fitted == Fitted(held=0, encoded=True)
    samples, _ = decode(after)
    assert loud(samples, rate) == loud(expected, rate)
    last = slice(round(1.35 * rate), round(1.45 * rate))
    shifts = {
        shift: float(np.dot(np.roll(samples[0], shift)[last], expected[0][last])) for shift in range(-54, 55)
    }
    assert abs(max(shifts, key=lambda shift: shifts[shift])) <= 1
    assert "of a clip's sound are damaged" in caplog.text


def test_a_track_goes_on_behind_what_is_damaged_and_is_refused_where_that_is_a_third(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = mp3(3, 44_100, 2)
    samples, rate = decode(media.damaged(whole, "audio", 0.5, 0.5))
    # MP3 gives no times, so that what is lost is left out
    assert samples.shape[1] == pytest.approx(decode(whole)[0].shape[1], abs=3 * 1_152)
    assert [pitch(samples, rate, begin) for begin in (0.2, 2.2)] == pytest.approx([HERTZ] * 2, abs=1)
    assert "of the track are damaged" in caplog.text
    aac = media.sound_only()
    assert decode(media.damaged(aac, "audio", 0.4, 0.6))[0].shape == decode(aac)[0].shape
    with pytest.raises(MediaError, match="too much of it is missing"):
        decode(media.damaged(aac, "audio", 0.4, 0.9))


def test_sound_in_an_encoding_that_nobody_knows_is_left_out_of_a_clip_and_is_no_track(tmp_path: Path) -> None:
    def unknown(data: bytes) -> bytes:
        return data.replace(b"mp4a", b"xxxx").replace(b"esds", b"free")

    out, fitted = fit(tmp_path, unknown(media.clip(2.0, ClipFormat(**ROOM, sound=True), RED)))
    assert fitted == Fitted(held=0, encoded=True)
    with av.open(str(out)) as container:
        assert not container.streams.audio
    with pytest.raises(MediaError, match="nothing here can decode"):
        decode(unknown(media.sound_only()))


def with_latin_title(data: bytes) -> bytes:
    """Put a byte that is no UTF-8 in place of a letter of an MP4's title."""
    assert b"Cafe" in data
    return data.replace(b"Cafe", b"Caf\xe9")


def test_what_is_written_about_a_clip_or_track_in_another_alphabet_is_no_reason_to_refuse_it(
    tmp_path: Path,
) -> None:
    clip = io.BytesIO(media.clip(2.0, ClipFormat(**ROOM, sound=True), RED))
    titled = io.BytesIO()
    with av.open(clip) as source, av.open(titled, "w", format="mp4") as target:
        target.metadata["title"] = "Cafe"
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                target.mux(packet)
    out, fitted = fit(tmp_path, with_latin_title(titled.getvalue()))
    assert fitted.lost == 0
    assert len(numbers(out)) == FRAMES
    assert decode(with_latin_title(titled.getvalue()))[0].shape[1] > 0
