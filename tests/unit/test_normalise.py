"""A picture is what its pixels are: what stands around them is heeded once, where it comes in, and then gone."""

import asyncio
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.cpu_work import fit_image
from raypipe.data_uris import data_uri, read_data_uri
from raypipe.errors import MediaError
from raypipe.intake import plan
from raypipe.media.pictures import DELIVERED, normalise, open_picture, outgoing_picture
from raypipe.media.video import read_picture
from raypipe.models import Artifact, Size, VideoRequest
from raypipe.providers.base import Context
from raypipe.providers.fal import FalProvider
from raypipe.providers.replicate import ReplicateProvider

SIZE = Size(width=64, height=64)
RED = (200, 40, 40)
GPS = b"58 deg 22 min north"


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def plain(colour: Any = RED, mode: str = "RGB", size: tuple[int, int] = (64, 64)) -> Image.Image:
    return Image.new(mode, size, colour)


def chunk(kind: bytes, body: bytes, sum_is_right: bool = True) -> bytes:
    check = zlib.crc32(kind + body) ^ (not sum_is_right)
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)


def with_chunk(png: bytes, kind: bytes, body: bytes, sum_is_right: bool = True) -> bytes:
    return png[:33] + chunk(kind, body, sum_is_right) + png[33:]


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


def png_of_16_bits(samples: tuple[int, ...], see_through: tuple[int, ...] | None = None) -> bytes:
    """A PNG of 16 x 16 pixels whose samples, one or three a pixel, have 16 bits."""
    row = b"\0" + struct.pack(f">{len(samples)}H", *samples) * 16
    kind = {1: 0, 3: 2, 4: 6}[len(samples)]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, 16, kind, 0, 0, 0))
    clear = b"" if see_through is None else chunk(b"tRNS", struct.pack(f">{len(samples)}H", *see_through))
    return b"\x89PNG\r\n\x1a\n" + head + clear + chunk(b"IDAT", zlib.compress(row * 16)) + chunk(b"IEND", b"")


def exif_of(orientation: int) -> bytes:
    """EXIF with an orientation, a place, and a text whose type is that of a number, which cannot be written again."""
    texts = [(0x112, 3, 1, struct.pack("<HH", orientation, 0)), (0x131, 12, 1, struct.pack("<I", 0))]
    entries = [(0x10E, 2, len(GPS), struct.pack("<I", 50)), *texts]
    packed = b"".join(struct.pack("<HHI", *head) + value for *head, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4) + GPS


def profile_of(white: Any, colours: Any, gamma: float) -> bytes:
    """An ICC profile of a display (ICC.1:2010, 8.3.3) with these primaries and this gamma."""

    def xyz(values: Any) -> bytes:
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65_536) for value in values))

    curve = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    text = b"desc\0\0\0\0" + struct.pack(">I", 2) + b"a\0" + bytes(78)
    red, green, blue = map(xyz, colours)
    tags = {b"desc": text, b"wtpt": xyz(white), b"rXYZ": red, b"gXYZ": green, b"bXYZ": blue}
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve)
    table, body, at = struct.pack(">I", len(tags)), b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", at + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = bytes(4) + b"lcms\x02\x10\0\0mntrRGB XYZ " + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 63_190, 65_536, 54_061) + bytes(48)
    data = head + table + body
    return struct.pack(">I", len(data)) + data[4:]


ADOBE_RGB = profile_of(
    (0.9505, 1, 1.0891),
    [(0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457)],
    2.2,
)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def colour_of(data: bytes, formats: tuple[str, ...] = ("PNG", "JPEG")) -> tuple[int, ...]:
    """What is seen in the middle of a picture: when it is normalised, and when it is read as it came."""
    normal = normalise(data, formats)
    assert normalise(*normal[:1]) == normal, "what is normalised stays as it is"
    assert outgoing_picture(normal.data) == normal
    shown = read_picture(normal.data, SIZE)[32, 32]
    if "WEBP" not in formats:
        assert (read_picture(data, SIZE)[32, 32] == shown).all(), (
            "older ones, stored as they came, look the same"
        )
    return tuple(map(int, shown))


