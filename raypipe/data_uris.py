"""data: URIs (RFC 2397): one reader for what people send and what vendors deliver, and one writer.

They are read as they are written in the wild, with parameters, capitals, line breaks and percent signs, without padding
and in the alphabet for addresses. The media type is what the writer says: what the data is, its bytes say.
"""

import base64
import binascii
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from raypipe.errors import MediaError

#: media type of a data: URI that names none; RFC 2397 says text/plain, but these carry media
UNNAMED = "application/octet-stream"
_SCHEME = "data:"
_FROM_URL_ALPHABET = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\f\v"
#: percent signs that a data: URI may have: each takes some fifty bytes while it is read, and base64 has one in thirty
MOST_PERCENT_SIGNS = 2**21


class Media(NamedTuple):
    """Bytes, and the media type that somebody calls them by."""

    data: bytes
    media_type: str


def is_data_uri(text: str) -> bool:
    """Tell whether a text is a data: URI, by its scheme."""
    return text[: len(_SCHEME) + 8].lstrip().lower().startswith(_SCHEME)


def read_data_uri(uri: str) -> Media:
    """Decode a data: URI.

    Raises:
        MediaError: It is none, or its base64 is broken.
    """
    if not is_data_uri(uri):
        raise MediaError("it is no data: URI, such as data:image/png;base64,iVBORw0...")
    about, comma, text = uri.lstrip()[len(_SCHEME) :].partition(",")
    if not comma:
        raise MediaError("it is no data: URI: it has no comma")
    parameters = [part.strip().lower() for part in about.split(";")]
    media_type = parameters[0] if "/" in parameters[0] else UNNAMED
    if text.count("%") > MOST_PERCENT_SIGNS:
        raise MediaError(f"it has more than {MOST_PERCENT_SIGNS} percent signs: write it in base64")
    data = unquote_to_bytes(text.encode(errors="replace"))
    return Media(_from_base64(data) if "base64" in parameters else data, media_type)


def data_uri(data: bytes, media_type: str = UNNAMED) -> str:
    """Write bytes as a data: URI."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _from_base64(text: bytes) -> bytes:
    digits = text.translate(_FROM_URL_ALPHABET, delete=_BLANKS).rstrip(b"=")
    try:
        return base64.b64decode(digits + b"=" * (-len(digits) % 4), validate=True)
    except binascii.Error as error:
        raise MediaError(f"its base64 is broken: {error}") from error
