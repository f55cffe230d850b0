"""Real media as vendors deliver it: any rate, size and codec. Each picture tells its number, for tests to read."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import numpy as np
from av.video.reformatter import Colorspace
from numpy.typing import NDArray
from PIL import Image as Picture

from raypipe.media.audio import encode_flac
from raypipe.models import Kind, Value

Pixels = NDArray[np.uint8]

#: blocks in a picture's top row, each black or white: the number of the picture in binary
BITS = 10
SAMPLE_RATE = 16_000
#: pitch of the sound that clips and tracks have
CLIP_HZ, TRACK_HZ = 440, 220
_HD_HEIGHT = 720


class ClipFormat(Value):
    """What a vendor's clips are like."""

    width: int = 1280
    height: int = 720
    fps: float = 24.0
    #: FFmpeg's name of the encoder
    codec: str = "libx264"
    pix_fmt: str = "yuv420p"
    b_frames: int = 0
    #: seconds that a clip is longer than asked for; shorter if negative
    extra_seconds: float = 0.0
    #: whether each second picture is late by half of its time
    variable: bool = False
    #: a tone in the first half of each second
    sound: bool = False
    container: str = "mp4"


def picture(width: int, height: int, red: int, green: int, blue: int) -> bytes:
    """Make a plain PNG."""
    out = io.BytesIO()
    Picture.new("RGB", (width, height), (red, green, blue)).save(out, "png", compress_level=1)
    return out.getvalue()


def colour_of(png: bytes) -> tuple[int, int, int]:
    """Read the colour in the middle of a picture."""
    with Picture.open(io.BytesIO(png)) as found:
        rgb = found.convert("RGB")
        red, green, blue = rgb.getpixel((rgb.width // 2, rgb.height // 2))  # type: ignore[misc]
    return int(red), int(green), int(blue)


def clip(seconds: float, form: ClipFormat, colour: tuple[int, int, int]) -> bytes:
    """Encode a clip whose pictures are of one colour, with their number in binary along the top."""
    with _own_priority():
        return _encoded(seconds, form, colour)


@contextmanager
def _own_priority() -> Iterator[None]:
    """Keep an encoder from changing the priority of who calls it: SVT-AV1, run by root, makes its caller real-time."""
    policy, parameters = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameters)


def _encoded(seconds: float, form: ClipFormat, colour: tuple[int, int, int]) -> bytes:
    out = io.BytesIO()
    count = max(1, round((seconds + form.extra_seconds) * form.fps))
    with av.open(out, "w", format=form.container) as container:
        rate = Fraction(form.fps).limit_denominator(1001)
        stream: Any = container.add_stream(form.codec, rate=rate, options=_options(form))
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, form.pix_fmt
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90_000)
        matrix = Colorspace.ITU709 if form.height >= _HD_HEIGHT else Colorspace.ITU601
        stream.codec_context.colorspace = matrix
        sound: Any = container.add_stream("aac", rate=SAMPLE_RATE) if form.sound else None
        for number, pixels in enumerate(_pictures(count, form, colour)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame = frame.reformat(format=form.pix_fmt, dst_colorspace=matrix, dst_color_range="MPEG")
            late = 0.5 if form.variable and number % 2 else 0.0
            frame.pts, frame.time_base = round((number + late) / form.fps * 90_000), Fraction(1, 90_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _add_sound(container, sound, count / form.fps)
    return out.getvalue()


def track(seconds: float) -> bytes:
    """Make a tone as FLAC."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return encode_flac((0.2 * np.sin(2 * np.pi * TRACK_HZ * t))[None].astype(np.float32), SAMPLE_RATE)


def sound_only() -> bytes:
    """Make an MP4 without pictures."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        _add_sound(container, container.add_stream("aac", rate=SAMPLE_RATE), 2.0)
    return out.getvalue()


def damaged(data: bytes, kind: str, first: float, last: float) -> bytes:
    """Write noise over some of the packets of a clip or track.

    Args:
        data: The clip or track.
        kind: Of the stream: "video" or "audio".
        first: Where damage begins, as a part of the stream's packets.
        last: Where it ends; at least one packet is damaged.
    """
    container: Any
    with av.open(io.BytesIO(data)) as container:
        stream = next(stream for stream in container.streams if stream.type == kind)
        packets = [(packet.pos or 0, bytes(packet)) for packet in container.demux(stream) if packet.size]
    made, begin = bytearray(data), int(len(packets) * first)
    for near, packet in packets[begin : max(begin + 1, int(len(packets) * last))]:
        at = data.index(packet, near)  # a container's own bytes may be in front of it
        made[at : at + len(packet)] = bytes(7 * byte % 256 for byte in range(len(packet)))
    return bytes(made)


def huge(kind: Kind) -> bytes:
    """Make a clip, or a picture, of more pixels than can be borne."""
    if kind is Kind.IMAGE:
        return picture(8192, 4800, 0, 0, 0)
    return clip(0.1, ClipFormat(width=8192, height=4800, codec="mjpeg", pix_fmt="yuvj420p"), (0, 0, 0))


def number_of(pixels: Pixels) -> int:
    """Read the number that stands along the top of a picture of shape (height, width, 3)."""
    height, width = pixels.shape[:2]
    side = width // (2 * BITS)
    row = pixels[height // 16, :, :].mean(axis=1)
    return sum(int(row[round((2 * bit + 0.5) * side) + side // 2] > 127) << bit for bit in range(BITS))


def _pictures(count: int, form: ClipFormat, colour: tuple[int, int, int]) -> Iterator[Pixels]:
    side = form.width // (2 * BITS)
    for number in range(count):
        pixels = np.empty((form.height, form.width, 3), np.uint8)
        pixels[:] = colour
        for bit in range(BITS):
            left = round((2 * bit + 0.5) * side)
            pixels[: form.height // 8, left : left + side] = 255 * (number >> bit & 1)
        yield pixels


def _options(form: ClipFormat) -> dict[str, str]:
    if form.codec == "libx264":
        return {"preset": "ultrafast", "bf": str(form.b_frames), "crf": "18"}
    if form.codec == "libx265":
        return {"preset": "ultrafast", "x265-params": "log-level=none"}
    if form.codec == "libsvtav1":
        return {"preset": "12", "crf": "30"}
    return {"deadline": "realtime", "cpu-used": "8", "crf": "20", "b": "0"}


def _add_sound(container: Any, stream: Any, seconds: float) -> None:
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    tone = (0.2 * np.sin(2 * np.pi * CLIP_HZ * t) * (2 * t % 2 < 1)).astype(np.float32)[None]
    for at in range(0, tone.shape[1], 1024):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(tone[:, at : at + 1024]), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, at, Fraction(1, SAMPLE_RATE)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