def differs_by(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def scan_of(jpeg: bytes) -> bytes:
    return jpeg[jpeg.index(b"\xff\xda") : jpeg.index(b"\xff\xd9") + 2]


def test_the_first_picture_of_several_is_the_picture() -> None:
    first, second = plain(), plain((40, 40, 200))
    phone = encoded(first, "MPO", save_all=True, append_images=[second])
    assert differs_by(colour_of(phone + b"a film of 3 s"), RED) < 4
    assert scan_of(normalise(phone).data) == scan_of(phone)
    assert normalise(phone).media_type == "image/jpeg"
    assert normalise(phone).data.endswith(b"\xff\xd9")
    assert normalise(phone).data.count(b"\xff\xd8") == 1
    moving = encoded(first, "PNG", save_all=True, append_images=[second])
    assert b"fdAT" in moving
    assert colour_of(moving) == RED
    assert normalise(moving) == normalise(encoded(first))
    webp = encoded(first, "WEBP", save_all=True, append_images=[second], lossless=True)
    assert colour_of(webp, DELIVERED) == RED


@pytest.mark.parametrize("level", [0x0000, 0x1234, 0x8000, 0xFFFF])
def test_samples_of_16_bits_are_scaled_to_8(level: int) -> None:
    scaled = round(level / 257)
    assert differs_by(colour_of(png_of_16_bits((level,))), (scaled,) * 3) <= 1
    assert differs_by(colour_of(png_of_16_bits((level, 0, 0xFFFF))), (scaled, 0, 255)) <= 1
    assert normalise(png_of_16_bits((level,))).data[24] == 8
    assert normalise(png_of_16_bits((level, 0, 0))).data[24] == 8


WHITE = (255, 255, 255)
_PALETTE = plain().convert("P", palette=Image.Palette.ADAPTIVE)
_AT = _PALETTE.getpixel((32, 32))
CLEAR = {
    "RGBA": encoded(plain((*RED, 0), "RGBA")),
    "LA": encoded(plain((40, 0), "LA")),
    "RGB with a colour": encoded(plain(), transparency=RED),
    "L with a level": encoded(plain(40, "L"), transparency=40),
    "1 with a level": encoded(plain(0, "1"), transparency=0),
    "P with an index": encoded(_PALETTE, transparency=_AT),
    "P with alphas": encoded(_PALETTE, transparency=bytes(256)),
    "16 bits of grey": png_of_16_bits((0x1234,), (0x1234,)),
    "16 bits of colour": png_of_16_bits((0x1234, 0x4567, 0x89AB), (0x1234, 0x4567, 0x89AB)),
    "16 bits of alpha": png_of_16_bits((0x1234, 0x4567, 0x89AB, 0)),
}


@pytest.mark.parametrize("kind", CLEAR)
def test_what_is_transparent_is_white(kind: str) -> None:
    assert colour_of(CLEAR[kind]) == WHITE
    with Image.open(io.BytesIO(normalise(CLEAR[kind]).data)) as picture:
        assert not picture.has_transparency_data


def test_what_is_half_transparent_is_half_white_and_what_is_opaque_stays() -> None:
    assert differs_by(colour_of(encoded(plain((*RED, 128), "RGBA"))), (227, 147, 147)) <= 1
    assert colour_of(encoded(plain((*RED, 255), "RGBA"))) == RED
    assert colour_of(encoded(plain(), transparency=(1, 2, 3))) == RED
    assert colour_of(png_of_16_bits((0x1234,), (0x1235,))) == (0x12,) * 3
    assert colour_of(encoded(plain((*RED, 0), "RGBA"), "WEBP", lossless=True, exact=True), DELIVERED) == WHITE


def corners() -> Image.Image:
    picture = plain((0, 0, 0), size=(48, 32))
    for colour, box in (
        ((250, 0, 0), (0, 0, 24, 16)),
        ((0, 250, 0), (24, 0, 48, 16)),
        ((0, 0, 250), (0, 16, 24, 32)),
    ):
        picture.paste(colour, box)
    return picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_exif_says(orientation: int) -> None:
    about = Image.Exif()
    about[0x112] = orientation
    sideways, upright = corners(), ImageOps.exif_transpose(_with(corners(), about))
    exif = exif_of(orientation)
    ways = {
        "JPEG": with_segment(encoded(sideways, "JPEG", quality=95), 0xE1, b"Exif\0\0" + exif),
        "PNG": with_chunk(encoded(sideways), b"eXIf", exif),
        "WEBP": encoded(sideways, "WEBP", lossless=True, exif=about),
    }
    for kind, data in ways.items():
        normal = normalise(data, DELIVERED)
        with Image.open(io.BytesIO(normal.data)) as shown:
            assert shown.size == upright.size
            difference = np.asarray(shown.convert("RGB")).astype(int) - np.asarray(upright)
            assert np.abs(difference)[2:14, 2:14].max() < 12, kind
        assert normal.media_type == ("image/jpeg" if kind == "JPEG" else "image/png")
        assert GPS not in normal.data


def _with(picture: Image.Image, about: Image.Exif) -> Image.Image:
    with Image.open(io.BytesIO(encoded(picture, exif=about))) as described:
        described.load()
        return described


def jpeg_of(*segments: tuple[int, bytes]) -> bytes:
    jpeg = encoded(plain(), "JPEG", quality=95)
    for marker, body in segments:
        jpeg = with_segment(jpeg, marker, body)
    return jpeg


def icc(profile: bytes) -> tuple[int, bytes]:
    return 0xE2, b"ICC_PROFILE\0\1\1" + profile


PNG = encoded(plain())
#: pictures of which something is written that is broken, huge or of no use
ODD = {
    "an eXIf that is none": with_chunk(PNG, b"eXIf", b"http://n"),
    "an eXIf that ends early": with_chunk(PNG, b"eXIf", exif_of(1)[:20]),
    "an orientation of 9": with_chunk(PNG, b"eXIf", exif_of(9)),
    "two megabytes of packed text": with_chunk(
        PNG, b"zTXt", b"workflow\0\0" + zlib.compress(b"a" * 2_000_000)
    ),
    "a wrong sum of a text": with_chunk(PNG, b"tEXt", b"a\0b", sum_is_right=False),
    "a wrong sum of a profile": with_chunk(
        PNG, b"iCCP", b"a\0\0" + zlib.compress(ADOBE_RGB), sum_is_right=False
    ),
    "a profile that is none": with_chunk(PNG, b"iCCP", b"a\0\0" + zlib.compress(b"no profile")),
    "a profile that is not packed": with_chunk(PNG, b"iCCP", b"a\0\0" + ADOBE_RGB),
    "a profile that unpacks to a gigabyte": with_chunk(PNG, b"iCCP", b"a\0\0" + zlib.compress(bytes(2**28))),
    "a profile that is cut off": with_chunk(PNG, b"iCCP", b"a\0\0" + zlib.compress(ADOBE_RGB[:150])),
    "a broken cHRM and no gamma": with_chunk(with_chunk(PNG, b"cHRM", b"a"), b"gAMA", bytes(4)),
    "a frame of an animation": with_chunk(PNG, b"acTL", b"\xff" * 8),
    "JPEG: an EXIF that cannot be written again": jpeg_of((0xE1, b"Exif\0\0" + exif_of(1))),
    "JPEG: an EXIF that is none": jpeg_of((0xE1, b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff")),
    "JPEG: no more than a name of EXIF": jpeg_of((0xE1, b"Exif\0\0")),
    "JPEG: a profile that is none": jpeg_of(icc(b"no profile")),
    "JPEG: a profile of no length": jpeg_of((0xE2, b"ICC_PROFILE\0")),
    "JPEG: an index of pictures that is none": jpeg_of((0xE2, b"MPF\0" + b"\xff" * 30)),
    "JPEG: an Adobe that is cut off": jpeg_of((0xEE, b"Adobe")),
    "JPEG: no JFIF, XMP, a comment": jpeg_of(
        (0xE1, b"http://ns.adobe.com/xap/1.0/\0<x"), (0xFE, b"a" * 60_000)
    ),
}


@pytest.mark.parametrize("kind", ODD)
def test_what_is_written_about_a_picture_is_no_reason_to_refuse_it(kind: str) -> None:
    assert differs_by(colour_of(ODD[kind]), RED) < 4
    if not kind.startswith("JPEG"):
        assert normalise(ODD[kind]).data == PNG


def test_colours_are_what_the_profile_says_that_they_are() -> None:
    green, seen = plain((60, 200, 60)), (0, 201, 37)
    assert differs_by(colour_of(encoded(green, icc_profile=ADOBE_RGB)), seen) <= 3
    assert differs_by(colour_of(encoded(green, "JPEG", icc_profile=ADOBE_RGB, quality=98)), seen) <= 6
    webp = encoded(green, "WEBP", lossless=True, icc_profile=ADOBE_RGB)
    assert differs_by(colour_of(webp, DELIVERED), seen) <= 3
    palette = green.convert("P", palette=Image.Palette.ADAPTIVE)
    assert differs_by(colour_of(encoded(palette, icc_profile=ADOBE_RGB)), seen) <= 3
    half = colour_of(encoded(plain((60, 200, 60, 128), "RGBA"), icc_profile=ADOBE_RGB))
    assert differs_by(half, (127, 228, 146)) <= 3
    assert colour_of(encoded(plain(90, "L"), icc_profile=ADOBE_RGB)) == (90, 90, 90), "it is for colours"


def test_a_png_with_a_gamma_of_its_own_is_as_bright_as_that_says() -> None:
    linear = with_chunk(encoded(plain((55, 55, 55))), b"gAMA", struct.pack(">I", 100_000))
    assert differs_by(colour_of(linear), (128, 128, 128)) <= 1
    assert colour_of(with_chunk(linear, b"sRGB", b"\0")) == (55, 55, 55)
    usual = with_chunk(PNG, b"gAMA", struct.pack(">I", 45_455))
    assert normalise(usual).data == PNG


@pytest.mark.parametrize("mode", ["CMYK", "L"])
def test_a_jpeg_for_print_or_in_grey_is_a_jpeg_that_everybody_shows(mode: str) -> None:
    given = plain().convert(mode)
    normal = normalise(encoded(given, "JPEG", quality=95))
    with Image.open(io.BytesIO(normal.data)) as shown:
        assert (shown.format, shown.mode) == ("JPEG", "RGB" if mode == "CMYK" else "L")
    assert differs_by(colour_of(normal.data), given.convert("RGB").getpixel((0, 0))) < 4


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}, {"optimize": True}]
)
@pytest.mark.parametrize("profile", [b"", SRGB])
def test_a_jpeg_that_needs_nothing_keeps_its_pixels_and_loses_what_is_written(
    options: dict[str, Any], profile: bytes
) -> None:
    noise = Image.effect_noise((96, 64), 90).convert("RGB")
    photo = encoded(noise, "JPEG", quality=80, icc_profile=profile, comment=GPS, dpi=(300, 300), **options)
    photo = with_segment(photo, 0xE1, b"Exif\0\0" + exif_of(1))
    photo = with_segment(photo, 0xED, b"Photoshop 3.0\0" + GPS)
    normal = normalise(photo)
    assert normal.media_type == "image/jpeg"
    assert GPS not in normal.data
    assert b"ICC_PROFILE" not in normal.data
    bare = encoded(noise, "JPEG", quality=80, **options)
    assert normal.data == bare, "byte for byte as if nothing had been written"


