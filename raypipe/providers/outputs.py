"""Finding the file that a job made in what a vendor says of it: vendors, and their models, write it in many ways."""

import mimetypes
from collections.abc import Iterator
from typing import Any, NamedTuple

from raypipe.models import Kind

#: how deep in an output an address is looked for
_MOST_DEPTH = 8
_OF_KIND = {
    Kind.IMAGE: ("image", "images", "image_url"),
    Kind.CLIP: ("video", "videos", "video_url", "clip"),
    Kind.MUSIC: ("audio", "audio_file", "audio_url", "music"),
}
_OF_ANY_FILE = ("url", "uri", "href", "file", "files", "output", "outputs", "result", "results")
#: names of what stands beside a file, and is not what was asked for
_BESIDE = (
    "prompt", "input", "inputs", "caption", "text", "logs", "thumbnail", "thumbnails", "thumbnail_url", "preview",
    "preview_url", "poster", "cover", "mask", "webhook", "metadata",
)  # fmt: skip
_MEDIA = {Kind.IMAGE: "image", Kind.CLIP: "video", Kind.MUSIC: "audio"}
#: names by which vendors say of each picture whether their filter has blacked it out
_FLAGS = ("has_nsfw_concepts", "has_nsfw_concept", "nsfw_content_detected", "has_nsfw_content")


class _Found(NamedTuple):
    """An address, and how likely it is the one; the least is the likeliest."""

    #: whether its ending is that of another kind of file
    is_other: bool
    #: how likely the names are under which it stands
    names: tuple[int, ...]
    #: how many were found before it
    place: int
    address: str


def address_in(output: Any, kind: Kind) -> str | None:
    """Find the address of what was made, in an output that is a text, an object, or a list of either.

    Args:
        output: As the vendor says it.
        kind: What was made.

    Returns:
        An http(s): address or a data: URI; None if there is none.
    """
    found = (
        _Found(_is_other(address, kind), names, place, address)
        for place, (names, address) in enumerate(_addresses(output, kind, ()))
    )
    likeliest = min(found, default=None)
    return None if likeliest is None else likeliest.address


def is_blacked_out(output: Any, depth: int = _MOST_DEPTH) -> bool:
    """Tell whether a vendor says that its content filter has blacked out what was made."""
    if depth == 0 or not isinstance(output, dict | list):
        return False
    if isinstance(output, list):
        return any(is_blacked_out(part, depth - 1) for part in output)
    flagged = any(_is_any_true(output.get(name)) for name in _FLAGS)
    return flagged or any(is_blacked_out(part, depth - 1) for part in output.values())


def _addresses(output: Any, kind: Kind, names: tuple[int, ...]) -> Iterator[tuple[tuple[int, ...], str]]:
    if len(names) > _MOST_DEPTH:
        return
    if isinstance(output, str) and _is_address(output.strip()):
        yield names, output.strip()
    elif isinstance(output, list):
        for part in output:
            yield from _addresses(part, kind, (*names, 0))
    elif isinstance(output, dict):
        for name, part in output.items():
            if name.lower() not in _BESIDE:
                yield from _addresses(part, kind, (*names, _unlikeliness(name.lower(), kind)))


def _unlikeliness(name: str, kind: Kind) -> int:
    return 0 if name in _OF_KIND[kind] else 1 if name in _OF_ANY_FILE else 2


def _is_address(text: str) -> bool:
    scheme, colon, rest = text[:8].lower().partition(":")
    if scheme == "data":
        return bool(colon) and "," in text
    return scheme in ("http", "https") and rest.startswith("//")


def _is_other(address: str, kind: Kind) -> bool:
    """Tell whether an address looks like a sentence, or like a file of another kind."""
    if address[:5].lower() == "data:":
        media_type: str | None = address[5:80].partition(";")[0].partition(",")[0].lower()
    else:
        media_type, _ = mimetypes.guess_type(address.partition("?")[0].rpartition("/")[2])
        if any(sign.isspace() for sign in address):
            return True
    return media_type is not None and not media_type.startswith(_MEDIA[kind])


def _is_any_true(flag: Any) -> bool:
    return flag is True or (isinstance(flag, list) and any(value is True for value in flag))
