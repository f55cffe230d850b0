"""Tracks: decode, encode, measure loudness, fit to a length. Sound is float32 of shape (channels, samples).

Levels are linear with full scale at 1.0 unless a name says dB. Loudness and true peak follow ITU-R BS.1770-4,
the delivery levels EBU R 128 as used for the web (-14 LUFS, -1 dBTP).
"""

import io
import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple, cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from raypipe.errors import MediaError
from raypipe.media.decoding import PacketDecoder, packets_of
from raypipe.media.resampling import Samples, joined, resampled

Whole = NDArray[np.int16]

logger = logging.getLogger(__name__)

TARGET_LUFS = -14.0
MAX_TRUE_PEAK = -1.0
FADE_IN_SECONDS, FADE_OUT_SECONDS, CROSSFADE_SECONDS = 0.5, 2.0, 1.5
#: music that is short by no more than this ends early instead of starting again
PAD_SECONDS = 0.25

#: what a track may be wrapped in; keeps playlists, which could name other files, from being opened
_FORMATS = "flac,wav,mov,mp4,m4a,mp3,aac,ogg"
_AAC_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000)
#: samples that share one value in the power and peak curves
_STEP = 32
#: half width of the limiter's look-ahead
_LOOKAHEAD_SECONDS = 0.015
_LOUDNESS_TOLERANCE, _ENCODE_ATTEMPTS = 0.25, 4
#: dB kept free below MAX_TRUE_PEAK, because AAC moves peaks
_AAC_MARGIN = 0.8


class Loudness(NamedTuple):
    """How loud a track is; both are -inf for silence."""

    integrated_lufs: float
    true_peak_dbtp: float


def why(error: Exception) -> str:
    """Return what FFmpeg, or the system, says is wrong, without the number and the file that stand around it."""
    return str(getattr(error, "strerror", None) or error)


@contextmanager
def _open(source: bytes | Path) -> Iterator[tuple[InputContainer, AudioStream]]:
    handle = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        with _container(handle) as container:
            if not container.streams.audio:
                raise MediaError("the track holds no audio stream")
            if container.streams.audio[0].codec_context is None:
                raise MediaError("the track is encoded in a way that nothing here can decode")
            yield container, container.streams.audio[0]
    except (av.FFmpegError, OSError, ValueError) as error:
        raise MediaError(f"the track cannot be read: {why(error)}") from error


def _container(handle: io.BytesIO | str) -> InputContainer:
    try:
        opened = av.open(handle, options={"format_whitelist": _FORMATS}, metadata_errors="replace")
    except av.ArgumentError as error:
        raise MediaError(
            "the track is in a format that is not read here: FLAC, WAV, MP3, AAC, Ogg and MP4 are"
        ) from error
    return cast(InputContainer, opened)


def decode(source: bytes | Path, seconds: float = math.inf) -> tuple[Samples, int]:
    """Decode a FLAC, WAV, MP4, MP3 or AAC track to samples of shape (channels, samples) and their rate in Hz.

    Mono stays mono and stereo stereo; more channels are mixed down to stereo. A rate that AAC does not know
    becomes 48 kHz. Encoder delay and padding that the container declares are left out.

    Args:
        source: The encoded track, or the file it is in.
        seconds: Where to stop decoding.

    Raises:
        MediaError: The source is no track, or holds no sound.
    """
    with _open(source) as (container, stream):
        rate = stream.rate if stream.rate in _AAC_RATES else 48_000
        layout = "mono" if stream.channels == 1 else "stereo"
        limit = min(seconds, _declared_seconds(container, stream)) * rate
        samples = joined(resampled(_frames(container, stream), layout, rate), limit)
    if samples is None or not samples.size:
        raise MediaError("the track holds no sound")
    if not np.isfinite(samples).all():
        raise MediaError("the track holds samples that are not numbers")
    return samples, rate


def _frames(container: InputContainer, stream: AudioStream) -> Iterator[av.AudioFrame | None]:
    """Decode a track; None stands for what is damaged."""
    decoder = PacketDecoder()
    yield from decoder.sounds(packets_of(container, stream))
    damage = f"{decoder.damaged} of {decoder.packets} packets of the track are damaged"
    if decoder.is_useless:
        raise MediaError(f"{damage}: too much of it is missing")
    if decoder.damaged:
        logger.warning("%s: it is silent there", damage)


def track_seconds(source: bytes | Path) -> float:
    """Say how long a track plays, in seconds: as an MP4 declares it, or else as it decodes.

    Raises:
        MediaError: The source is no track, or holds no sound.
    """
    with _open(source) as (container, stream):
        seconds = _declared_seconds(container, stream)
    if math.isfinite(seconds):
        return seconds
    samples, rate = decode(source)
    return float(samples.shape[1] / rate)


