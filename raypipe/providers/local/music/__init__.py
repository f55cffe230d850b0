"""The embedded composer: a mood, a prompt and a seed become a piece of music, synthesised in numpy."""

import hashlib

import numpy as np

from raypipe.media.audio import encode_flac
from raypipe.providers.base import Media
from raypipe.providers.local.music.mixer import render
from raypipe.providers.local.music.moods import mood_named
from raypipe.providers.local.music.score import plan
from raypipe.providers.local.music.voices import RATE

__all__ = ["compose"]


def compose(mood: str, prompt: str, seed: int, seconds: float) -> Media:
    """Compose and perform a piece of music: stereo 48 kHz FLAC, at least `seconds` long.

    The closing chord falls so that it has rung out when `seconds` are over; what follows dies away. The same
    arguments give the same bytes.

    Args:
        mood: Free text; a word such as 'calm' or 'epic' chooses tempo, scale and instruments. Without one the
            prompt is searched, and without one there the piece is 'cinematic'.
        prompt: What the film is about; together with the seed it draws key, chords and melody.
        seed: Another seed gives another piece in the same mood.
        seconds: Length that is wanted; above 0.
    """
    name, style = mood_named(mood, prompt)
    digest = hashlib.sha256(f"{name}|{prompt}|{seed}".encode()).digest()
    number = int.from_bytes(digest[:8])
    score = plan(style, seconds, np.random.default_rng(number))
    return Media(data=encode_flac(render(score, style, number), RATE), media_type="audio/flac")
