"""Clips and pictures: encode, probe, last frame. Frames are 8-bit yuv420p, BT.709, limited range."""

import io
import tempfile
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple, cast

import av
import numpy as np
from av.container import InputContainer
from av.video.reformatter import ColorPrimaries, Colorspace, ColorTrc, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from raypipe.errors import MediaError
from raypipe.media.audio import add_aac_stream, why, write_aac
from raypipe.media.picture_decoder import as_shown
from raypipe.media.pictures import DELIVERED, normalise, open_picture
from raypipe.media.resampling import Samples
from raypipe.models import Size

Plane = NDArray[np.uint8]

#: x264 settings of every clip raypipe encodes. No B-frames: the last frame of a clip can then be dropped without
#: re-encoding, which is how a seam's duplicate frame is trimmed. Fixed threads: the same frames give the same bytes.
ENCODER_OPTIONS = {
    "preset": "veryfast",
    "crf": "19",
    "bf": "0",
    "g": "48",
    "threads": "1",
    # a third less time for a tenth more bytes than the preset's own choice, at the same PSNR
    "x264-params": "subme=1:ref=1",
}
#: ticks a second of every clip's time base; a multiple of 24, 25, 30, 50 and 60
TIMESCALE = 12_000
#: samples a second of the sound that clips are kept with
SOUND_RATE = 48_000
_IHDR_END = 33


class Planes(NamedTuple):
    """One picture: luma of shape (height, width), chroma of half that in both directions, all uint8."""

    y: Plane
    u: Plane
    v: Plane


class ClipInfo(NamedTuple):
    """What a clip is made of."""

    width: int
    height: int
    fps: Fraction
    frames: int
    codec: str
    pix_fmt: str

    @property
    def seconds(self) -> float:
        """Length of the clip."""
        return float(self.frames / self.fps)


#: pixels up to which a decoder's threads take longer to start than it takes to decode
SMALL_PICTURE = 320 * 180


@contextmanager
def open_clip(source: Path | bytes) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open an MP4 for reading and give the container with its first video stream.

    Raises:
        MediaError: The source is no MP4 with a video stream.
    """
    handle = io.BytesIO(source) if isinstance(source, bytes) else str(source)
    try:
        with av.open(handle, format="mp4") as container:
            if not container.streams.video:
                raise MediaError("the clip holds no video stream")
            yield cast(InputContainer, container), container.streams.video[0]
    except av.FFmpegError as error:
        raise MediaError(f"the clip cannot be read: {why(error)}") from error


def probe(source: Path | bytes) -> ClipInfo:
    """Say what a clip is made of, without decoding it.

    Raises:
        MediaError: The source is no MP4 with a video stream.
    """
    with open_clip(source) as (_, stream):
        return ClipInfo(
            width=stream.width,
            height=stream.height,
            fps=stream.average_rate or Fraction(0),
            frames=stream.frames,
            codec=stream.codec_context.name,
            pix_fmt=stream.codec_context.pix_fmt or "",
        )


def to_planes(rgb: Plane) -> Planes:
    """Convert an RGB picture of shape (height, width, 3), both even, to yuv420p."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    converted = _reformatter().reformat(
        frame,
        format="yuv420p",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range="JPEG",
        dst_color_range="MPEG",
    )
    return planes_of(converted)


