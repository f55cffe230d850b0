"""Reading vendors' answers: how a job stands, what is said of it, how long to wait, where one is sent."""

import email.utils
import math
import time
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

import httpx

#: characters of a vendor's own words that are quoted
QUOTED = 300
#: longest that a vendor's Retry-After is heeded, in seconds
MOST_RETRY_AFTER = 600.0
#: words by which vendors say that a job is over; any other word says that it is under way
_MADE = frozenset({"succeeded", "success", "completed", "complete", "done", "finished"})
_FAILED = frozenset({"failed", "failure", "error", "errored", "canceled", "cancelled", "aborted"})
#: headers that describe a body as it was sent, before it was decoded
_OF_ENCODED = ("content-encoding", "content-length", "transfer-encoding")
#: words of content filters, in what vendors say of a job that failed
_REFUSED = ("nsfw", "flagged as sensitive", "(e005)", "content policy", "content_policy")


def ending_of(word: object) -> Literal["made", "failed"] | None:
    """Tell how a job ended by the vendor's word for its state; None for any word that is not known as an end."""
    known = str(word).strip().casefold()
    return "made" if known in _MADE else "failed" if known in _FAILED else None


def is_about_content(words: object) -> bool:
    """Tell whether a vendor's words of a failure are those of a content filter."""
    text = str(words).casefold()
    return any(word in text for word in _REFUSED)


def explained(answer: httpx.Response) -> str:
    """Quote what a vendor says, wherever in its JSON it says it."""
    try:
        body = answer.json()
    except ValueError:
        return answer.text.strip()[:QUOTED] or answer.reason_phrase
    if isinstance(body, dict):
        body = next((body[name] for name in ("detail", "error", "message", "title") if body.get(name)), body)
    return str(body)[:QUOTED]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110, 10.2.3); None if it is missing or nonsense."""
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, TypeError):
            return None
    return min(max(0.0, seconds), MOST_RETRY_AFTER) if math.isfinite(seconds) else None


def sent_to(answer: httpx.Response) -> str:
    """Quote where an answer of 3xx sends its reader."""
    return answer.headers.get("location", "")[:QUOTED] or "nowhere"


def decoded_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of a body that has been decoded."""
    return {name: value for name, value in headers.items() if name.lower() not in _OF_ENCODED}


def status_of(answer: httpx.Response) -> str:
    """Return an answer's status with its words."""
    return f"{answer.status_code} {answer.reason_phrase}".strip()


def words_of(error: Exception) -> str:
    """Return what an error says, or at least what it is."""
    return str(error) or type(error).__name__


def origin_of(url: str) -> tuple[str, str]:
    """Return a URL's scheme and place."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
