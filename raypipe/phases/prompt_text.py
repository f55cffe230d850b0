"""Reading a prompt: what it is about, the scenes it tells, and the length it asks for."""

import re
import unicodedata
from typing import NamedTuple

from raypipe.errors import InvalidRequest
from raypipe.models import MAX_VIDEO_SECONDS, MIN_BEAT_SECONDS
from raypipe.text import without_controls

#: longest sentence that is left whole, and longest piece of a longer one, in characters
SENTENCE_LENGTH, PIECE_LENGTH = 220, 150
#: longest name for what the video is about, in characters
SUBJECT_LENGTH = 100

_ORDER = re.compile(
    r"""(?:please\s+)?
    (?:(?:create|make|generate|produce|render|shoot|film|write|give|show)\s+(?:me\s+|us\s+)?)?
    (?:an?\s+|the\s+)?
    (?:(?P<number>\d{1,3}(?:\.\d+)?)[\s-]*(?P<unit>s|secs?|seconds?|mins?|minutes?)[\s-]+(?:long\s+)?)?
    (?:(?:short|little|quick|cinematic|promotional|promo|product|social\ media|tv|video)\s+){0,3}
    (?:video|clip|film|movie|ad|advert|advertisement|commercial|spot|trailer|teaser|promo|reel|animation)
    \s+(?:of|about|for|on|showing|featuring|advertising|promoting)\s+
    """,
    re.IGNORECASE | re.VERBOSE,
)
_NEW_LINE = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*•–]\s|\d{1,2}[.)]\s|[^\W\d_]+\s\d{1,2}\s?:|[A-Z\"“'«]))")  # noqa: RUF001
_SENTENCE_END = re.compile(
    r"(?<!\bMr\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bNo\.)(?<!\bMrs\.)(?<!\bvs\.)(?<!\b[A-Z]\.)"
    r"(?<=[.!?…])[\"”'’)]?\s+(?=[^\sa-z])|(?<=[。！？])"  # noqa: RUF001
)
_BULLET = re.compile(
    r"\A\s*(?:[-*•–]+\s+|\d{1,2}[.)]\s+|(?:scene|shot|beat)\s+\d{1,2}\s*[:.)-]\s*)",  # noqa: RUF001
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[;:,，、；：]|\s[-–—(]")  # noqa: RUF001
_PHRASE_END = re.compile(
    r"\s(?:and|or|but|where|who|whose|that|which|while|when|as|with|without|in|on|at|by|of|for|from|to|into|through|"
    r"over|under|behind|beside|between|during|after|before|until)\b",
    re.IGNORECASE,
)
_SPACE = re.compile(r"\s")
#: what belongs to the character before it: joiner, variants, skin tones
_JOINERS = "\u200d\ufe0e\ufe0f" + "".join(chr(0x1F3FB + tone) for tone in range(5))
_QUOTES = {'"': '"', "'": "'", "“": "”", "«": "»", "„": "“", "「": "」"}
_ENDING = " \t.,;:!?…。，、；：！？-–—"  # noqa: RUF001


class PromptText(NamedTuple):
    """A prompt, read."""

    #: the prompt on one line
    text: str
    #: what the video is about, in the prompt's own words
    subject: str
    #: what happens, in order, in the prompt's own words; the first begins with the subject
    scenes: tuple[str, ...]
    #: length that the prompt asks for, as in "15 s ad for ..."
    seconds: float | None


def read_prompt(prompt: str) -> PromptText:
    """Read a prompt.

    Raises:
        InvalidRequest: The prompt holds nothing that can be seen.
    """
    clean = _unquoted(without_controls(prompt))
    text = " ".join(clean.split())
    if not any(map(_is_seen, text)):
        raise InvalidRequest("The prompt holds no text.")
    order = _ORDER.match(clean)
    about = clean[order.end() :] if order and clean[order.end() :].strip(_ENDING) else clean
    scenes = _scenes(about)
    return PromptText(text, clip_text(scenes[0], SUBJECT_LENGTH), scenes, _seconds(order))


def _is_seen(char: str) -> bool:
    return char not in _ENDING and unicodedata.category(char) not in ("Cc", "Cf", "Zs", "Zl", "Zp", "Mn")


def clip_text(text: str, length: int) -> str:
    """Cut a text to a number of characters: after a clause, else after a phrase, a word, a character."""
    if len(text) <= length:
        return text
    head = text[: length + 1]
    for boundary in (_CLAUSE_END, _PHRASE_END, _SPACE):
        ends = [match.start() for match in boundary.finditer(head) if match.start() >= length * 0.4]
        if ends:
            return text[: ends[-1]].rstrip(_ENDING) or text[: ends[-1]]
    return text[: _between_characters(text, length)]


def _between_characters(text: str, end: int) -> int:
    """Return the last place up to `end` that does not cut accents, tones or joined emoji off their character."""
    while end > 1 and (
        unicodedata.combining(text[end]) or text[end] in _JOINERS or text[end - 1] == "\u200d"
    ):
        end -= 1
    return end


def _unquoted(text: str) -> str:
    closing = _QUOTES.get(text[:1])
    if closing is not None and text.endswith(closing) and closing not in text[1:-1]:
        return text[1:-1].strip() or text
    return text


def _seconds(order: re.Match[str] | None) -> float | None:
    if order is None or order["number"] is None:
        return None
    seconds = float(order["number"]) * (60 if order["unit"].lower().startswith("m") else 1)
    return seconds if MIN_BEAT_SECONDS <= seconds <= MAX_VIDEO_SECONDS else None


def _scenes(text: str) -> tuple[str, ...]:
    lines = (_BULLET.sub("", line, count=1) for line in _NEW_LINE.split(text))
    sentences = [part for line in lines for part in _SENTENCE_END.split(" ".join(line.split()))]
    pieces = [piece for sentence in sentences for piece in _clauses(sentence)]
    scenes: list[str] = []
    for piece in pieces:
        if (
            scenes
            and (_is_short(piece) or _is_short(scenes[-1]))
            and len(scenes[-1]) + len(piece) < SENTENCE_LENGTH
        ):
            scenes[-1] = f"{scenes[-1]} {piece}".strip()
        elif piece.strip(_ENDING):
            scenes.append(piece.strip())
    return tuple(scene.rstrip(_ENDING) for scene in scenes) or (text,)


def _is_short(piece: str) -> bool:
    """Tell whether a piece is too little to be a scene: an exclamation, or one word."""
    return len(piece.split()) < 3 and len(piece) < 16 and piece.isascii()


def _clauses(sentence: str) -> list[str]:
    """Cut a sentence that is too long for one scene at its clauses, or between words."""
    pieces: list[str] = []
    rest = sentence
    length = len(sentence) // (len(sentence) // PIECE_LENGTH + 1) + 20
    while len(rest) > (length if pieces else SENTENCE_LENGTH):
        piece = clip_text(rest, length)
        pieces.append(piece)
        rest = rest[len(piece) :].lstrip(_ENDING)
    return [*pieces, rest]
