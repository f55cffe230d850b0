import io
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture

from raypipe.errors import MediaError
from raypipe.media.pictures import normalise
from raypipe.media.video import (
    Plane,
    encode_clip,
    frame_as_png,
    middle_colour,
    png_text,
    probe,
    read_picture,
    to_planes,
    to_rgb,
    with_png_text,
    write_png,
)
from raypipe.models import Size

SIZE = Size(width=96, height=64)


def picture(number: int = 0) -> Plane:
    y, x = np.mgrid[0 : SIZE.height, 0 : SIZE.width]
    return np.stack(
        [20 + x // 2 + 3 * number, 20 + 3 * number + y // 2, 230 - x // 2 - 3 * number], axis=-1
    ).astype(np.uint8)


def psnr(one: Plane, other: Plane) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(float) - other) ** 2)))


def test_a_clip_has_the_frames_size_rate_and_format_it_was_given() -> None:
    info = probe(encode_clip((to_planes(picture(i)) for i in range(37)), SIZE, 24))
    assert (info.width, info.height, info.fps, info.frames) == (96, 64, 24, 37)
    assert (info.codec, info.pix_fmt) == ("h264", "yuv420p")
    assert info.seconds == pytest.approx(37 / 24)


def test_the_same_frames_give_the_same_bytes() -> None:
    clips = {encode_clip((to_planes(picture(i)) for i in range(10)), SIZE, 24) for _ in range(2)}
    assert len(clips) == 1


def test_a_clips_index_comes_before_its_data() -> None:
    clip = encode_clip([to_planes(picture())], SIZE, 24)
    assert clip.index(b"moov") < clip.index(b"mdat")


@pytest.mark.parametrize("index", [0, 1, 47, 48, 49, 59])
def test_a_frame_taken_from_a_clip_is_the_one_that_was_put_in(index: int) -> None:
    clip = encode_clip((to_planes(picture(i)) for i in range(60)), SIZE, 24)
    found = read_picture(frame_as_png(clip, index), SIZE)
    distances = [psnr(found, picture(i)) for i in range(60)]
    assert int(np.argmax(distances)) == index
    assert distances[index] > 38


def test_past_the_end_of_a_clip_is_its_last_frame() -> None:
    clip = encode_clip((to_planes(picture(i)) for i in range(20)), SIZE, 24)
    assert frame_as_png(clip, 500) == frame_as_png(clip, 19)


def test_colours_survive_the_way_to_yuv_and_back() -> None:
    assert psnr(to_rgb(to_planes(picture())), picture()) > 40


def test_a_picture_of_another_shape_is_cropped_to_fill() -> None:
    wide = write_png(np.full((50, 200, 3), (10, 200, 30), np.uint8))
    rgb = read_picture(wide, SIZE)
    assert rgb.shape == (64, 96, 3)
    assert (rgb == (10, 200, 30)).all()


def test_text_added_to_a_png_can_be_read_and_leaves_the_picture() -> None:
    png = with_png_text(write_png(picture()), "scene", "sea at night")
    assert png_text(png)["scene"] == "sea at night"
    assert (read_picture(png, SIZE) == picture()).all()
    assert middle_colour(png) == tuple(picture()[32, 48])


@pytest.mark.parametrize(
    "data", [b"", b"not a clip", b"\x00\x00\x00\x18ftypmp42", b"#EXTM3U\nfile:///etc/passwd"]
)
def test_bytes_that_are_no_clip_are_a_media_error(data: bytes) -> None:
    with pytest.raises(MediaError):
        probe(data)


def test_a_truncated_clip_is_a_media_error() -> None:
    clip = encode_clip((to_planes(picture(i)) for i in range(20)), SIZE, 24)
    with pytest.raises(MediaError):
        frame_as_png(clip[: len(clip) // 4], 0)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0 broken"])
def test_bytes_that_are_no_picture_are_a_media_error(data: bytes) -> None:
    with pytest.raises(MediaError):
        normalise(data)


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    out = io.BytesIO()
    Picture.new("1", (9_000, 9_000)).save(out, "png")
    with pytest.raises(MediaError, match="too large"):
        normalise(out.getvalue())


def picture_bytes(picture: Picture.Image, kind: str = "JPEG", **options: Any) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)
    return out.getvalue()


def test_a_phones_portrait_is_read_upright() -> None:
    sideways = Picture.new("RGB", (80, 40), (250, 0, 0))
    sideways.paste((0, 0, 250), (0, 0, 40, 40))  # left half blue: turned by 90 degrees, the upper one
    exif = Picture.Exif()
    exif[0x0112] = 6
    read = read_picture(picture_bytes(sideways, exif=exif), Size(width=40, height=80))
    assert read[10, 20, 2] > 200
    assert read[70, 20, 0] > 200


@pytest.mark.parametrize("side", [8_000, 10_000, 14_000])
def test_a_picture_that_is_too_large_is_a_media_error_however_large_it_is(side: int) -> None:
    with pytest.raises(MediaError, match="too large"):
        normalise(picture_bytes(Picture.new("1", (side, side)), "PNG"))


def test_what_is_no_picture_is_said_to_be_none_in_words() -> None:
    with pytest.raises(MediaError, match=r"^it is no PNG or JPEG picture$"):
        normalise(b"<html>")


@pytest.mark.parametrize(("kind", "media_type"), [("PNG", "image/png"), ("JPEG", "image/jpeg")])
def test_what_a_picture_is_its_bytes_say(kind: str, media_type: str) -> None:
    assert normalise(picture_bytes(Picture.new("RGB", (8, 8)), kind)).media_type == media_type
