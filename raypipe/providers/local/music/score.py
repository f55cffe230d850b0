"""The plan of a piece: bars with their chords and level, and the notes each part plays in them."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from raypipe.providers.local.music.harmony import SCALES, Chord, Melody, Note, chord, gaps, ladder, voicings
from raypipe.providers.local.music.moods import Mood, Part

#: silence before the first beat, so that a fade-in does not swallow it
LEAD_SECONDS = 0.35
#: longest time that the last chord rings within the asked length
_CODA_SECONDS = 3.4
#: levels of the four-bar phrases of a piece that has this many; longer ones breathe
_LEVELS = {
    0: (),
    1: (3,),
    2: (2, 4),
    3: (2, 3, 4),
    4: (2, 3, 3, 4),
    5: (2, 3, 4, 3, 4),
    6: (2, 3, 4, 2, 3, 4),
}
_LONG_LEVELS = (2, 3, 4, 2, 3, 4, 4, 1)

_STRENGTH = {"X": 1.0, "x": 0.72, "o": 0.42}


class Bar(NamedTuple):
    """Four beats over one chord."""

    chord: Chord
    level: int
    chorus: bool
    #: place in its phrase and the phrase's length, in bars
    place: int
    of: int


class Score(NamedTuple):
    """A whole piece; the last bar is its closing chord."""

    tonic: int
    scale: tuple[int, ...]
    bars: tuple[Bar, ...]
    #: length of a sixteenth
    step_seconds: float
    #: length of the last chord
    coda_seconds: float
    #: whether the melody moves in short notes
    lively: bool

    @property
    def tempo(self) -> float:
        """Quarter notes a minute."""
        return 15 / self.step_seconds


def plan(mood: Mood, seconds: float, rng: np.random.Generator) -> Score:
    """Lay a piece out so that its closing chord falls shortly before the end; the tempo bends a little."""
    coda = min(_CODA_SECONDS, seconds / 4)
    bar = 240 / mood.tempo
    room = max(seconds - LEAD_SECONDS, 0.5)
    count = max(round((room - coda) / bar), 1)
    coda = min(max(room - count * bar, 0.6 * coda), 1.3 * coda)
    verse, chorus = mood.themes[int(rng.integers(len(mood.themes)))]
    tonic = int(rng.integers(12))
    bars = tuple(_bars(count, _chords(verse), _chords(chorus)))
    return Score(tonic, SCALES[mood.scale], bars, (room - coda) / count / 16, coda, mood.lively)


def _chords(text: str) -> list[Chord]:
    return [chord(numeral) for numeral in text.split()]


def _bars(count: int, verse: list[Chord], chorus: list[Chord]) -> Iterator[Bar]:
    """An introduction of what does not fill a phrase, phrases of four bars, and the closing tonic."""
    phrases, intro = divmod(count, 4)
    opening = [verse[0], *verse[5 - intro :]] if intro else []
    for place, tone in enumerate(opening):
        yield Bar(tone, 1 if phrases else 3, False, place, intro)
    for index, level in enumerate(_levels(phrases)):
        for place, tone in enumerate(chorus if level == 4 else verse):
            softer = index == 0 and not intro and place < 2 and phrases > 1
            yield Bar(tone, level - softer, level == 4, place, 4)
    yield Bar(
        chord("Iadd9" if _major([*verse, *chorus]) else "iadd9"), 4 if phrases > 1 else 3, phrases > 1, 0, 1
    )


def _levels(phrases: int) -> Sequence[int]:
    """Level of each phrase: rising, with a rest now and then in long pieces, and fullest at the end."""
    if phrases in _LEVELS:
        return _LEVELS[phrases]
    return [_LONG_LEVELS[index % len(_LONG_LEVELS)] for index in range(phrases - 2)] + [4, 4]


def _major(chords: Sequence[Chord]) -> bool:
    return any(c.root == 0 and 4 in c.tones for c in chords)


def play(score: Score, part: Part, seed: int) -> Iterator[tuple[int, Note]]:
    """Give the notes of a part as (bar, note). Percussion has pitch 0."""
    if part.role == "melody":
        return _melody(score, part, seed)
    if part.role in ("lift", "accent"):
        return _transitions(score)
    return _pattern(score, part)


def _pattern(score: Score, part: Part) -> Iterator[tuple[int, Note]]:
    """Play the part's pattern over each bar's chord."""
    last = len(score.bars) - 1
    voiced = voicings([bar.chord for bar in score.bars], score.tonic, 62 + 12 * part.octave)
    for number, bar in enumerate(score.bars):
        if not part.enter <= bar.level <= part.leave:
            continue
        notes: Iterator[Note]
        if part.role == "chords":
            notes = _strummed(voiced[number], part, number == last)
        elif part.role == "arpeggio":
            notes = _broken(ladder(bar.chord, score.tonic, 52 + 12 * part.octave, 9), part, number == last)
        elif part.role == "bass":
            notes = _broken(_bass_tones(bar.chord, score.tonic), part, number == last)
        else:
            notes = _strummed([0], part, number == last)
        for note in notes:
            yield number, note


def _onsets(part: Part, closing: bool) -> list[tuple[int, int, str]]:
    """Start, length and symbol of each stroke of the pattern; in the closing bar only the first."""
    starts = [at for at, symbol in enumerate(part.pattern) if symbol != "."]
    if closing:
        return [(0, 16, part.pattern[starts[0]])]
    lengths = gaps(starts, 16)
    held = [min(part.hold, 16 - at) if part.hold else gap for at, gap in zip(starts, lengths, strict=True)]
    return [(at, length, part.pattern[at]) for at, length in zip(starts, held, strict=True)]


def _strummed(pitches: Sequence[int], part: Part, closing: bool) -> Iterator[Note]:
    for at, length, symbol in _onsets(part, closing):
        for pitch in pitches:
            yield Note(at, length, pitch, _STRENGTH[symbol])


def _broken(tones: Sequence[int], part: Part, closing: bool) -> Iterator[Note]:
    """One tone after the other; the closing chord is rolled upwards."""
    if closing and part.role == "arpeggio":
        for at, pitch in enumerate((tones[0], tones[2], tones[3], tones[4])):
            yield Note(at, 16, pitch, 0.8)
        return
    for at, length, symbol in _onsets(part, closing):
        yield Note(at, length, tones[int(symbol)], 0.9 if at % 4 == 0 else 0.7)


def _bass_tones(chord: Chord, tonic: int) -> list[int]:
    """Root from G1 to F sharp 2, the fifth next to it, and the root's octave."""
    root = 31 + (tonic + chord.root - 31) % 12
    fifth = root + chord.tones[2]
    return [root, fifth if fifth < 46 else fifth - 12, root + 12]


