"""Pictures as they come in: what stands around their pixels is read once, and then gone.

Whoever brings one, a user or a vendor, it is stored, checked and sent on as `normalise` gives it.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from PIL import Image as Picture
from PIL import UnidentifiedImageError

from raypipe.errors import MediaError
from raypipe.media.apart import normalise_apart
from raypipe.media.picture_decoder import BarePicture, bare_picture

MAX_PICTURE_PIXELS = 50_000_000
_TOO_LARGE = f"is too large: at most {MAX_PICTURE_PIXELS // 10**6} million pixels can be used"
#: Pillow's names of what users may bring, and of what vendors may deliver
UPLOADED, DELIVERED = ("PNG", "JPEG"), ("PNG", "JPEG", "WEBP")

# Pillow warns of pictures that are more than ours may be; those are refused with an error
warnings.filterwarnings("ignore", category=Picture.DecompressionBombWarning)


class EncodedPicture(NamedTuple):
    """A PNG or JPEG."""

    data: bytes
    media_type: str


def normalise(data: bytes, formats: tuple[str, ...] = UPLOADED) -> EncodedPicture:
    """Decode a picture that somebody brings, in a process of its own, and return it as everybody may see and use it.

    That is the first picture of several, upright, with 8 bits a sample, opaque, in sRGB, and with nothing written about
    it. A JPEG stays one, anything else is a PNG; one that is so already keeps its pixels. Here its head alone is read,
    for what it is and how many pixels it has.

    Raises:
        MediaError: The bytes are no picture in one of the formats, or of no bearable size.
    """
    with open_picture(data, formats) as (picture, _):
        kind = str(picture.format)
    return _named(normalise_apart(data, (kind,)))


def outgoing_picture(data: bytes) -> EncodedPicture:
    """Return a stored picture as a vendor may see it; one is normalised here if it was stored before pictures were.

    Raises:
        MediaError: It is no picture.
    """
    bare = bare_picture(data)
    return _named(bare.data) if bare.plain else normalise(data)


def _named(data: bytes) -> EncodedPicture:
    return EncodedPicture(data, "image/png" if data.startswith(b"\x89PNG") else "image/jpeg")


@contextmanager
def open_picture(
    data: bytes, formats: tuple[str, ...] = UPLOADED
) -> Iterator[tuple[Picture.Image, BarePicture]]:
    """Open a picture without what stands around its pixels, and give that beside it; nothing is decoded yet.

    Raises:
        MediaError: The bytes are no picture in one of the formats, or of no bearable size.
    """
    try:
        bare = bare_picture(data)
        with Picture.open(io.BytesIO(bare.data), formats=formats) as picture:
            if picture.width * picture.height > MAX_PICTURE_PIXELS:
                raise MediaError(f"a picture of {picture.width}x{picture.height} {_TOO_LARGE}")
            yield picture, bare
    except Picture.DecompressionBombError as error:
        raise MediaError(f"it {_TOO_LARGE}") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"it is no {' or '.join(formats)} picture") from error
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise MediaError(f"the picture cannot be read: {error}") from error