def planes_of(frame: av.VideoFrame) -> Planes:
    """Copy the planes out of a yuv420p frame."""
    flat = cast(Plane, frame.to_ndarray(format="yuv420p"))
    height, width = frame.height, frame.width
    chroma = flat[height:].reshape(2, height // 2, width // 2)
    return Planes(flat[:height], chroma[0], chroma[1])


def frame_of(planes: Planes) -> av.VideoFrame:
    """Make a frame of planes, tagged with the colours it is in."""
    height, width = planes.y.shape
    frame = av.VideoFrame(width, height, "yuv420p")
    for target, plane in zip(frame.planes, planes, strict=True):
        rows, columns = plane.shape
        view = np.frombuffer(cast(memoryview, target), np.uint8).reshape(-1, target.line_size)
        view[:rows, :columns] = plane
    _tag(frame)
    return frame


def to_rgb(planes: Planes) -> Plane:
    """Convert yuv420p to an RGB picture of shape (height, width, 3)."""
    return _rgb(frame_of(planes))


def read_picture(data: bytes, size: Size) -> Plane:
    """Decode a stored PNG or JPEG to RGB of shape (height, width, 3), scaled and cropped to fill the size.

    One that was stored before pictures were normalised is shown in the same way.

    Raises:
        MediaError: The bytes are no PNG or JPEG picture of bearable size.
    """
    with open_picture(data) as (picture, bare):
        rgb = as_shown(picture, bare).convert("RGB")
        return np.asarray(rgb if rgb.size == (size.width, size.height) else _fill(rgb, size))


def read_delivered_picture(data: bytes, size: Size) -> Plane:
    """Normalise what a vendor has delivered, which may be a WebP too, and decode that as `read_picture` does.

    Raises:
        MediaError: The bytes are no PNG, JPEG or WebP picture of bearable size.
    """
    return read_picture(normalise(data, DELIVERED).data, size)


def middle_colour(data: bytes) -> tuple[int, int, int]:
    """Read the red, green and blue of the pixel in the middle of a PNG or JPEG.

    Raises:
        MediaError: The bytes are no PNG or JPEG picture of bearable size.
    """
    with open_picture(data) as (picture, _):
        rgb = picture if picture.mode == "RGB" else picture.convert("RGB")
        return cast(tuple[int, int, int], rgb.getpixel((rgb.width // 2, rgb.height // 2)))


def write_png(rgb: Plane, **text: str) -> bytes:
    """Encode an RGB picture of shape (height, width, 3) as PNG, with text chunks by keyword."""
    info = PngInfo()
    for key, value in text.items():
        info.add_text(key, value)
    out = io.BytesIO()
    Picture.fromarray(rgb).save(out, "png", compress_level=1, pnginfo=info)
    return out.getvalue()


def with_png_text(png: bytes, keyword: str, text: str) -> bytes:
    """Add a text chunk to an encoded PNG, behind its IHDR chunk (PNG specification, 11.2.1 and 11.3.3.2)."""
    body = b"tEXt" + keyword.encode("latin-1") + b"\0" + text.encode("latin-1", "replace")
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    return png[:_IHDR_END] + chunk + png[_IHDR_END:]


def png_text(data: bytes) -> dict[str, str]:
    """Read the text chunks of a PNG; anything else has none."""
    try:
        with Picture.open(io.BytesIO(data), formats=("PNG",)) as picture:
            return {str(key): value for key, value in picture.info.items() if isinstance(value, str)}
    except (OSError, ValueError):
        return {}


def encode_clip(frames: Iterable[Planes], size: Size, fps: int) -> bytes:
    """Encode frames as an H.264 MP4 with the index in front. Frames are taken one at a time, never held."""
    with tempfile.NamedTemporaryFile(suffix=".mp4") as file:
        write_clip(Path(file.name), map(frame_of, frames), size, fps)
        return Path(file.name).read_bytes()


def write_clip(
    out: Path, frames: Iterable[av.VideoFrame], size: Size, fps: int, sound: Samples | None = None
) -> None:
    """Encode frames, tagged with their colours, as an H.264 MP4 with the index in front, with sound at SOUND_RATE."""
    with av.open(str(out), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = add_video_stream(container, size, Fraction(fps))
        if sound is not None:
            write_aac(container, add_aac_stream(container, sound, SOUND_RATE), sound)
        for index, frame in enumerate(frames):
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def add_video_stream(container: Any, size: Size, fps: Fraction) -> VideoStream:
    """Add the H.264 stream that every clip raypipe encodes has."""
    stream = cast(VideoStream, container.add_stream("libx264", rate=fps, options=ENCODER_OPTIONS))
    stream.width, stream.height, stream.pix_fmt = size.width, size.height, "yuv420p"
    stream.time_base = Fraction(1, TIMESCALE)
    context = stream.codec_context
    context.colorspace = Colorspace.ITU709
    context.color_primaries = ColorPrimaries.BT709
    context.color_trc = ColorTrc.BT709
    context.color_range = 1  # limited
    return stream


def frame_as_png(source: Path | bytes, index: int) -> bytes:
    """Decode frame `index` of a clip, counted from 0, and encode it as PNG; past the end gives the last frame.

    Only the frames since the key frame before it are decoded.

    Raises:
        MediaError: The clip cannot be decoded.
    """
    with open_clip(source) as (container, stream):
        rate, base = stream.average_rate, stream.time_base
        if rate is None or base is None:
            raise MediaError("the clip gives no frame rate")
        if stream.width * stream.height <= SMALL_PICTURE:
            stream.codec_context.thread_count = 1
        wanted = min(index, max(stream.frames - 1, 0))
        container.seek(int(wanted / rate / base), stream=stream, backward=True)
        found, frames_a_tick = None, float(base * rate)
        for frame in container.decode(stream):
            if frame.pts is not None and round(frame.pts * frames_a_tick) > wanted:
                break
            found = frame
        if found is None:
            raise MediaError(f"the clip has no frame {index}")
        return write_png(_rgb(found))


def _rgb(frame: av.VideoFrame) -> Plane:
    converted = _reformatter().reformat(
        frame,
        format="rgb24",
        src_colorspace=Colorspace.ITU709,
        dst_colorspace=Colorspace.ITU709,
        src_color_range="MPEG",
        dst_color_range="JPEG",
    )
    return cast(Plane, converted.to_ndarray())


_threads = threading.local()


def _reformatter() -> VideoReformatter:
    """Return the thread's own converter, for its tables take longer to make than a small picture to convert."""
    if not hasattr(_threads, "reformatter"):
        _threads.reformatter = VideoReformatter()
    return cast(VideoReformatter, _threads.reformatter)


def _tag(frame: av.VideoFrame) -> None:
    frame.colorspace = Colorspace.ITU709
    frame.color_range = 1
    frame.color_primaries = ColorPrimaries.BT709
    frame.color_trc = ColorTrc.BT709


def _fill(picture: Picture.Image, size: Size) -> Picture.Image:
    scale = min(picture.width / size.width, picture.height / size.height)
    width, height = size.width * scale, size.height * scale
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    box = (left, top, left + width, top + height)
    return picture.resize((size.width, size.height), Picture.Resampling.LANCZOS, box=box)
