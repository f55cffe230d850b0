"""Small pictures of films: a thumbnail, and a sheet of frames in equal steps, for a player's time line."""

import io
import math
from pathlib import Path

import av
from av.error import FFmpegError
from PIL import Image as Picture

from raypipe.errors import MediaError

#: width of a thumbnail, in pixels
THUMBNAIL_WIDTH = 480
#: frames of a sheet and in a row of it, and the width of each, in pixels
TILES, COLUMNS, TILE_WIDTH = 25, 5, 160
_QUALITY = 82


def thumbnail(picture: bytes) -> bytes:
    """Make a picture smaller, as JPEG.

    Raises:
        MediaError: It is no picture.
    """
    try:
        with Picture.open(io.BytesIO(picture)) as opened:
            height = max(1, round(opened.height * THUMBNAIL_WIDTH / opened.width))
            return _jpeg(opened.convert("RGB").resize((THUMBNAIL_WIDTH, height)))
    except (OSError, ValueError) as error:
        raise MediaError(f"no thumbnail can be made of it: {error}") from error


def sprite_sheet(film: Path) -> bytes:
    """Put frames of a film beside each other, in equal steps of time, row by row, as JPEG.

    Raises:
        MediaError: It is no film.
    """
    try:
        with av.open(str(film)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            tile = TILE_WIDTH, max(2, round(TILE_WIDTH * stream.height / stream.width))
            sheet = Picture.new("RGB", (COLUMNS * tile[0], math.ceil(TILES / COLUMNS) * tile[1]))
            for number in range(TILES):
                frame = _frame_at(container, stream, number / TILES)
                place = number % COLUMNS * tile[0], number // COLUMNS * tile[1]
                shown = Picture.fromarray(frame.to_ndarray(format="rgb24"))
                sheet.paste(shown.resize(tile), place)
    except (FFmpegError, IndexError, ValueError) as error:
        raise MediaError(f"no sheet can be made of it: {error}") from error
    return _jpeg(sheet)


def _frame_at(container: av.container.InputContainer, stream: av.VideoStream, part: float) -> av.VideoFrame:
    """Return the first frame that can be shown at some part of a film."""
    wanted = int(part * (stream.duration or 0))
    container.seek(wanted, stream=stream)
    for frame in container.decode(stream):
        if (frame.pts or 0) >= wanted:
            return frame
    raise MediaError("the film ends before its length")


def _jpeg(picture: Picture.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=_QUALITY, optimize=True)
    return out.getvalue()
