"""Clips are shown as they say: HDR and wide colours within ours, fields as whole pictures, a cover not at all."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.filter
import numpy as np
import pytest
from av.stream import Disposition
from numpy.typing import NDArray

from raypipe.errors import MediaError
from raypipe.media.door import fit_clip
from raypipe.media.tone import Tone, add_mapping, mapped
from raypipe.models import FPS, Size
from raypipe.testing import media
from raypipe.testing.media import ClipFormat

SIZE = Size(width=320, height=180)
FRAMES = 12
PQ, HLG, BT2020, P3 = 16, 18, 9, 12


def fit(folder: Path, data: bytes) -> list[NDArray[np.uint8]]:
    """Return the pictures of a clip behind the door."""
    source, out = folder / "delivered", folder / "fitted.mp4"
    source.write_bytes(data)
    assert fit_clip(source, out, SIZE, FPS, FRAMES, False) is not None
    with av.open(str(out)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def hdr(codes: tuple[int, int, int], transfer: int, primaries: int = BT2020) -> bytes:
    """Encode a clip of one colour, given as Y, Cb and Cr of 10 bits, that says what its numbers stand for."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        options = {"preset": "ultrafast", "x265-params": "log-level=none", "qp": "4"}
        stream: Any = container.add_stream("libx265", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.color_primaries, context.colorspace, context.color_range = (
            transfer,
            primaries,
            9,
            1,
        )
        for number in range(FRAMES):
            frame = av.VideoFrame(320, 180, "yuv420p10le")
            for plane, code in zip(frame.planes, codes, strict=True):
                plane.update(np.full(plane.buffer_size // 2, code, np.uint16).tobytes())
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            frame.color_trc, frame.color_primaries, frame.colorspace, frame.color_range = (
                transfer,
                primaries,
                9,
                1,
            )
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def grey(code: int, transfer: int) -> bytes:
    return hdr((code, 512, 512), transfer)


#: luma of PQ (SMPTE ST 2084, 10 bits, limited range) for cd/m2, and of HLG for parts of its signal
@pytest.mark.parametrize(
    ("transfer", "code", "least", "most"),
    [
        (PQ, 573, 200, 240),  # 203 cd/m2, white of paper
        (PQ, 64, 0, 2),
        (PQ, 723, 250, 255),  # 1,000 cd/m2
        (PQ, 940, 250, 255),  # 10,000 cd/m2
        (PQ, 401, 90, 125),  # 26 cd/m2, a grey of 13 %
        (HLG, 721, 200, 240),  # 75 %, white of paper
        (HLG, 64, 0, 2),
        (HLG, 940, 250, 255),
    ],
)
def test_hdr_is_mapped_so_that_paper_is_white_and_black_is_black(
    tmp_path: Path, transfer: int, code: int, least: int, most: int
) -> None:
    pixel = fit(tmp_path, grey(code, transfer))[FRAMES // 2][90, 160]
    assert least <= pixel.min() <= pixel.max() <= most
    assert pixel.max() - pixel.min() <= 3


@pytest.mark.parametrize("transfer", [PQ, HLG])
def test_what_is_brighter_in_hdr_is_brighter_here(tmp_path: Path, transfer: int) -> None:
    greens = [int(fit(tmp_path, grey(code, transfer))[0][90, 160, 1]) for code in (200, 350, 500, 600, 700)]
    assert greens == sorted(set(greens))


def test_wide_colours_become_the_same_colours_in_ours(tmp_path: Path) -> None:
    # red of BT.709 at full strength, in the primaries of BT.2020: R, G, B of 0.627, 0.069, 0.016 in linear light
    red, green, blue = (part ** (1 / 2.4) for part in (0.6274, 0.0691, 0.0164))
    luma = 0.2627 * red + 0.6780 * green + 0.0593 * blue
    codes = 64 + 876 * luma, 512 + 896 * (blue - luma) / 1.8814, 512 + 896 * (red - luma) / 1.4746
    pixel = fit(tmp_path, hdr(tuple(round(code) for code in codes), 1))[0][90, 160]  # type: ignore[arg-type]
    assert np.abs(pixel.astype(int) - (255, 0, 0)).max() <= 20


@pytest.mark.parametrize("tone", [Tone(PQ, BT2020), Tone(HLG, BT2020), Tone(PQ, P3), Tone(1, P3)])
def test_the_table_is_the_mapping(tone: Tone) -> None:
    codes = np.random.default_rng(1).random((64 * 64, 3)) * 0.8
    frame = av.VideoFrame(64, 64, "gbrp16le")
    for plane, channel in zip(frame.planes, (1, 2, 0), strict=True):
        plane.update(np.rint(codes[:, channel] * 65_535).astype(np.uint16).tobytes())
    graph = av.filter.Graph()
    source = graph.add_buffer(width=64, height=64, format="gbrp16le", time_base=Fraction(1, 24))
    graph.link_nodes(source, add_mapping(graph, tone), graph.add("buffersink")).configure()
    graph.push(frame)
    made: Any = graph.pull()
    shown = np.stack([np.frombuffer(bytes(made.planes[plane]), np.uint16) for plane in (2, 0, 1)], axis=-1)
    error = np.abs(shown / 65_535 - mapped(codes, tone))
    assert error.mean() < 0.01
    assert np.quantile(error, 0.99) < 0.08  # where a colour leaves ours, the table cuts a corner


def interlaced() -> bytes:
    """Encode a white bar that moves by 16 pixels from field to field."""
    out = io.BytesIO()
    with av.open(out, "w", format="mp4") as container:
        options = {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "10"}
        stream: Any = container.add_stream("libx264", rate=FPS, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "yuv420p"
        for number in range(FRAMES):
            pixels = np.full((180, 320, 3), 30, np.uint8)
            for field in range(2):
                left = (2 * number + field) * 12
                pixels[field::2, left : left + 40] = 220
            frame = av.VideoFrame.from_ndarray(pixels).reformat(format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


def combing(picture: NDArray[np.uint8]) -> float:
    """Measure how much lines differ from those above and below."""
    lines = picture.astype(float).mean(axis=2)
    return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())


def test_two_fields_become_a_picture_without_a_comb(tmp_path: Path) -> None:
    data = interlaced()
    with av.open(io.BytesIO(data)) as container:
        frames = list(container.decode(video=0))
    assert all(frame.interlaced_frame for frame in frames)
    delivered = [combing(frame.to_ndarray(format="rgb24")) for frame in frames]
    shown = fit(tmp_path, data)
    assert len(shown) == FRAMES
    assert max(map(combing, shown[1:-1])) < min(delivered) / 4
    # the bar is where it was: each picture is shown at its own time
    places = [int(np.flatnonzero(picture[90, :, 0] > 127)[0]) for picture in shown[1:-1]]
    assert places == pytest.approx([24 * number for number in range(1, FRAMES - 1)], abs=14)


def with_cover(video: bool) -> bytes:
    """Make a file of sound with the picture of a cover, and a clip's pictures if wanted."""
    out = io.BytesIO()
    clip = media.clip(0.5, ClipFormat(width=320, height=180, sound=True), (200, 60, 60))
    with av.open(io.BytesIO(clip)) as source, av.open(out, "w", format="mp4") as container:
        cover: Any = container.add_stream("mjpeg", rate=FPS)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        kept = [*source.streams.video, *source.streams.audio] if video else [*source.streams.audio]
        streams = {stream.index: container.add_stream_from_template(stream) for stream in kept}
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), (0, 0, 200), np.uint8))
        picture.pts = 0
        container.mux([*cover.encode(picture), *cover.encode(None)])
        for packet in source.demux(kept):
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                container.mux(packet)
    return out.getvalue()


def test_sound_with_the_picture_of_a_cover_is_no_clip_and_a_clip_with_one_is_one(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="sound with a picture of its cover"):
        fit(tmp_path, with_cover(video=False))
    pixel = fit(tmp_path, with_cover(video=True))[0][90, 160]
    assert np.abs(pixel.astype(int) - (200, 60, 60)).max() <= 8
