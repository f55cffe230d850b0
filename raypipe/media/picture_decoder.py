"""A program that normalises one picture, from standard input to standard output; it imports nothing of raypipe's.

It bounds its own memory and time first: what the picture does to the decoder it does to this process alone. Its
functions are raypipe's too, for pictures that are in the store already.

A picture is what its pixels are. What is written around them is read for how they are to be shown (which way up, in
which colours, what is transparent), is never a reason to refuse it, and is left out of what is made.
"""

import io
import re
import resource
import sys
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from PIL import Image, ImageChops, ImageCms, ImageMath

#: Pillow's words for the turns that EXIF's orientation asks for, by its numbers (Exif 2.32, 4.6.4)
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION = 0x0112

_PNG = b"\x89PNG\r\n\x1a\n"
#: chunks of a PNG that say how it is to be shown; of the others that decoders may leave out nothing is kept
_TELLING = (b"tRNS", b"iCCP", b"gAMA", b"sRGB", b"eXIf")
#: where a PNG has the bits of a sample, and what its samples are
_DEPTH, _COLOUR = 24, 25
_JPEG = b"\xff\xd8"
#: a marker of a JPEG, but for those that may stand within the data of a scan (ITU-T T.81, B.1.1)
_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")
#: JFIF's segment (ITU-T T.871, 10.1) without a density and a small picture of its own
_JFIF = b"\xff\xe0\x00\x10JFIF\0\1\1\0\0\1\0\1\0\0"
_END, _EXIF, _ICC, _ADOBE, _COMMENT = 0xD9, 0xE1, 0xE2, 0xEE, 0xFE
#: most chunks or segments that a picture may have, and most bytes that a packed profile may have
MOST_PARTS, MOST_PROFILE_BYTES = 100_000, 2**22

#: sRGB's gamma as PNG writes it, and the part by which another may differ without being seen, as libpng has it
_SRGB_GAMMA, _SAME_GAMMA = 45_455, 0.05
#: levels by which a profile may change colours and still be sRGB, which calculations of it differ by
_SAME_LEVELS = 2
#: colours of all kinds, to see what a profile makes of them
_SAMPLES = {
    "L": Image.frombytes("L", (256, 1), bytes(range(256))),
    "RGB": Image.frombytes(
        "RGB", (64, 64), bytes(17 * (at >> shift & 15) for at in range(4096) for shift in (8, 4, 0))
    ),
}
#: quality of a JPEG that is encoded again
_QUALITY = 95


class BarePicture(NamedTuple):
    """A picture without what stands around its pixels, and what of that says how they are to be shown."""

    data: bytes
    exif: bytes = b""
    #: ICC profile; a PNG's is packed
    profile: bytes = b""
    gamma: int = _SRGB_GAMMA
    #: whether its samples have 16 bits
    is_deep: bool = False
    #: whether the data can be shown as it is
    plain: bool = False


def bare_picture(data: bytes) -> BarePicture:
    """Take what is written around its pixels from a PNG or JPEG, without decoding them; anything else is left as it is.

    Of several pictures in one file the first is kept.

    Raises:
        ValueError: It has more parts than any picture has.
    """
    if data.startswith(_PNG):
        return _bare_png(data)
    return _bare_jpeg(data) if data.startswith(_JPEG) else BarePicture(data)


