import io
import math
import re
import shutil
import subprocess
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from raypipe.errors import MediaError
from raypipe.media import audio
from tests.patience import patience

FRAME = 1 / 24
RATE = 48_000


def tune(seconds: float, rate: int = RATE, channels: int = 2, level: float = 0.2) -> audio.Samples:
    """Tones that come and go under a beat of noise bursts: level and peaks vary, as in music."""
    time = np.arange(int(seconds * rate)) / rate
    chords = [
        np.sin(2 * np.pi * hz * time) * (0.6 + 0.4 * np.sin(time * n))
        for n, hz in enumerate((110, 220.5, 331))
    ]
    burst = np.random.default_rng(1).standard_normal(len(time)) * np.exp(-((time * 2) % 1) * 25)
    sides = [sum(chords) + 0.7 * np.roll(burst, 11 * channel) for channel in range(channels)]
    return (level * np.stack(sides)).astype(np.float32)


@pytest.fixture(scope="module")
def source() -> bytes:
    """Twenty seconds of stereo at 48 kHz."""
    return audio.encode_flac(tune(20), RATE)


def wav(samples: audio.Samples, rate: int) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(len(samples))
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples.T * 32_767).astype("<i2").tobytes())
    return out.getvalue()


@pytest.mark.parametrize("seconds", [5, 12.3, 30, 61])
def test_a_track_fitted_to_any_length_is_exact_loud_enough_and_faded(source: bytes, seconds: float) -> None:
    track = audio.fit_track(source, seconds)
    samples, rate = audio.decode(track)
    level, peak = audio.loudness(samples, rate)
    assert (len(samples), rate) == (2, RATE)
    assert samples.shape[1] / rate == pytest.approx(seconds, abs=FRAME)
    assert audio.track_seconds(track) == pytest.approx(seconds, abs=0.001)
    assert level == pytest.approx(-14, abs=0.3)
    assert peak <= -1
    edge = rate // 20
    assert np.abs(samples[:, :edge]).max() < 0.05
    assert np.abs(samples[:, -edge:]).max() < 0.05


def test_what_a_player_hears_is_not_delayed_by_the_encoder(source: bytes) -> None:
    samples, _ = audio.decode(audio.fit_track(source, 10))
    original, _ = audio.decode(source, 10)
    middle = slice(4 * RATE, 5 * RATE)
    shifts = range(-1500, 1501, 4)
    match = [np.dot(samples[0, middle], np.roll(original[0, : 10 * RATE], shift)[middle]) for shift in shifts]
    assert abs(shifts[int(np.argmax(match))]) <= 4


