"""Finding the file that a job made in what a vendor says of it: vendors, and their models, write it in many ways."""

import mimetypes
from collections.abc import Iterable, Iterator
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


#: names, and places in lists, that lead to a part of an output
_Path = tuple[str | int, ...]


class _Place(NamedTuple):
    """Where a file stands in a list."""

    position: int
    #: how many parts the list has
    length: int


class _Found(NamedTuple):
    """An address, and how likely it is the one; the least is the likeliest."""

    #: whether its ending is that of another kind of file
    is_other: bool
    #: how likely the names are under which it stands
    names: tuple[int, ...]
    #: how many were found before it
    place: int
    address: str
    path: _Path


def address_in(output: Any, kind: Kind) -> str | None:
    """Find the address of what was made, in an output that is a text, an object, or a list of either.

    Args:
        output: As the vendor says it.
        kind: What was made.

    Returns:
        An http(s): address or a data: URI; None if there is none.
    """
    likeliest = _likeliest(output, kind)
    return None if likeliest is None else likeliest.address


def is_blacked_out(output: Any, kind: Kind) -> bool:
    """Tell whether a vendor says that its content filter has blacked out the file that `address_in` finds.

    A flag of another file in the same list says nothing of it; one that is not known to be another's does. Where no
    file is found, any flag says it of all.
    """
    likeliest = _likeliest(output, kind)
    path = () if likeliest is None else likeliest.path
    return any(_is_true(flag, place) for flag, place in _flags(output, kind, path, None, _MOST_DEPTH))


def _likeliest(output: Any, kind: Kind) -> _Found | None:
    found = (
        _Found(_is_other(address, kind), names, place, address, path)
        for place, (path, names, address) in enumerate(_addresses(output, kind, (), ()))
    )
    return min(found, default=None)


def _addresses(
    output: Any, kind: Kind, path: _Path, names: tuple[int, ...]
) -> Iterator[tuple[_Path, tuple[int, ...], str]]:
    """Find all addresses, with what leads to each, and how unlikely that makes it."""
    if len(names) > _MOST_DEPTH:
        return
    if isinstance(output, str) and _is_address(output.strip()):
        yield path, names, output.strip()
    elif isinstance(output, list):
        for place, part in enumerate(output):
            yield from _addresses(part, kind, (*path, place), (*names, 0))
    elif isinstance(output, dict):
        for name, part in output.items():
            if name.lower() not in _BESIDE:
                unlikeliness = _unlikeliness(name.lower(), kind)
                yield from _addresses(part, kind, (*path, name), (*names, unlikeliness))


def _place_in(output: Any, path: _Path) -> _Place | None:
    """Tell where a path leads in the first list on it; None where there is none."""
    for step in path:
        if isinstance(output, list):
            return _Place(int(step), len(output))
        output = output[step]
    return None


def _flags(
    output: Any, kind: Kind, path: _Path, place: _Place | None, depth: int
) -> Iterator[tuple[Any, _Place | None]]:
    """Find the flags that may be about the file to which a path leads: all but those within other files of a list.

    Each comes with the file's place in the list beside the flag.
    """
    if depth == 0:
        return
    place = _place_in(output, path) if path else place
    if isinstance(output, dict):
        yield from ((output[name], place) for name in _FLAGS if name in output)
    for step, part in _parts(output):
        if path[:1] == (step,):
            yield from _flags(part, kind, path[1:], None, depth - 1)
        elif not (path and isinstance(output, list) and any(_addresses(part, kind, (), ()))):
            yield from _flags(part, kind, (), place, depth - 1)


def _parts(output: Any) -> Iterable[tuple[str | int, Any]]:
    if isinstance(output, list):
        return enumerate(output)
    return output.items() if isinstance(output, dict) else ()


def _is_true(flag: Any, place: _Place | None) -> bool:
    """Tell whether a flag is set: of a list that has one for each file the file's own, of another list any."""
    if not isinstance(flag, list):
        return flag is True
    if place is not None and len(flag) == place.length:
        return flag[place.position] is True
    return any(value is True for value in flag)


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
