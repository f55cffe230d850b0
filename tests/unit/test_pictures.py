"""Pictures that strangers bring: by their address, from public ones alone; decoded in a process of its own."""

import asyncio
import base64
import io
import struct
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from PIL import Image

from raypipe.api import create_app, pictures
from raypipe.config import Settings
from raypipe.errors import MediaError, WorkerLost
from raypipe.journal import Journal
from raypipe.media import apart
from raypipe.media.apart import normalise_apart
from raypipe.media.pictures import normalise
from raypipe.testing.media import picture
from tests.patience import patience

PNG = picture(64, 48, 200, 30, 30)


@asynccontextmanager
async def serving(body: bytes, status: int = 200, pause: float = 0.0) -> AsyncIterator[str]:
    """A server on this machine that answers everything so."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(pause)
            where = "location: http://127.0.0.1:1/\r\n" if status // 100 == 3 else ""
            head = f"HTTP/1.1 {status} X\r\ncontent-type: text/html\r\n{where}connection: close\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/a.png"
    finally:
        server.close()


async def post(settings: Settings, path: str, **fields: object) -> httpx.Response:
    transport = httpx.ASGITransport(create_app(settings), client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        body = {"prompt": "A boat", "model": "simulated", "seconds": 10, **fields}
        return await client.post(path, json=body)


def test_a_picture_is_fetched_from_its_address_wherever_one_may_be_given(tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = Settings(data_dir=tmp_path, allow_private_urls=True)
        async with serving(PNG) as url:
            beats = [
                {"prompt": "One", "duration": 5},
                {"prompt": "Two", "duration": 5, "reference_image": url},
            ]
            for fields in (
                {"input_reference": url},
                {"input_reference": {"image_url": url}},
                {"reference_pictures": [url, url]},
                {"spec": {"prompt": "A boat", "beats": beats}},
            ):
                answer = await post(settings, "/v1/videos", **fields)
                assert answer.status_code == 202, answer.text
                journal = Journal(settings.journal_url)
                (named, *more) = journal.video(answer.json()["id"]).spec.named_artifacts
                journal.close()
                assert named.media_type == "image/png", "what it is, its bytes say"
                assert {*more} <= {named}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"<html>", 200, "no PNG or JPEG"),
        (PNG, 404, "the answer there is 404"),
        (PNG, 302, "the answer there is 302"),
        (b"x" * (21 * 2**20), 200, "larger than 20 MiB"),
        (b"", 200, "the answer there is empty"),
    ],
)
def test_what_is_no_picture_or_elsewhere_is_refused(
    tmp_path: Path, body: bytes, status: int, said: str
) -> None:
    async def scenario() -> None:
        settings = Settings(data_dir=tmp_path, allow_private_urls=True)
        async with serving(body, status) as url:
            answer = await post(settings, "/v1/videos", input_reference=url)
        assert answer.status_code == 422
        assert said in answer.json()["error"]["message"]

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/a.png", "https://localhost/a.png", "https://169.254.169.254/a.png", "https://[::1]/a.png",
        "https://2130706433/", "https://0/", "https://[::ffff:10.0.0.1]/", "http://93.184.215.14/a.png", "https://",
        "https://no-such-host.invalid/", "HTTP://127.0.0.1/", "https://[64:ff9b::a00:1]/",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/videos", "/v1/plans"])
def test_no_picture_is_fetched_from_inside_our_own_network(tmp_path: Path, url: str, path: str) -> None:
    async def scenario() -> None:
        answer = await post(Settings(data_dir=tmp_path), path, input_reference=url)
        assert answer.status_code == 422, answer.text
        assert "cannot be used" in answer.json()["error"]["message"]

    asyncio.run(scenario())


def test_a_server_that_never_answers_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures, "SECONDS", 0.3)

    async def scenario() -> None:
        settings = Settings(data_dir=tmp_path, allow_private_urls=True)
        async with serving(PNG, pause=30) as url:
            began = time.monotonic()
            answer = await post(settings, "/v1/videos", input_reference=url)
        assert answer.status_code == 422
        assert time.monotonic() - began < patience(10)

    asyncio.run(scenario())


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few kilobytes that says it has so many pixels, and has them."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(1 + 4 * width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_size_before_anything_is_decoded() -> None:
    data = bomb(30_000, 3_000)
    assert len(data) < 2**20
    with pytest.raises(MediaError, match="30000x3000"):
        normalise(data)


def test_decoding_is_bounded_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    large = bomb(6_000, 6_000)
    normalise_apart(large, ("PNG",))
    monkeypatch.setattr(apart, "MEMORY", 2**27)
    with pytest.raises(MediaError, match="memory"):
        normalise_apart(large, ("PNG",))


def test_decoding_is_bounded_in_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    endless = tmp_path / "picture_decoder.py"
    endless.write_text(
        f"import runpy, sys\n"
        f"decoder = runpy.run_path({str(apart._DECODER)!r})\n"
        f"decoder['main'].__globals__['normalised'] = lambda *_: all(True for _ in iter(int, 1))\n"
        f"decoder['main'](int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])\n"
    )
    monkeypatch.setattr(apart, "_DECODER", endless)
    monkeypatch.setattr(apart, "CPU_SECONDS", 1)
    with pytest.raises(MediaError, match="more than 1 s of CPU"):
        normalise_apart(PNG, ("PNG",))


def test_a_picture_that_is_not_read_in_time_is_no_broken_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apart, "SECONDS", 0.01)
    with pytest.raises(WorkerLost, match=r"not read within 0\.01 s") as lost:
        normalise_apart(bomb(600, 600), ("PNG",))
    assert lost.value.retryable


@pytest.mark.parametrize(
    ("sent", "kind", "status"), [("KILL", WorkerLost, 503), ("TERM", WorkerLost, 503), ("SEGV", MediaError, 422)]
)  # fmt: skip
def test_a_picture_whose_decoder_somebody_else_ends_is_no_broken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: str, kind: type[Exception], status: int
) -> None:
    ending = tmp_path / "picture_decoder.py"
    ending.write_text(f"import os, signal; os.kill(os.getpid(), signal.SIG{sent})")
    monkeypatch.setattr(apart, "_DECODER", ending)
    with pytest.raises(kind, match="by signal"):
        normalise_apart(PNG, ("PNG",))
    uri = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    answer = asyncio.run(post(Settings(data_dir=tmp_path), "/v1/videos", input_reference=uri))
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) is (status == 503)


@pytest.mark.parametrize("cut", [40, 60, -200])
def test_a_picture_that_is_cut_off_is_no_picture(cut: int) -> None:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 90).save(out, "PNG")
    with pytest.raises(MediaError):
        normalise(out.getvalue()[:cut])


def test_other_formats_are_not_even_tried(tmp_path: Path) -> None:
    for kind in ("GIF", "TIFF", "BMP", "WEBP", "PPM", "ICO"):
        out = io.BytesIO()
        Image.new("RGB", (16, 16)).save(out, kind)
        with pytest.raises(MediaError, match="no PNG or JPEG"):
            normalise(out.getvalue())
    uri = f"data:image/png;base64,{base64.b64encode(b'%!PS-Adobe-3.0 EPSF').decode()}"
    answer = asyncio.run(post(Settings(data_dir=tmp_path), "/v1/videos", input_reference=uri))
    assert answer.status_code == 422
