"""From a score to sound: a note is rendered once per pitch and length, then added wherever it is played."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from raypipe.providers.local.music.drums import DRUMS
from raypipe.providers.local.music.harmony import Note
from raypipe.providers.local.music.moods import Mood, Part
from raypipe.providers.local.music.score import Score, play, seconds_of, total_seconds
from raypipe.providers.local.music.voices import RATE, VOICES, Sound, count_of, times

#: seconds after the closing chord in which everything dies away
TAIL_SECONDS = 1.2
#: samples before the reverb answers
_PRE_DELAY = 900
#: share of its own slope added to the tonal sound: about 3 dB more at 4 kHz, 7 at 8 kHz
_PRESENCE = np.float32(1.5)


class _Bus(NamedTuple):
    """What is heard directly, of shape (2, samples), and what goes into the reverb, of shape (samples,)."""

    dry: Sound
    send: Sound

    def add(self, sound: Sound, at: int, gains: tuple[float, float], room: float) -> None:
        end = min(at + sound.shape[-1], len(self.send))
        sound = sound[..., : max(end - at, 0)]
        left, right = (sound, sound) if sound.ndim == 1 else (sound[0], sound[1])
        self.dry[0, at:end] += left * np.float32(gains[0])
        self.dry[1, at:end] += right * np.float32(gains[1])
        self.send[at:end] += left * np.float32(room * (gains[0] + gains[1]) / 2)


def render(score: Score, mood: Mood, seed: int) -> Sound:
    """Play a score: stereo samples of shape (2, samples) at 48 kHz, peak below 0.9, silent at both ends."""
    count = count_of(total_seconds(score) + TAIL_SECONDS)
    tonal, drums = (_Bus(np.zeros((2, count), np.float32), np.zeros(count, np.float32)) for _ in range(2))
    for index, part in enumerate(mood.parts):
        percussive = part.voice in DRUMS
        _perform(
            score, mood, part, drums if percussive else tonal, np.random.default_rng([seed, index]), seed
        )
    if mood.pump:
        _duck(tonal, score, mood)
    mix = tonal.dry
    mix[:, 1:] += np.diff(mix) * _PRESENCE
    mix += drums.dry
    tonal.send[:] += drums.send
    mix += _reverb(tonal.send, mood.reverb)
    return _finish(mix)


def _perform(score: Score, mood: Mood, part: Part, bus: _Bus, rng: np.random.Generator, seed: int) -> None:
    """Render and place the notes of one part, with the small unevenness of a player."""
    cache: dict[tuple[int, int], Sound] = {}
    gain = 10 ** (part.level / 20)
    loose = 0.0 if part.voice in DRUMS else 0.004
    for bar, note in play(score, part, seed):
        seconds = score.coda_seconds if bar == len(score.bars) - 1 else note.length * score.step_seconds
        key = (note.pitch, round(seconds * 1000))
        if key not in cache:
            cache[key] = _sound(part, note, seconds)
        sound = cache[key]
        late = mood.swing if note.start % 4 == 2 else 0.0
        start = seconds_of(score, bar, note.start + late) + loose * rng.standard_normal()
        if part.role == "lift":
            start -= sound.shape[-1] / RATE
        level = gain * note.velocity * (1 + 0.06 * rng.standard_normal())
        for delay, share, side in _echoes(part, score):
            pan = side * _pan(part, note)
            at = max(round((start + delay) * RATE), 0)
            bus.add(sound, at, (level * share * (1 - pan), level * share * (1 + pan)), part.room)


def _sound(part: Part, note: Note, seconds: float) -> Sound:
    if part.voice in DRUMS:
        return DRUMS[part.voice]()
    return VOICES[part.voice](440 * 2 ** ((note.pitch - 69) / 12), seconds)


def _echoes(part: Part, score: Score) -> Iterator[tuple[float, float, int]]:
    """Delay in seconds, share of the level and side of each time a note is heard."""
    yield 0.0, 1.0, 1
    if part.echo:
        yield 3 * score.step_seconds, 0.32, -1
        yield 6 * score.step_seconds, 0.13, 1


def _pan(part: Part, note: Note) -> float:
    """Place from -1 (left) to 1: low notes left and high ones right, as at a piano; bass in the middle."""
    if part.role in ("bass", "melody", "lift") or part.voice in ("kick", "thud", "taiko", "snare"):
        return 0.0
    if note.pitch == 0:
        return {"hat": 0.25, "shaker": -0.35, "rim": 0.4, "tick": 0.3, "tom": -0.3}.get(part.voice, 0.1)
    return float(np.clip((note.pitch - 66) / 45, -0.4, 0.4))


def _duck(bus: _Bus, score: Score, mood: Mood) -> None:
    """Push the bus down at each stroke of the kick drum and let it come back within a beat."""
    kicks = [part for part in mood.parts if part.voice == "kick"]
    dip = np.float32(1 - 10 ** (-mood.pump / 20))
    time = times(count_of(4 * score.step_seconds))
    curve = 1 - dip * np.exp(time * np.float32(-9)) * np.minimum(time / np.float32(0.006), 1)
    for part in kicks:
        for bar, note in play(score, part, 0):
            at = round(seconds_of(score, bar, note.start) * RATE)
            bus.dry[:, at : at + len(curve)] *= curve[: bus.dry.shape[1] - at]


def _reverb(send: Sound, seconds: float) -> Sound:
    """Sound of a hall, shape (2, samples): convolution with a decaying impulse, by overlap-add."""
    response = _impulse(min(seconds, 3.5))
    size = 1 << (2 * response.shape[1] - 1).bit_length()
    hop = size - response.shape[1]
    hz = np.fft.rfftfreq(size, 1 / RATE)
    band = 1 / (1 + (180 / np.maximum(hz, 1)) ** 2) / (1 + (hz / 6500) ** 2)
    spectrum = (np.fft.rfft(response, size) * band).astype(np.complex64)
    wet = np.zeros((2, len(send) + size), dtype=np.float32)
    for at in range(0, len(send), hop):
        wet[:, at : at + size] += np.fft.irfft(np.fft.rfft(send[at : at + hop], size) * spectrum, size)
    return wet[:, : len(send)]


def _impulse(seconds: float) -> Sound:
    """Stereo noise that decays by 60 dB in the given time, darker as it gets older, after a short silence."""
    count = count_of(seconds)
    time = times(count)
    noise = np.random.default_rng(1).standard_normal((2, count), dtype=np.float32)
    dull = np.stack([np.convolve(side, np.hanning(14) / 7, "same") for side in noise])
    age = np.minimum(time / np.float32(0.5), 1)
    response = noise * (1 - age) * np.float32(0.5) + dull
    response *= np.exp(time * np.float32(-6.9 / seconds)) * np.minimum(time / np.float32(0.03), 1)
    response = np.pad(response, ((0, 0), (_PRE_DELAY, 0)))
    response /= np.sqrt((response**2).sum(axis=1, keepdims=True))
    return response.astype(np.float32)


def _finish(mix: Sound) -> Sound:
    """Round the loudest peaks off, bring the rest up to them, and close."""
    loud = np.quantile(np.abs(mix[:, ::16]), 0.999)
    mix = np.tanh(mix * np.float32(0.6 / max(float(loud), 1e-6)))
    edge = count_of(TAIL_SECONDS)
    mix[:, -edge:] *= np.cos(np.linspace(0, np.pi / 2, edge, dtype=np.float32)) ** 2
    mix[:, :48] *= np.linspace(0, 1, 48, dtype=np.float32)
    return np.asarray(mix * np.float32(0.88 / np.abs(mix).max()), dtype=np.float32)