def _transitions(score: Score) -> Iterator[tuple[int, Note]]:
    """Mark the first beat of each phrase that is louder than the one before, and of each chorus."""
    for number, (before, bar) in enumerate(pairwise(score.bars), start=1):
        if bar.place == 0 and bar.level >= 3 and (bar.level > before.level or bar.chorus):
            yield number, Note(0, 16, 0, 0.6 + 0.1 * bar.level)


def _melody(score: Score, part: Part, seed: int) -> Iterator[tuple[int, Note]]:
    """Motif, answer, motif, answer; the chorus has a motif of its own, sung higher.

    Seeded by the piece alone, so that all parts with the melody play the same one.
    """
    rng = np.random.default_rng(seed)
    home = 59 + (score.tonic - 59) % 12 + 12 * part.octave
    motifs = [Melody.invent(rng, score.lively), Melody.invent(rng, score.lively)]
    answers = [motif.varied(rng) for motif in motifs]
    for number, bar in enumerate(score.bars[:-1]):
        if bar.place % 2 or not part.enter <= bar.level <= part.leave:
            continue
        chords = [b.chord for b in score.bars[number : number + min(2, bar.of - bar.place)]]
        motif = (answers if bar.place else motifs)[bar.chorus]
        sung = motif.over(chords, score.scale, score.tonic, home + (9 if bar.chorus else 4))
        for offset, notes in enumerate(sung):
            for note in notes:
                yield number + offset, note._replace(length=part.hold or note.length)
    if part.enter <= score.bars[-1].level <= part.leave:
        yield len(score.bars) - 1, Note(0, 16, home + 12 * score.bars[-1].chorus, 0.85)


def seconds_of(score: Score, bar: int, step: float) -> float:
    """When a sixteenth of a bar begins."""
    return LEAD_SECONDS + (bar * 16 + step) * score.step_seconds


def total_seconds(score: Score) -> float:
    """When the closing chord has had its time."""
    return seconds_of(score, len(score.bars) - 1, 0) + score.coda_seconds