def encode_flac(samples: Samples, rate: int) -> bytes:
    """Encode mono or stereo samples of shape (channels, samples), full scale 1.0, as 16-bit FLAC."""
    whole = np.rint(np.clip(samples, -1.0, 1.0) * 32_767).astype(np.int16)
    out = io.BytesIO()
    with av.open(out, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate)
        _write(container, stream, np.ascontiguousarray(whole.T).reshape(1, -1), len(samples))
    return out.getvalue()


def fit_track(source: bytes | Path, seconds: float) -> bytes:
    """Make a track exactly `seconds` long, as AAC in an MP4 whose packets can be copied next to a picture.

    Longer music is cropped, shorter music looped with a crossfade. The result fades in and out, has -14 LUFS
    integrated loudness and at most -1 dBTP (ITU-R BS.1770-4), both measured on the decoded AAC. Rate and
    channels are the source's, as `decode` gives them. Silence stays silence.

    Args:
        source: The encoded track, or the file it is in.
        seconds: Length of the result; above 0.

    Raises:
        MediaError: The source is no track, or holds no sound.
    """
    samples, rate = decode(source, seconds)
    length = round(seconds * rate)
    missing = length - samples.shape[1]
    if missing > PAD_SECONDS * rate:
        fitted = _loop(samples, length, rate)
    else:
        fitted = np.pad(samples, ((0, 0), (0, max(missing, 0))))
    _fade(fitted, rate)
    return master(fitted, rate)


def loudness(samples: Samples, rate: int) -> Loudness:
    """Measure integrated loudness in LUFS and true peak in dBTP of samples of shape (channels, samples).

    By ITU-R BS.1770-4: K-weighting, 400 ms blocks with 75 % overlap, gates at -70 LUFS and -10 LU (annex 1),
    and the largest value after 4-fold oversampling (annex 2).
    """
    peak = float(np.abs(samples).max(initial=0.0))
    if peak == 0.0:
        return Loudness(-math.inf, -math.inf)
    true_peak = max(peak, float(_step_peaks(samples, peak).max()))
    return Loudness(_integrated(_step_powers(samples, rate), rate), 20 * math.log10(true_peak))


def _declared_seconds(container: InputContainer, stream: AudioStream) -> float:
    """Length as the container says where that is reliable: an MP3's is a guess, a WAV's may be missing."""
    if "mp4" in container.format.name and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return math.inf


