from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from raypipe.media import audio
from raypipe.providers.local.music import compose
from raypipe.providers.local.music.harmony import chord, voicings
from raypipe.providers.local.music.moods import MOODS, mood_named
from raypipe.providers.local.music.score import plan, play
from raypipe.providers.local.music.voices import VOICES

RATE = 48_000
OPENING, HEIGHT = slice(0, 3 * RATE), slice(14 * RATE, 20 * RATE)
PROMPT = "a lighthouse keeper and the sea"


@cache
def piece(mood: str, seconds: float = 24, seed: int = 7) -> audio.Samples:
    samples, rate = audio.decode(compose(mood, PROMPT, seed, seconds).data)
    assert rate == RATE
    return samples


def spectra(samples: audio.Samples, size: int = 4096, hop: int = 480) -> np.ndarray:
    """Magnitudes of shape (frames, bins)."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.mean(axis=0), size)[::hop]
    return np.abs(np.fft.rfft(frames * np.hanning(size)))


def test_the_same_arguments_give_the_same_bytes() -> None:
    first, second = (compose("calm", PROMPT, 3, 8) for _ in range(2))
    assert first == second
    assert first.media_type == "audio/flac"


@pytest.mark.parametrize("other", [("epic", PROMPT, 3), ("calm", "a bakery", 3), ("calm", PROMPT, 4)])
def test_mood_prompt_and_seed_each_make_another_piece(other: tuple[str, str, int]) -> None:
    assert compose(*other, 5).data != compose("calm", PROMPT, 3, 5).data


@pytest.mark.parametrize("mood", MOODS)
def test_a_piece_is_stereo_long_enough_unclipped_and_clean_at_both_ends(mood: str) -> None:
    samples = piece(mood)
    assert samples.shape[0] == 2
    assert 24 <= samples.shape[1] / RATE < 27
    assert 0.5 < np.abs(samples).max() < 0.95
    assert np.abs(samples[:, : RATE // 100]).max() < 0.02
    assert np.abs(samples[:, -RATE // 100 :]).max() < 0.005
    assert not np.array_equal(samples[0], samples[1])


@pytest.mark.parametrize("mood", MOODS)
def test_a_piece_has_bass_middle_and_many_tones(mood: str) -> None:
    power = (spectra(piece(mood), 16_384, 8_192) ** 2).mean(axis=0)
    hz = np.fft.rfftfreq(16_384, 1 / RATE)
    share = [power[(hz >= low) & (hz < high)].sum() / power.sum() for low, high in ((35, 250), (250, 2_000))]
    assert share[0] > 0.05
    assert share[1] > 0.05
    near = power[1:-1]
    tones = (near > power[:-2]) & (near > power[2:]) & (near > power.max() / 3_000)
    assert tones[hz[1:-1] < 5_000].sum() > 15


@pytest.mark.parametrize("mood", ["uplifting", "energetic", "playful", "epic", "tense"])
def test_onsets_keep_the_beat_of_the_mood(mood: str) -> None:
    magnitudes = np.log1p(100 * spectra(piece(mood)[:, 6 * RATE : 20 * RATE], 2_048))
    flux = np.maximum(np.diff(magnitudes, axis=0), 0).sum(axis=1)
    flux -= flux.mean()
    alike = np.correlate(flux, flux, "full")[len(flux) - 1 :]
    beat = 60 / MOODS[mood].tempo * 100
    near = alike[int(beat * 0.94) : int(beat * 1.06) + 2].max()
    assert near > 0.15 * alike[0]
    assert near > 2 * abs(np.median(alike[20:200]))


@pytest.mark.parametrize("mood", MOODS)
def test_a_piece_builds_up_and_dies_away(mood: str) -> None:
    samples = piece(mood)
    opening, height = (audio.loudness(samples[:, part], RATE).integrated_lufs for part in (OPENING, HEIGHT))
    assert height > opening + 1
    assert np.abs(samples[:, -RATE // 4 :]).max() < 0.2 * np.abs(samples).max()


@pytest.mark.parametrize("seconds", [1, 5, 9.7, 75])
def test_any_length_is_reached_and_the_tempo_bends_only_a_little(seconds: float) -> None:
    score = plan(MOODS["playful"], seconds, np.random.default_rng(0))
    assert piece("playful", seconds).shape[1] / RATE >= seconds
    if seconds > 9:
        assert score.tempo == pytest.approx(MOODS["playful"].tempo, rel=0.08)


@pytest.mark.parametrize("mood", MOODS)
@pytest.mark.parametrize("seed", range(3))
def test_the_music_falls_on_chords_and_stays_in_playable_ranges(mood: str, seed: int) -> None:
    score = plan(MOODS[mood], 60, np.random.default_rng(seed))
    for part in MOODS[mood].parts:
        for bar, note in play(score, part, seed):
            assert 0 <= note.start < 16
            if part.role in ("chords", "arpeggio"):
                assert (note.pitch - score.tonic) % 12 in score.bars[bar].chord.classes
            if part.voice in VOICES:
                assert 26 <= note.pitch <= 108, part


def test_a_melody_moves_and_repeats_its_motif() -> None:
    score = plan(MOODS["uplifting"], 60, np.random.default_rng(1))
    part = next(part for part in MOODS["uplifting"].parts if part.role == "melody")
    bars: dict[int, list[tuple[int, int]]] = {}
    for bar, note in play(score, part, 5):
        bars.setdefault(bar, []).append((note.start, note.pitch))
    rhythms = {tuple(start for start, _ in notes) for notes in bars.values()}
    pitches = {pitch for notes in bars.values() for _, pitch in notes}
    assert len(bars) > 2 * len(rhythms)
    assert len(pitches) > 5


def test_voices_move_little_from_chord_to_chord() -> None:
    chords = [chord(numeral) for numeral in ("I", "vi", "IV", "V", "I")]
    laid = voicings(chords, 0, 62)
    steps = [zip(before, after, strict=True) for before, after in pairwise(laid)]
    moves = [abs(a - b) for step in steps for a, b in step]
    assert np.mean(moves) < 3


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Calm", "calm"),
        ("hopeful and warm", "uplifting"),
        ("very SAD", "melancholic"),
        ("dark, tense", "dark"),
        ("funeral", "cinematic"),
        ("xyzzy", "cinematic"),
        ("", "cinematic"),
    ],
)
def test_free_text_finds_its_mood(text: str, name: str) -> None:
    assert mood_named(text)[0] == name


def test_the_prompt_decides_where_the_mood_says_nothing() -> None:
    assert mood_named("xyzzy", "an epic voyage")[0] == "epic"
    assert mood_named("calm", "an epic voyage")[0] == "calm"


@pytest.mark.parametrize("mood", MOODS)
def test_composed_music_survives_mastering(mood: str) -> None:
    fitted = audio.fit_track(compose(mood, PROMPT, 2, 10).data, 10)
    level, peak = audio.loudness(*audio.decode(fitted))
    assert level == pytest.approx(-14, abs=0.3)
    assert peak <= -1