def test_a_png_that_needs_nothing_keeps_its_pixels_and_loses_what_is_written() -> None:
    noise = Image.effect_noise((96, 64), 90)
    for picture in (noise, noise.convert("RGB"), noise.convert("1"), noise.convert("P")):
        bare = encoded(picture, compress_level=9)
        described = with_chunk(bare, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + GPS)
        assert normalise(with_chunk(described, b"tIME", bytes(7))).data == bare
        assert outgoing_picture(described).data == bare


def test_what_is_damaged_in_its_pixels_is_no_picture() -> None:
    with pytest.raises(MediaError):
        normalise(PNG[:50] + bytes([PNG[50] ^ 255]) + PNG[51:])
    with pytest.raises(MediaError):
        normalise(encoded(Image.effect_noise((64, 64), 90), "JPEG")[:-300])
    indexed = encoded(plain().convert("P"))
    palette = indexed.index(b"PLTE") - 4
    unnamed = indexed[:palette] + indexed[palette + 12 + int.from_bytes(indexed[palette : palette + 4]) :]
    for read in (normalise, lambda data: read_picture(data, SIZE)):
        with pytest.raises(MediaError, match="it has no palette"):
            read(unnamed)
    with pytest.raises(MediaError, match="chunks"):
        normalise(PNG[:33] + chunk(b"tEXt", b"") * 100_001 + PNG[33:])
    with pytest.raises(MediaError, match="segments"):
        normalise(b"\xff\xd8" + b"\xff\xfe\0\2" * 100_001)