def _loop(samples: Samples, length: int, rate: int) -> Samples:
    """Repeat the sounding part up to a length; each end crossfades at equal power into the next start."""
    samples = _sounding(samples)
    cross = min(int(CROSSFADE_SECONDS * rate), samples.shape[1] // 4)
    period = samples.shape[1] - cross
    angle = np.linspace(0, np.pi / 2, cross, dtype=np.float32)
    again = samples[:, :period].copy()
    again[:, :cross] = again[:, :cross] * np.sin(angle) + samples[:, period:] * np.cos(angle)
    repeats = max(math.ceil(length / period) - 1, 0)
    return np.concatenate([samples[:, :period], np.tile(again, repeats)], axis=1)[:, :length].copy()


def _sounding(samples: Samples) -> Samples:
    """Leave out silence (60 dB under the peak) at both ends, so that a loop has no hole."""
    level = np.abs(samples).max(axis=0)
    loud = np.flatnonzero(level > level.max() / 1000)
    return samples[:, loud[0] : loud[-1] + 1] if loud.size else samples


def _fade(samples: Samples, rate: int) -> None:
    seconds = samples.shape[1] / rate
    rise = int(min(FADE_IN_SECONDS, seconds / 10) * rate)
    fall = int(min(FADE_OUT_SECONDS, seconds / 5) * rate)
    samples[:, :rise] *= _ease(rise)
    samples[:, samples.shape[1] - fall :] *= _ease(fall)[::-1]


def _ease(count: int) -> Samples:
    """Return a smooth rise from 0 to 1 (sine squared)."""
    return np.sin(np.linspace(0, np.pi / 2, count, dtype=np.float32)) ** 2


def master(samples: Samples, rate: int) -> bytes:
    """Bring samples of shape (channels, samples) to the delivery level and encode them as AAC in an MP4.

    Judged by what comes out of a decoder, and done again where that misses.
    """
    powers = _step_powers(samples, rate)
    level = _integrated(powers, rate)
    if not math.isfinite(level):
        return _encode_aac(samples, rate)
    target, ceiling = TARGET_LUFS, MAX_TRUE_PEAK - _AAC_MARGIN
    attempts = []
    for _ in range(_ENCODE_ATTEMPTS):
        data = _encode_aac(_levelled(samples, powers, rate, target, ceiling), rate)
        heard = loudness(*decode(data))
        over = max(heard.true_peak_dbtp - MAX_TRUE_PEAK, 0.0)
        miss = TARGET_LUFS - heard.integrated_lufs
        attempts.append((over, abs(miss), data))
        if not over and abs(miss) <= _LOUDNESS_TOLERANCE:
            break
        target += miss
        ceiling -= over + _AAC_MARGIN / 4
    return min(attempts)[2]


def _levelled(samples: Samples, powers: Samples, rate: int, target: float, ceiling: float) -> Samples:
    """Apply the gain that gives the target loudness in LUFS after limiting to the ceiling in dBTP.

    The limiter's gain moves slowly next to the K-weighting filters, so its effect on the weighted power is
    its square: the gain is found on the curves, and the sound is touched once.
    """
    gain = _ratio(target - _integrated(powers, rate))
    limit = _ratio(ceiling)
    peaks = _step_peaks(samples, limit / gain / 2)
    for _ in range(8):
        curve = gain * _limiter(peaks * gain, limit, rate)
        miss = target - _integrated(powers * (curve[:-1] * curve[1:]), rate)
        if abs(miss) < 0.05:
            break
        gain *= _ratio(miss)
    return _apply(samples, curve)


def _limiter(peaks: Samples, limit: float, rate: int) -> Samples:
    """Gain at the edges of all steps (one more than there are peaks) that keeps their peaks at the limit.

    A sliding minimum looks ahead and behind, and a window of the same width smooths it: an average of values
    none of which is above what a step needs is not above it either.
    """
    if peaks.max() <= limit:
        return np.ones(len(peaks) + 1, dtype=np.float32)
    half = max(round(_LOOKAHEAD_SECONDS * rate / _STEP), 1)
    needed = np.minimum(1.0, limit / np.maximum(peaks, limit))
    lowest = _sliding_minimum(np.pad(needed, 2 * half + 1, constant_values=1.0), 2 * half + 2)
    window = np.hanning(2 * half + 3)[1:-1]
    return np.convolve(lowest, window / window.sum(), "valid").astype(np.float32)[: len(peaks) + 1]


def _sliding_minimum(values: Samples, width: int) -> Samples:
    """Minimum of each run of `width` values, by doubling."""
    run = 1
    while run < width:
        shift = min(run, width - run)
        values = np.minimum(values[:-shift], values[shift:])
        run += shift
    return values


def _apply(samples: Samples, curve: Samples) -> Samples:
    """Multiply by a gain that goes in straight lines from step edge to step edge."""
    ramp = np.arange(_STEP, dtype=np.float32) / _STEP
    gains = np.ravel(curve[:-1, None] + np.diff(curve)[:, None] * ramp)
    return cast(Samples, samples * gains[: samples.shape[1]])


_FFT, _HISTORY = 32_768, 4_096


def _integrated(powers: Samples, rate: int) -> float:
    """Integrated loudness in LUFS from the weighted power of each step; -inf if no block passes the gates."""
    total = np.concatenate([[0.0], np.cumsum(powers, dtype=np.float64)])
    edges = np.arange(0, len(powers) + 1e-6, rate / 10 / _STEP)
    if len(edges) < 5:
        return -math.inf
    at_edges = np.interp(edges, np.arange(len(total)), total)
    blocks = (at_edges[4:] - at_edges[:-4]) / (0.4 * rate)
    blocks = blocks[_lufs(blocks) > -70]
    if not blocks.size:
        return -math.inf
    blocks = blocks[_lufs(blocks) > _lufs(blocks.mean()) - 10]
    return float(_lufs(blocks.mean()))


def _lufs(power: NDArray[np.float64]) -> NDArray[np.float64]:
    return -0.691 + 10 * np.log10(np.maximum(power, 1e-12))


def _step_powers(samples: Samples, rate: int) -> Samples:
    """Energy of the K-weighted sound in each step, summed over channels.

    Overlap-save: the filters' response has died out within the history each transform carries along.
    """
    steps = -(-samples.shape[1] // _STEP)
    hop = _FFT - _HISTORY
    padded = np.pad(samples, ((0, 0), (_HISTORY, -samples.shape[1] % hop)))
    response = _k_weighting(rate)
    powers = []
    for window in sliding_window_view(padded, _FFT, axis=1)[:, ::hop].swapaxes(0, 1):
        weighted = np.fft.irfft(np.fft.rfft(window) * response)[:, _HISTORY:]
        parts = weighted.reshape(len(samples), -1, _STEP)
        powers.append(np.einsum("csk,csk->s", parts, parts))
    return np.concatenate(powers)[:steps]


@cache
def _k_weighting(rate: int) -> NDArray[np.complex64]:
    """Response of the K-weighting filter at the bins of a real FFT.

    The two biquads of BS.1770-4 annex 1 are given there for 48 kHz; for other rates they are designed from
    the analogue parameters that libebur128 recovered from them.
    """
    z = np.exp(-2j * np.pi * np.arange(_FFT // 2 + 1) / _FFT)
    k, q = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196
    high = 10 ** (3.999843853973347 / 20)
    band = high**0.4996667741545416
    shelf = _section(z, k, q, high, band) / _section(z, k, q)
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    # the standard gives the high-pass's numerator as 1 -2 1: it is not scaled to unity at its top
    high_pass = (1 - z) ** 2 * (1 + k / q + k * k) / _section(z, k, q)
    return np.asarray(shelf * high_pass, dtype=np.complex64)


def _section(
    z: NDArray[np.complex128], k: float, q: float, high: float = 1, band: float = 1
) -> NDArray[np.complex128]:
    return (high + band * k / q + k * k) + 2 * (k * k - high) * z + (high - band * k / q + k * k) * z * z


def _step_peaks(samples: Samples, floor: float) -> Samples:
    """Largest true peak over the channels in each step.

    Steps that cannot reach `floor` after oversampling, whatever their phase, keep the peak of their samples.
    """
    half = _TAPS // 2
    steps = -(-samples.shape[1] // _STEP)
    padded = np.pad(samples, ((0, 0), (half, half + -samples.shape[1] % _STEP)))
    matrix, bound = _oversampler()
    peaks = np.zeros(steps, dtype=np.float32)
    for channel in padded:
        own = np.abs(channel[half : half + steps * _STEP].reshape(steps, _STEP)).max(axis=1)
        near = np.maximum(own, np.maximum(np.append(own[1:], 0), np.append(0, own[:-1])))
        chosen = np.flatnonzero(near * bound >= floor)
        # in stacks of 32, each too small a product for the matrix library to wake its threads
        stacks = np.resize(chosen, (-(-len(chosen) // 32), 32))
        between = sliding_window_view(channel, _STEP + _TAPS)[::_STEP][stacks] @ matrix
        own[stacks] = np.maximum(own[stacks], np.abs(between).max(axis=2))
        np.maximum(peaks, own, out=peaks)
    return peaks


_TAPS = 24


@cache
def _oversampler() -> tuple[Samples, float]:
    """Matrix from a step and its surroundings to the three samples between each two, and its largest gain."""
    half = _TAPS // 2
    matrix = np.zeros((_STEP + _TAPS, 3 * _STEP), dtype=np.float32)
    bound = 1.0
    for phase in range(3):
        at = np.arange(1 - half, half + 1) - (phase + 1) / 4
        taps = np.sinc(at) * np.kaiser(2 * 512 + 1, 6.0)[np.rint((at / half + 1) * 512).astype(int)]
        taps /= taps.sum()
        bound = max(bound, float(np.abs(taps).sum()))
        for step in range(_STEP):
            matrix[step + 1 : step + 1 + _TAPS, 3 * step + phase] = taps
    return matrix, bound


def _ratio(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _encode_aac(samples: Samples, rate: int) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        write_aac(container, add_aac_stream(container, samples, rate), samples)
    return out.getvalue()


def add_aac_stream(container: OutputContainer, samples: Samples, rate: int) -> AudioStream:
    """Add the stream that samples of shape (channels, samples) are encoded into."""
    stream = container.add_stream("aac", rate=rate, options={"aac_coder": "fast"})
    stream.codec_context.bit_rate = _bit_rate(rate) * len(samples)
    return stream


def write_aac(container: OutputContainer, stream: AudioStream, samples: Samples) -> None:
    """Encode samples of shape (channels, samples)."""
    _write(container, stream, np.ascontiguousarray(samples), len(samples))


def _bit_rate(rate: int) -> int:
    """Bits a second of one channel. The encoder spends long on bits that a low rate leaves no use for."""
    return min(2 * rate, 96_000) if rate >= 16_000 else rate


def _write(container: OutputContainer, stream: AudioStream, array: Samples | Whole, channels: int) -> None:
    """Encode planar float or interleaved 16-bit samples in one go."""
    layout = "mono" if channels == 1 else "stereo"
    sample_format = "s16" if array.dtype == np.int16 else "fltp"
    stream.codec_context.layout, stream.codec_context.format = layout, sample_format
    frame = av.AudioFrame.from_ndarray(array, format=sample_format, layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = stream.rate, 0, Fraction(1, stream.rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
