"""Chords, voicings and melodies. Pitches are MIDI note numbers (60 is middle C, 69 is 440 Hz)."""

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

SCALES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
}
_NUMERALS = {"i": 0, "ii": 2, "iii": 4, "iv": 5, "v": 7, "vi": 9, "vii": 11}
_COLOURS = {"": (), "add9": (14,), "6": (9,), "7": (10,), "maj7": (11,), "9": (10, 14), "maj9": (11, 14)}
_SUSPENDED = {"sus2": (0, 2, 7), "sus4": (0, 5, 7), "o": (0, 3, 6)}

#: rhythms of a two-bar motif: (start, length) in sixteenths
_SLOW = (
    ((0, 8), (8, 4), (12, 4), (16, 16)),
    ((0, 6), (6, 2), (8, 8), (16, 6), (22, 2), (24, 8)),
    ((4, 4), (8, 8), (16, 4), (20, 4), (24, 8)),
    ((0, 12), (12, 4), (16, 12), (28, 4)),
)
_LIVELY = (
    ((0, 3), (3, 3), (6, 2), (8, 4), (12, 4), (16, 6), (22, 2), (24, 8)),
    ((0, 4), (4, 2), (6, 4), (10, 2), (12, 4), (16, 4), (20, 4), (24, 8)),
    ((2, 2), (4, 4), (8, 3), (11, 3), (14, 2), (16, 8), (24, 4), (28, 4)),
    ((0, 2), (2, 2), (4, 4), (8, 2), (10, 2), (12, 4), (16, 3), (19, 3), (22, 10)),
)


class Chord(NamedTuple):
    """A chord above a key: semitones of its root and, from the root, of its tones."""

    root: int
    tones: tuple[int, ...]

    @property
    def classes(self) -> tuple[int, ...]:
        """Pitch classes from the key's tonic, root first."""
        return tuple((self.root + tone) % 12 for tone in self.tones)


class Note(NamedTuple):
    """A note in a bar: start and length in sixteenths, velocity from 0 to 1."""

    start: int
    length: int
    pitch: int
    velocity: float = 0.8


def chord(numeral: str) -> Chord:
    """Read a chord in Roman numerals relative to the major scale, such as 'vi7', 'bVII' or 'Vsus4'."""
    match = re.fullmatch(r"(b?)([ivIV]+)(\w*)", numeral)
    if match is None:
        raise ValueError(f"{numeral!r} is no chord")
    flat, name, colour = match.groups()
    triad = _SUSPENDED.get(colour, (0, 4, 7) if name.isupper() else (0, 3, 7))
    return Chord((_NUMERALS[name.lower()] - len(flat)) % 12, triad + _COLOURS.get(colour, ()))


def ladder(chord: Chord, tonic: int, lowest: int, count: int) -> list[int]:
    """The chord's tones upwards from a pitch."""
    classes = {(tonic + step) % 12 for step in chord.classes}
    return [pitch for pitch in range(lowest, lowest + 12 * count) if pitch % 12 in classes][:count]


def voicings(chords: Sequence[Chord], tonic: int, centre: int, voices: int = 4) -> list[list[int]]:
    """Lay out chords openly around a pitch, each so that its voices move little from the one before."""
    result: list[list[int]] = []
    for current in chords:
        options = [
            _opened(ladder(current, tonic, lowest, voices)) for lowest in range(centre - 8, centre + 3)
        ]
        last = result[-1] if result else None
        result.append(min(options, key=lambda option: _effort(option, last, centre)))
    return result


def _opened(close: list[int]) -> list[int]:
    """Drop the second voice from the top by an octave."""
    return sorted([close[-2] - 12, *close[:-2], close[-1]])


def _effort(option: list[int], last: list[int] | None, centre: int) -> float:
    middle = abs(sum(option) / len(option) - centre)
    if last is None:
        return middle
    return sum(abs(a - b) for a, b in zip(option, last, strict=True)) + 0.5 * middle


class Melody(NamedTuple):
    """A two-bar motif: its rhythm, and its shape as steps in the scale from the first note."""

    rhythm: tuple[tuple[int, int], ...]
    shape: tuple[int, ...]

    @classmethod
    def invent(cls, rng: np.random.Generator, lively: bool) -> "Melody":
        """Draw a motif that mostly moves by step and turns back after a leap."""
        rhythms = _LIVELY if lively else _SLOW
        rhythm = rhythms[int(rng.integers(len(rhythms)))]
        shape = [0]
        for _ in rhythm[1:]:
            step = int(rng.choice([-2, -1, 1, 2, 3], p=[0.14, 0.34, 0.32, 0.14, 0.06]))
            if abs(shape[-1] + step) > 4 or (len(shape) > 1 and abs(shape[-1] - shape[-2]) > 1):
                step = -1 if shape[-1] > 0 else 1
            shape.append(shape[-1] + step)
        return cls(rhythm, tuple(shape))

    def varied(self, rng: np.random.Generator) -> "Melody":
        """The answer to the motif: the same rhythm and opening, another way out."""
        turn = len(self.shape) // 2
        lift = int(rng.choice([-1, 1]))
        tail = [2 * self.shape[turn] - step + lift for step in self.shape[turn:]]
        return Melody(self.rhythm, self.shape[:turn] + tuple(tail))

    def over(self, chords: Sequence[Chord], scale: Sequence[int], tonic: int, start: int) -> list[list[Note]]:
        """Play the motif over bars of these chords: long notes and those on the beat are chord tones."""
        allowed = [pitch for pitch in range(start - 14, start + 19) if (pitch - tonic) % 12 in scale]
        first = _nearest(allowed, start)
        bars: list[list[Note]] = [[] for _ in chords]
        last = 0
        for (at, length), step in zip(self.rhythm, self.shape, strict=True):
            bar = at // 16
            if bar >= len(chords):
                break
            pitch = allowed[min(max(first + step, 0), len(allowed) - 1)]
            if at % 4 == 0 or length >= 4:
                pitch = _chord_tone(pitch, chords[bar], tonic, last)
            last = pitch
            velocity = 0.85 if at % 8 == 0 else 0.68
            bars[bar].append(Note(at % 16, length, pitch, velocity))
        return bars


def _nearest(pitches: Sequence[int], pitch: int) -> int:
    return min(range(len(pitches)), key=lambda index: abs(pitches[index] - pitch))


def _chord_tone(pitch: int, chord: Chord, tonic: int, last: int) -> int:
    """The chord's tone nearest to a pitch, rather not the one that was just played."""
    tones = [p for p in range(pitch - 5, pitch + 6) if (p - tonic) % 12 in chord.classes]
    return min(tones, key=lambda tone: abs(tone - pitch) + 2.5 * (tone == last))


def gaps(starts: Sequence[int], end: int) -> list[int]:
    """Length from each start to the next, the last up to an end."""
    return [b - a for a, b in pairwise([*starts, end])]