def test_pictures_at_the_bound_can_be_normalised_whatever_has_to_be_done_to_them() -> None:
    large = Image.new("RGBA", (7_000, 7_000), (*RED, 128))
    data = with_chunk(encoded(large, compress_level=1, icc_profile=ADOBE_RGB), b"eXIf", exif_of(6))
    normal = normalise(data)
    with open_picture(normal.data) as (picture, _):
        assert (picture.size, picture.mode) == ((7_000, 7_000), "RGB")


def test_what_is_stored_is_what_was_checked(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    store = ArtifactStore(settings.artifacts_url)
    photo = with_segment(encoded(corners(), "JPEG"), 0xE1, b"Exif\0\0" + exif_of(6))

    def stored(given: Any) -> Artifact:
        request = VideoRequest(prompt="A boat", reference_image=given)
        (beat, *_) = plan(request, "v", settings, store).beats
        assert beat.reference_image is not None
        return beat.reference_image

    upright = stored(data_uri(photo))
    assert upright.media_type == "image/jpeg"
    assert store.get(upright) == normalise(photo).data
    assert stored(upright) == upright, "a handle of what is normalised stays"
    older = store.put(photo, "image/jpeg")
    assert stored(older) == upright, "and of what was stored before that is normalised"


def test_vendors_are_given_no_more_than_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPLICATE_API_TOKEN", "key")
    settings = Settings(data_dir=tmp_path)
    store = ArtifactStore(settings.artifacts_url)
    older = store.put(with_segment(encoded(corners(), "JPEG"), 0xE1, b"Exif\0\0" + exif_of(6)), "image/jpeg")
    for provider in (ReplicateProvider(Context(settings, store)), FalProvider(Context(settings, store))):
        sent = read_data_uri(asyncio.run(provider.picture(older)))
        assert sent.media_type == "image/jpeg"
        assert GPS not in sent.data
        with Image.open(io.BytesIO(sent.data)) as picture:
            assert picture.size == (32, 48)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_a_delivered_picture_is_normalised_and_fitted(tmp_path: Path, kind: str) -> None:
    url = tmp_path.as_uri()
    store = ArtifactStore(url)
    about = Image.Exif()
    about[0x112] = 6
    given = plain((60, 200, 60, 255), "RGBA", (96, 64))
    given.paste((0, 0, 0, 0), (0, 0, 96, 32))
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    delivered = encoded(given, kind, exif=about, icc_profile=ADOBE_RGB, **options)
    fitted = fit_image(store.put(delivered, "image/png"), Size(width=64, height=96), url)
    shown = read_picture(store.get(fitted), Size(width=64, height=96))
    assert differs_by(tuple(map(int, shown[48, 8])), (0, 201, 37)) <= 3
    assert tuple(map(int, shown[48, 56])) == WHITE
