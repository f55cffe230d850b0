"""Instruments: each makes one note as float32 samples at 48 kHz, mono (samples,) or stereo (2, samples).

A note starts and ends at zero. Its level is about that of a sine of amplitude 0.5; parts set the balance.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

Sound = NDArray[np.float32]
Envelope = Callable[[Any], Any]

RATE = 48_000
_TABLE_BITS = 12


def count_of(seconds: float) -> int:
    """Number of samples in a length of time."""
    return max(int(seconds * RATE), 2)


def times(count: int) -> Sound:
    """Time of each sample in seconds."""
    return np.arange(count, dtype=np.float32) / np.float32(RATE)


def phase(hz: float, count: int) -> NDArray[np.uint32]:
    """Phase of an oscillator at each sample; a whole turn is 2**32, so that wrapping loses no precision."""
    return np.arange(count, dtype=np.uint32) * np.uint32(round(hz / RATE * 2**32))


def sine(turns: NDArray[np.uint32]) -> Sound:
    """Sine of phases."""
    return cast(Sound, np.sin(turns.view(np.int32).astype(np.float32) * np.float32(np.pi / 2**31)))


def shaped(sound: Sound, attack: float, release: float) -> Sound:
    """Ease a sound in and out, both in seconds, along its last axis."""
    count = sound.shape[-1]
    for seconds, part in ((attack, sound), (release, sound[..., ::-1])):
        edge = min(count_of(seconds), count // 2)
        part[..., :edge] *= np.sin(np.linspace(0, np.pi / 2, edge, dtype=np.float32)) ** 2
    return sound


def struck(hz: float, seconds: float, partials: Sequence[tuple[float, float, float]], attack: float) -> Sound:
    """Sum decaying sines given as (multiple of the pitch, amplitude, seconds to fall by 8.7 dB)."""
    count = count_of(seconds)
    out = np.zeros(count, dtype=np.float32)
    time = times(count)
    for multiple, amplitude, decay in partials:
        heard = min(count, count_of(7 * decay))
        if hz * multiple < 16_000:
            tone = sine(phase(hz * multiple, heard))
            tone *= np.exp(time[:heard] * np.float32(-1 / decay))
            out[:heard] += tone * np.float32(amplitude)
    return shaped(out, attack, 0.12)


def cycle(hz: float, envelope: Envelope) -> Sound:
    """One period of a sawtooth whose harmonics an envelope over frequency in Hz has filtered."""
    size = 1 << _TABLE_BITS
    order = np.arange(1, min(int(12_000 / hz), size // 8) + 1)
    spectrum = np.zeros(size // 2 + 1, dtype=np.complex128)
    turns = np.random.default_rng(7).uniform(0, 2 * np.pi, size)[order]
    spectrum[order] = envelope(order * hz) / order * np.exp(1j * turns)
    table = np.fft.irfft(spectrum)
    return np.asarray(0.35 * table / np.sqrt(np.mean(table**2)), dtype=np.float32)


def read(table: Sound, turns: NDArray[np.uint32]) -> Sound:
    """Look a period up at phases."""
    return cast(Sound, table[turns >> np.uint32(32 - _TABLE_BITS)])


def ensemble(hz: float, seconds: float, dark: Envelope, bright: Envelope, attack: float) -> Sound:
    """Four detuned players, two a side, whose tone opens in the middle of the note."""
    count = count_of(seconds + 0.9)
    low, high = cycle(hz, dark), cycle(hz, bright)
    swell = np.sin(np.linspace(0.25, np.pi, count, dtype=np.float32)) * np.float32(0.55)
    out = np.empty((2, count), dtype=np.float32)
    for side, cents in enumerate(((-6.0, 3.5), (-2.5, 7.0))):
        turns = [phase(hz * 2 ** (c / 1200), count) + np.uint32((c + 9) * 2**27) for c in cents]
        out[side] = read(low, turns[0]) + read(low, turns[1])
        out[side] *= 1 - swell
        out[side] += swell * (read(high, turns[0]) + read(high, turns[1]))
    return shaped(out * np.float32(0.6), attack, 0.9)


def _low_pass(corner: float, order: int = 2) -> Envelope:
    return lambda f: 1 / (1 + (f / corner) ** order)


def _formants(*peaks: tuple[float, float, float]) -> Envelope:
    return lambda f: 0.02 + sum(a * np.exp(-(((f - at) / width) ** 2)) for at, width, a in peaks)


def _strings(corner: float) -> Envelope:
    body = _formants((290, 120, 0.6), (480, 160, 0.8), (1100, 500, 0.5), (2600, 900, 0.35))
    return lambda f: (0.45 + body(f)) / (1 + (f / corner) ** 3)


_CHOIR = _formants((420, 150, 1.0), (800, 220, 0.7), (2700, 500, 0.16))
_CHOIR_OPEN = _formants((650, 200, 1.0), (1080, 250, 0.7), (2800, 600, 0.25))


def warm(hz: float, seconds: float) -> Sound:
    """A soft synthesiser pad."""
    return ensemble(hz, seconds, _low_pass(450), _low_pass(1300), 0.55)


def air(hz: float, seconds: float) -> Sound:
    """A thin, high, glassy pad."""
    return ensemble(hz, seconds, _low_pass(900, 3), _formants((1800, 900, 1.0), (4200, 1500, 0.8)), 0.9)


def strings(hz: float, seconds: float) -> Sound:
    """A string section, bowed slowly."""
    return ensemble(hz, seconds, _strings(1400), _strings(3600), 0.32)


def choir(hz: float, seconds: float) -> Sound:
    """Voices from ooh to aah."""
    return ensemble(hz, seconds, _CHOIR, _CHOIR_OPEN, 0.45)


def brass(hz: float, seconds: float) -> Sound:
    """Low brass that swells."""
    return ensemble(hz, seconds, _low_pass(600, 3), _low_pass(2400, 3), 0.14)


def tremolo(hz: float, seconds: float) -> Sound:
    """A string section with trembling bows."""
    sound = strings(hz, seconds)
    time = times(sound.shape[1])
    sound *= np.float32(0.72) + np.float32(0.28) * np.sin(time * np.float32(2 * np.pi * 11.5))
    return sound


def spiccato(hz: float, seconds: float) -> Sound:
    """Short, bouncing bows."""
    count = count_of(min(seconds, 0.26) + 0.12)
    high, low = cycle(hz, _strings(4200)), cycle(hz, _strings(1600))
    turns = phase(hz, count)
    decay = np.exp(times(count) * np.float32(-9))
    sound = read(low, turns) + decay * read(high, turns + np.uint32(2**30))
    return shaped(sound * decay * np.float32(1.1), 0.012, 0.12)


def saw_pluck(hz: float, seconds: float) -> Sound:
    """A synthesiser pluck that closes as it fades."""
    count = count_of(seconds + 0.35)
    high, low = cycle(hz, _low_pass(4200)), cycle(hz, _low_pass(700))
    turns, other = phase(hz * 1.003, count), phase(hz * 0.997, count)
    time = times(count)
    sound = read(low, turns) + read(low, other)
    sound += np.exp(time * np.float32(-13)) * (read(high, turns) + read(high, other))
    return shaped(sound * np.exp(time * np.float32(-3.6)) * np.float32(0.55), 0.004, 0.2)


def felt(hz: float, seconds: float) -> Sound:
    """A piano with felt between hammers and strings."""
    ring = 2.6 * (220 / hz) ** 0.45
    partials = [
        (k * np.sqrt(1 + 4e-4 * k * k), 0.62 * abs(np.sin(np.pi * k / 7.3)) / k**1.25, ring / (1 + 0.45 * k))
        for k in range(1, 11)
    ]
    partials.append((1.0016, 0.2, ring * 1.2))
    sound = struck(hz, min(seconds + 0.25, 4.5), partials, 0.004)
    return _knock(sound, 0.035)


def _knock(sound: Sound, level: float) -> Sound:
    """Add the dull noise of a hammer or a finger."""
    count = min(2_400, len(sound))
    noise = np.convolve(np.random.default_rng(11).standard_normal(count), np.hanning(40) / 10, "same")
    sound[:count] += (level * noise * np.exp(-np.arange(count) / 500)).astype(np.float32)
    return shaped(sound, 0.002, 0.05)


def electric_piano(hz: float, seconds: float) -> Sound:
    """Frequency modulation: a soft tone with a bell-like tine (after Chowning, 1973)."""
    count = count_of(min(seconds + 0.3, 4.0))
    time = times(count)
    turn = np.float32(2 * np.pi)
    body = np.float32(0.9) * np.exp(time * np.float32(-2.2)) * sine(phase(hz, count))
    carrier = phase(hz, count).view(np.int32).astype(np.float32) * (turn / np.float32(2**32))
    tine = np.float32(0.13) * np.exp(time * np.float32(-9)) * sine(phase(min(hz * 14, 9_000), count))
    sound = np.sin(carrier + body) * np.exp(time * np.float32(-1.3)) * np.float32(0.55)
    return shaped(sound + tine, 0.003, 0.22)


def harp(hz: float, seconds: float) -> Sound:
    """A plucked gut string."""
    ring = 1.5 * (260 / hz) ** 0.5
    partials = [
        (float(k), 0.75 * abs(np.sin(np.pi * k / 4.6)) / k**1.5, ring / (0.6 + 0.5 * k)) for k in range(1, 10)
    ]
    return struck(hz, min(seconds + 0.3, 3.0), partials, 0.002)


def pizzicato(hz: float, seconds: float) -> Sound:
    """A section of plucked violins and cellos."""
    partials = [(float(k), 0.9 / k**1.4, 0.22 / (0.7 + 0.35 * k)) for k in range(1, 9)]
    partials.append((1.004, 0.35, 0.26))
    return _knock(struck(hz, 0.6, partials, 0.003), 0.05)


def marimba(hz: float, seconds: float) -> Sound:
    """A wooden bar over a tuned tube."""
    partials = [(1.0, 0.8, 0.38), (3.93, 0.22, 0.1), (9.2, 0.1, 0.035)]
    return _knock(struck(hz, 1.1, partials, 0.002), 0.03)


def bell(hz: float, seconds: float) -> Sound:
    """A celesta: small tuned metal plates."""
    partials = [(1.0, 0.55, 1.0), (2.001, 0.12, 0.7), (4.02, 0.16, 0.32), (8.1, 0.05, 0.1), (1.002, 0.2, 1.1)]
    return struck(hz, min(seconds + 0.8, 3.0), partials, 0.002)


def flute(hz: float, seconds: float) -> Sound:
    """A breathy flute whose vibrato comes late."""
    count = count_of(seconds + 0.18)
    turns = phase(hz, count) + _vibrato(hz, count, 0.0045)
    sound = np.zeros(count, dtype=np.float32)
    for multiple, amplitude in ((1, 0.62), (2, 0.2), (3, 0.09), (4, 0.03)):
        sound += np.float32(amplitude) * sine(turns * np.uint32(multiple))
    breath = np.diff(np.random.default_rng(5).standard_normal(count + 1)).astype(np.float32)
    sound += breath * (np.float32(0.002) + np.float32(0.012) * np.exp(times(count) * np.float32(-18)))
    return shaped(sound, 0.07, 0.18)


def solo(hz: float, seconds: float) -> Sound:
    """A single bowed string, sung out."""
    count = count_of(seconds + 0.3)
    turns = phase(hz, count) + _vibrato(hz, count, 0.006)
    sound = read(cycle(hz, _strings(2600)), turns) + np.float32(0.3) * read(cycle(hz, _low_pass(500)), turns)
    return shaped(sound * np.float32(0.8), 0.11, 0.3)


def _vibrato(hz: float, count: int, depth: float) -> NDArray[np.uint32]:
    """Phase offset that swings the pitch by a fraction of itself, 5.2 times a second, after a while."""
    time = times(count)
    swing = np.float32(hz * depth / 5.2 / (2 * np.pi) * 2**32) * np.minimum(time / np.float32(0.6), 1)
    offset = swing * np.sin(time * np.float32(2 * np.pi * 5.2))
    return cast(NDArray[np.uint32], offset.astype(np.int64).astype(np.uint32))


def sub(hz: float, seconds: float) -> Sound:
    """A deep, round bass with just enough overtone to be heard on small speakers."""
    count = count_of(seconds + 0.15)
    turns = phase(hz, count)
    sound = np.float32(0.62) * sine(turns) + np.float32(0.2) * sine(turns * np.uint32(2))
    sound += np.float32(0.07) * sine(turns * np.uint32(3))
    return shaped(sound * np.exp(times(count) * np.float32(-0.25)), 0.03, 0.15)


def upright(hz: float, seconds: float) -> Sound:
    """A plucked double bass."""
    partials = [(float(k), 0.75 / k**1.3, 0.9 / (0.5 + 0.5 * k)) for k in range(1, 8)]
    return _knock(struck(hz, min(seconds, 1.6) + 0.1, partials, 0.006), 0.04)


def synth_bass(hz: float, seconds: float) -> Sound:
    """A synthesiser bass: a filtered sawtooth over a sine."""
    count = count_of(seconds + 0.06)
    turns = phase(hz, count)
    time = times(count)
    bite = np.exp(time * np.float32(-11)) * read(cycle(hz, _low_pass(1500)), turns)
    sound = np.float32(0.5) * sine(turns) + np.float32(0.5) * read(cycle(hz, _low_pass(260)), turns)
    return shaped((sound + np.float32(0.7) * bite) * np.float32(0.75), 0.006, 0.06)


VOICES: dict[str, Callable[[float, float], Sound]] = {
    voice.__name__: voice
    for voice in (
        warm, air, strings, choir, brass, tremolo, spiccato, saw_pluck, felt, electric_piano, harp, pizzicato,
        marimba, bell, flute, solo, sub, upright, synth_bass,
    )
}  # fmt: skip