def _bare_png(data: bytes) -> BarePicture:
    kept, told = [_PNG], dict[bytes, bytes]()
    for kind, start, end in _chunks(data):
        is_critical = not kind[0] & 0x20
        if not is_critical and kind in _TELLING and _has_its_sum(data, start, end):
            told.setdefault(kind, data[start + 8 : end - 4])
        if is_critical or (kind == b"tRNS" and kind in told):
            kept.append(data[start:end])
    gamma = _SRGB_GAMMA if b"sRGB" in told or b"gAMA" not in told else int.from_bytes(told[b"gAMA"])
    exif, profile = told.get(b"eXIf", b""), told.get(b"iCCP", b"")
    bare = b"".join(kept)
    is_opaque = b"tRNS" not in told and bare[_COLOUR : _COLOUR + 1] in (b"\0", b"\2", b"\3")
    is_deep = bare[_DEPTH : _DEPTH + 1] == b"\x10"
    is_shown_so = not exif and not profile and _is_srgb(gamma) and not is_deep
    return BarePicture(bare, exif, profile, gamma, is_deep, plain=is_opaque and is_shown_so)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give the kind, the start and the end of each chunk of a PNG (PNG specification, 5.3)."""
    at = len(_PNG)
    for _ in range(MOST_PARTS):
        kind = data[at + 4 : at + 8]
        if len(kind) < 4:
            return
        end = at + 12 + int.from_bytes(data[at : at + 4])
        yield kind, at, end
        if kind == b"IEND":
            return
        at = end
    raise ValueError(f"it has more than {MOST_PARTS} chunks")


def _has_its_sum(data: bytes, start: int, end: int) -> bool:
    return zlib.crc32(data[start + 4 : end - 4]).to_bytes(4, "big") == data[end - 4 : end]


def _bare_jpeg(data: bytes) -> BarePicture:
    kept, exif, profile, components = [_JPEG], b"", dict[int, bytes](), 0
    for marker, before, start, end in _segments(data):
        body = data[start + 4 : end]
        kept.append(before)
        if marker == _EXIF and body.startswith(b"Exif\0\0"):
            exif = exif or body
        elif marker == _ICC and body.startswith(b"ICC_PROFILE\0"):
            profile[body[12] if len(body) > 12 else 0] = body[14:]
        else:
            kept.append(_kept_segment(marker, data[start:end]))
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            components = body[5] if len(body) > 5 else 0
    joined = b"".join(profile[number] for number in sorted(profile))
    return BarePicture(b"".join(kept), exif, joined, plain=not exif and not joined and components in (1, 3))


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int, int]]:
    """Give the marker of each segment of a JPEG, the data of a scan before it, its start and its end (T.81, B.1)."""
    at = len(_JPEG)
    for _ in range(MOST_PARTS):
        match = _MARKER.search(data, at)
        if match is None:  # it is cut off, as the decoder will say
            yield 0, data[at:], len(data), len(data)
            return
        marker, start = match[1][0], match.end() - 2
        length = 0 if marker in (_END, 0xD8, 0x01) else int.from_bytes(data[start + 2 : start + 4])
        yield marker, data[at : match.start()], start, start + 2 + length
        if marker == _END:
            return
        at = start + 2 + length
    raise ValueError(f"it has more than {MOST_PARTS} segments")


def _kept_segment(marker: int, segment: bytes) -> bytes:
    """Return what a decoder needs of a segment: nothing, where it is about the picture."""
    if marker == 0xE0:
        return _JFIF if segment[4:9] == b"JFIF\0" else b""
    if marker == _ADOBE and segment[4:9] == b"Adobe":
        return b"\xff\xee\x00\x0e" + segment[4:16] if len(segment) >= 16 else b""
    return b"" if 0xE0 <= marker <= 0xEF or marker == _COMMENT else segment


def normalised(data: bytes, formats: tuple[str, ...]) -> bytes:
    """Return a picture as PNG, or as JPEG if it is one, upright, of 8 bits, opaque, in sRGB, with nothing around it.

    Its pixels stay as they are encoded, where they are so already.
    """
    bare = bare_picture(data)
    with Image.open(io.BytesIO(bare.data), formats=formats) as picture:
        picture.load()
        kind, shown = picture.format, as_shown(picture, bare)
        if shown is picture and kind != "WEBP" and not bare.is_deep:
            return bare.data
        shown.info.clear()  # Pillow would write it
        out = io.BytesIO()
        if kind == "JPEG":
            shown.save(out, "JPEG", quality=_QUALITY, subsampling=0)
        else:
            shown.save(out, "PNG", compress_level=1)
        return out.getvalue()


def as_shown(picture: Image.Image, bare: BarePicture) -> Image.Image:
    """Return a picture upright, of 8 bits, opaque and in sRGB: itself, if it is that, as grey or with a palette too.

    Args:
        picture: What `bare.data` holds.
        bare: Says how it is to be shown.

    Raises:
        ValueError: Its pixels name colours of a palette that is not there.
    """
    if picture.mode in ("P", "PA") and picture.palette is None:
        raise ValueError("it has no palette")
    exif = bare.exif or picture.info.get("exif", b"")
    alpha = _alpha_of(picture, bare.is_deep)
    colours = _of_8_bits(picture)
    if alpha is not None:
        colours = colours.convert("L" if colours.mode in ("L", "LA") else "RGB")
    colours = _in_srgb(colours, bare.profile or picture.info.get("icc_profile") or b"", bare.gamma)
    if alpha is not None:
        ground = Image.new("RGB", colours.size, "white")
        ground.paste(colours.convert("RGB"), mask=alpha)
        colours = ground
    turn = _TURNS.get(_orientation(exif))
    return colours if turn is None else colours.transpose(turn)


def _orientation(exif: bytes) -> int:
    about = Image.Exif()
    try:
        about.load(exif)
        return int(about.get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - whatever is wrong with it: a picture is not refused for what is written about it
        return 1


def _alpha_of(picture: Image.Image, is_deep: bool) -> Image.Image | None:
    """Return how opaque each pixel is; None where all are by their format."""
    if not picture.has_transparency_data:
        return None
    if picture.mode in ("LA", "PA", "RGBA"):
        return picture.getchannel("A")
    if picture.mode.startswith("I"):
        return _alpha_of_deep_grey(picture)
    if (
        is_deep
    ):  # of its samples, but not of the colour that is transparent, Pillow has left out the lower bits
        picture.info["transparency"] = tuple(level >> 8 for level in picture.info["transparency"])
    return picture.convert("RGBA").getchannel("A")


def _alpha_of_deep_grey(picture: Image.Image) -> Image.Image:
    level = picture.info["transparency"]
    alpha: Image.Image = ImageMath.lambda_eval(
        lambda image: image["convert"]((image["grey"] != level) * 255, "L"), grey=picture.convert("I")
    )
    return alpha


def _of_8_bits(picture: Image.Image) -> Image.Image:
    """Return a picture with samples of 8 bits; of colours of 16 bits Pillow has left out the lower ones already."""
    if picture.mode.startswith("I"):
        return picture.convert("I").point(lambda level: level * (1 / 257) + 0.5).convert("L")
    return (
        picture
        if picture.mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK")
        else picture.convert("RGB")
    )


def _in_srgb(picture: Image.Image, profile: bytes, gamma: int) -> Image.Image:
    """Return a picture in sRGB, by its ICC profile or its gamma; a profile that cannot be used is none."""
    changed = _by_profile(picture, _unpacked(profile)) if profile else None
    if changed is None and not _is_srgb(gamma):
        changed = picture if picture.mode == "L" else picture.convert("RGB")
        changed = changed.point(_to_srgb(gamma) * len(changed.getbands()))
    if changed is not None:
        return changed
    return picture.convert("RGB") if picture.mode == "CMYK" else picture


def _by_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """Return a picture as its profile says that it looks; None where that is as it is, or cannot be said."""
    mode = picture.mode if picture.mode in ("L", "CMYK") else "RGB"
    try:
        given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        change = ImageCms.buildTransform(given, ImageCms.createProfile("sRGB"), mode, "RGB")
        sample = _SAMPLES.get(mode)
        if sample is not None and _is_same(sample, change.apply(sample)):
            return None
        return change.apply(picture.convert(mode))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _is_same(sample: Image.Image, changed: Image.Image) -> bool:
    bands = ImageChops.difference(sample.convert("RGB"), changed).split()
    return not any(any(band.histogram()[_SAME_LEVELS + 1 :]) for band in bands)


def _unpacked(profile: bytes) -> bytes:
    """Return an ICC profile, which a PNG has packed behind a name (PNG specification, 11.3.2.3)."""
    if profile[36:40] == b"acsp":
        return profile
    try:
        return zlib.decompressobj().decompress(profile.partition(b"\0")[2][1:], MOST_PROFILE_BYTES)
    except zlib.error:
        return b""


def _is_srgb(gamma: int) -> bool:
    return gamma == 0 or abs(gamma / _SRGB_GAMMA - 1) <= _SAME_GAMMA


def _to_srgb(gamma: int) -> list[int]:
    """Return, for each level of a picture with a gamma (PNG specification, 11.3.2.2), that of sRGB."""
    lights = [(level / 255) ** (100_000 / gamma) for level in range(256)]
    return [
        round(255 * (12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055))
        for light in lights
    ]


def main(memory: int, cpu_seconds: int, formats: list[str]) -> None:
    """Normalise a picture; how the process ends says how it went."""
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    # the first bound ends it by SIGXCPU, which says what it was; the second would by SIGKILL, which others send too
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Image.MAX_IMAGE_PIXELS = None  # whoever starts this has looked at its size
    sys.stdout.buffer.write(normalised(sys.stdin.buffer.read(), tuple(formats)))


if __name__ == "__main__":
    try:
        main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
    except MemoryError:
        sys.exit("it takes too much memory")
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        sys.exit(str(error))