def test_a_loop_goes_on_without_a_click_or_a_hole() -> None:
    time = np.arange(8 * RATE) / RATE
    tone = np.stack([0.3 * np.sin(2 * np.pi * 440.3 * time)] * 2).astype(np.float32)
    samples, _ = audio.decode(audio.fit_track(audio.encode_flac(tone, RATE), 20))
    steady = samples[0, RATE : 17 * RATE]
    assert np.abs(np.diff(steady, n=2)).max() < 3 * np.median(np.abs(np.diff(steady, n=2)))
    level = np.sqrt(np.mean(steady[: len(steady) // 4800 * 4800].reshape(-1, 4800) ** 2, axis=1))
    assert level.min() > 0.1 * np.median(level)


def test_silence_at_the_end_of_a_source_is_left_out_of_the_loop() -> None:
    padded = np.pad(tune(6), ((0, 0), (RATE, 3 * RATE)))
    samples, _ = audio.decode(audio.fit_track(audio.encode_flac(padded, RATE), 20))
    loud = np.abs(samples[0, RATE : 17 * RATE]).reshape(-1, RATE).max(axis=1)
    assert loud.min() > 0.05


def test_music_a_hair_too_short_ends_early_rather_than_starting_again() -> None:
    seconds = 9.9
    samples, _ = audio.decode(audio.fit_track(audio.encode_flac(tune(seconds), RATE), 10))
    assert not np.abs(samples[:, int((seconds + 0.04) * RATE) :]).max() > 0.01


def test_a_silent_track_stays_silent() -> None:
    silent = audio.encode_flac(np.zeros((2, RATE * 3), np.float32), RATE)
    samples, rate = audio.decode(audio.fit_track(silent, 7))
    assert samples.shape[1] / rate == pytest.approx(7, abs=FRAME)
    assert np.abs(samples).max() < 1e-4
    assert audio.loudness(np.zeros((2, RATE), np.float32), RATE) == (-math.inf, -math.inf)


def test_a_small_mono_track_keeps_its_rate_and_channel() -> None:
    samples, rate = audio.decode(audio.fit_track(wav(tune(9, 8_000, 1), 8_000), 30))
    assert (len(samples), rate) == (1, 8_000)
    assert samples.shape[1] / rate == pytest.approx(30, abs=FRAME)
    assert audio.loudness(samples, rate).integrated_lufs == pytest.approx(-14, abs=0.3)
    assert audio.loudness(samples, rate).true_peak_dbtp <= -1


@pytest.mark.parametrize("level", [0.002, 0.9])
def test_very_quiet_and_overloaded_tracks_come_out_alike(level: float) -> None:
    fitted = audio.fit_track(audio.encode_flac(tune(12, level=level), RATE), 12)
    loudness = audio.loudness(*audio.decode(fitted))
    assert loudness.integrated_lufs == pytest.approx(-14, abs=0.5)
    assert loudness.true_peak_dbtp <= -1


def test_sparse_peaks_never_exceed_the_ceiling_even_where_loudness_cannot_be_reached() -> None:
    clicks = np.zeros((1, 10 * RATE), np.float32)
    clicks[:, RATE // 2 :: RATE] = 0.9
    heard = audio.loudness(*audio.decode(audio.fit_track(audio.encode_flac(clicks, RATE), 10)))
    assert heard.true_peak_dbtp <= -1


def test_the_fitted_packets_can_be_copied_into_another_file(source: bytes) -> None:
    track, copied = audio.fit_track(source, 6.5), io.BytesIO()
    with av.open(io.BytesIO(track)) as reader, av.open(copied, "w", format="mp4") as writer:
        stream = writer.add_stream_from_template(reader.streams.audio[0])
        for packet in reader.demux(reader.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    before, after = audio.decode(track)[0], audio.decode(copied.getvalue())[0]
    assert abs(before.shape[1] - after.shape[1]) <= 1
    assert np.array_equal(before[:, :300_000], after[:, :300_000])


def test_the_same_source_gives_the_same_track(source: bytes) -> None:
    assert audio.fit_track(source, 8) == audio.fit_track(source, 8)


def test_flac_gives_back_what_went_in() -> None:
    samples = tune(1)
    decoded, rate = audio.decode(audio.encode_flac(samples, RATE))
    assert rate == RATE
    assert np.abs(decoded - np.clip(samples, -1, 1)).max() < 1e-4


@pytest.mark.parametrize(
    ("codec", "container"), [("flac", "flac"), ("pcm_s16le", "wav"), ("aac", "mp4"), ("mp3", "mp3")]
)
def test_every_kind_of_track_decodes_from_bytes_and_from_a_file(
    codec: str, container: str, tmp_path: Path
) -> None:
    path = tmp_path / f"track.{container}"
    with av.open(str(path), "w", format=container) as writer:
        stream = writer.add_stream(codec, rate=44_100, layout="stereo")
        frame = av.AudioFrame.from_ndarray(tune(3, 44_100), format="fltp", layout="stereo")
        frame.sample_rate = 44_100
        writer.mux(stream.encode(frame))
        writer.mux(stream.encode(None))
    for given in (path, path.read_bytes()):
        samples, rate = audio.decode(given)
        assert (len(samples), rate) == (2, 44_100)
        assert samples.shape[1] / rate == pytest.approx(3, abs=0.06)
        assert audio.track_seconds(given) == pytest.approx(3, abs=0.06)


def test_a_rate_unknown_to_aac_becomes_48_khz() -> None:
    samples, rate = audio.decode(audio.fit_track(wav(tune(6, 50_000, 1), 50_000), 5))
    assert rate == RATE
    assert samples.shape[1] / rate == pytest.approx(5, abs=FRAME)


@pytest.mark.parametrize(
    "garbage", [b"", b"not a track", bytes(5_000), b"ID3" + bytes(64), b"fLaC" + bytes(200)]
)
def test_garbage_is_a_media_error(garbage: bytes) -> None:
    for read in (audio.decode, audio.track_seconds, lambda data: audio.fit_track(data, 5)):
        with pytest.raises(MediaError):
            read(garbage)


@pytest.mark.parametrize(
    ("container", "codec"), [("aiff", "pcm_s16be"), ("ac3", "ac3"), ("caf", "pcm_s16be")]
)
def test_a_track_in_a_format_that_is_not_read_is_told_which_are(container: str, codec: str) -> None:
    out = io.BytesIO()
    with av.open(out, "w", format=container) as target:
        stream = target.add_stream(codec, rate=48_000)
        samples = np.zeros((1, 48_000), np.int16)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = 48_000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            target.mux(packet)
    with pytest.raises(MediaError, match="FLAC, WAV, MP3, AAC, Ogg and MP4 are"):
        audio.decode(out.getvalue())


def test_a_missing_file_a_picture_and_a_playlist_are_media_errors(tmp_path: Path) -> None:
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n")
    for path in (tmp_path / "nothing.flac", playlist):
        with pytest.raises(MediaError):
            audio.decode(path)


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (44_100, 2), (8_000, 1)])
def test_loudness_agrees_with_ffmpeg(rate: int, channels: int, tmp_path: Path) -> None:
    if not shutil.which("ffmpeg"):
        pytest.skip("ffmpeg is not installed")
    path = tmp_path / "tune.flac"
    path.write_bytes(audio.encode_flac(tune(12, rate, channels), rate))
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-i", str(path)]
    command += ["-af", "ebur128=peak=true", "-f", "null", "-"]
    log = subprocess.run(command, capture_output=True, text=True, check=True, timeout=patience(60)).stderr
    level, peak = audio.loudness(*audio.decode(path))
    assert level == pytest.approx(float(re.findall(r"I:\s+(\S+) LUFS", log)[-1]), abs=0.1)
    assert peak == pytest.approx(float(re.findall(r"Peak:\s+(\S+) dBFS", log)[-1]), abs=0.3)


def test_a_full_scale_tone_reads_as_the_standard_says() -> None:
    """EBU Tech 3341, test signal 1: 1 kHz at -23 dBFS in both channels is -23 LUFS."""
    time = np.arange(20 * RATE) / RATE
    tone = np.stack([10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * time)] * 2).astype(np.float32)
    level, peak = audio.loudness(tone, RATE)
    assert level == pytest.approx(-23, abs=0.1)
    assert peak == pytest.approx(-23, abs=0.1)


def test_true_peak_finds_what_lies_between_samples() -> None:
    """EBU Tech 3341, test signal 16: a quarter of the rate at 45 degrees peaks 3 dB above its samples."""
    tone = (0.5 * np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4)).astype(np.float32)[None]
    assert audio.loudness(tone, RATE).true_peak_dbtp == pytest.approx(-6, abs=0.3)
