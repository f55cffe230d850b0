"""Percussion: each makes one stroke as mono float32 samples at 48 kHz, of falling tones and shaped noise."""

from collections.abc import Callable
from functools import cache

import numpy as np

from raypipe.providers.local.music.voices import RATE, Sound, count_of, shaped, times


@cache
def _noise(seconds: float, low: float, high: float) -> Sound:
    """Noise between two frequencies in Hz, with a root mean square of 0.35."""
    count = count_of(seconds)
    spectrum = np.fft.rfft(np.random.default_rng(3).standard_normal(count))
    f = np.fft.rfftfreq(count, 1 / RATE)
    spectrum *= 1 / (1 + (low / np.maximum(f, 1)) ** 4) / (1 + (f / high) ** 4)
    noise = np.fft.irfft(spectrum, count)
    return np.asarray(0.35 * noise / np.sqrt(np.mean(noise**2)), dtype=np.float32)


def _fall(seconds: float, start: float, end: float, bend: float, decay: float) -> Sound:
    """A sine that falls from one frequency to another within about `bend` seconds."""
    time = times(count_of(seconds))
    turns = end * time + (start - end) * bend * (1 - np.exp(-time / np.float32(bend)))
    return np.asarray(np.sin(2 * np.pi * turns) * np.exp(-time / np.float32(decay)), dtype=np.float32)


def _burst(seconds: float, low: float, high: float, decay: float) -> Sound:
    decayed: Sound = _noise(seconds, low, high) * np.exp(times(count_of(seconds)) * np.float32(-1 / decay))
    return decayed


def kick() -> Sound:
    """A tight bass drum."""
    sound = _fall(0.4, 170, 50, 0.03, 0.11)
    click = _burst(0.02, 1500, 7000, 0.004)
    sound[: len(click)] += 0.5 * click
    return shaped(sound, 0.001, 0.1)


def thud() -> Sound:
    """A soft, deep bass drum."""
    return shaped(_fall(0.7, 85, 44, 0.05, 0.2), 0.006, 0.2)


def taiko() -> Sound:
    """A very large drum in a hall."""
    sound = _fall(1.3, 130, 58, 0.045, 0.3) + 0.5 * _fall(1.3, 210, 98, 0.04, 0.14)
    sound += 0.6 * _burst(1.3, 150, 1400, 0.05)
    return shaped(sound, 0.002, 0.4)


def tom() -> Sound:
    """A floor tom."""
    return shaped(_fall(0.6, 190, 92, 0.06, 0.16) + 0.25 * _burst(0.6, 300, 2500, 0.03), 0.002, 0.2)


def snare() -> Sound:
    """A snare drum."""
    sound = 0.5 * _fall(0.35, 260, 185, 0.02, 0.07)
    return shaped(sound + 1.1 * _burst(0.35, 900, 9000, 0.075), 0.001, 0.1)


def brush() -> Sound:
    """A brush drawn over a drum."""
    return shaped(_burst(0.3, 1200, 6500, 0.07), 0.012, 0.1)


def clap() -> Sound:
    """Hands that do not quite clap together."""
    sound = _burst(0.3, 900, 5000, 0.07)
    for late in (0.011, 0.022):
        at = count_of(late)
        sound[at:] += 0.8 * _burst(0.3, 900, 5000, 0.05)[:-at]
    return shaped(sound, 0.001, 0.1)


def rim() -> Sound:
    """A stick on the rim."""
    return shaped(_fall(0.12, 900, 780, 0.01, 0.02) + 0.6 * _burst(0.12, 2500, 8000, 0.012), 0.001, 0.03)


def tick() -> Sound:
    """A clock."""
    return shaped(_fall(0.08, 2600, 2300, 0.01, 0.012) + 0.5 * _burst(0.08, 4000, 11000, 0.006), 0.001, 0.02)


def hat() -> Sound:
    """A closed hi-hat."""
    return shaped(_burst(0.12, 7500, 15000, 0.028), 0.001, 0.04)


def open_hat() -> Sound:
    """An open hi-hat."""
    return shaped(_burst(0.45, 7000, 14000, 0.13), 0.001, 0.15)


def shaker() -> Sound:
    """A shaken box of seeds."""
    return shaped(_burst(0.16, 4500, 12000, 0.045), 0.022, 0.05)


def crash() -> Sound:
    """A cymbal, struck softly."""
    return shaped(_burst(2.6, 3000, 12000, 0.75), 0.004, 0.8)


def swell() -> Sound:
    """A cymbal roll that grows into the next bar; it ends where the bar begins."""
    count = count_of(1.6)
    rise = np.linspace(0, 1, count, dtype=np.float32) ** 3
    return shaped(_noise(1.6, 2500, 10000) * rise, 0.1, 0.06)


DRUMS: dict[str, Callable[[], Sound]] = {
    drum.__name__: drum
    for drum in (
        kick, thud, taiko, tom, snare, brush, clap, rim, tick, hat, open_hat, shaker, crash, swell,
    )
}  # fmt: skip
