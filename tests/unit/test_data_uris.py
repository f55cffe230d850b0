"""data: URIs as people and vendors write them: one reader for both, to whom the bytes say what they are."""

import asyncio
import base64
import io
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from raypipe import data_uris
from raypipe.api import create_app
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.data_uris import data_uri, is_data_uri, read_data_uri
from raypipe.errors import MediaError
from raypipe.models import Kind
from raypipe.providers.deliveries import Deliveries


def _jpeg() -> bytes:
    out = io.BytesIO()
    Image.effect_noise((64, 64), 90).convert("RGB").save(out, "JPEG")
    return out.getvalue()


JPEG = _jpeg()
TEXT = base64.b64encode(JPEG).decode()
LINES = "\r\n".join(TEXT[at : at + 76] for at in range(0, len(TEXT), 76))
assert {"+", "/"} <= {*TEXT}
assert TEXT.endswith("=")

WRITTEN = {
    "as by the book": f"data:image/jpeg;base64,{TEXT}",
    "a type that is none": f"data:image/jpg;base64,{TEXT}",
    "another type": f"data:image/png;base64,{TEXT}",
    "a type for anything": f"data:application/octet-stream;base64,{TEXT}",
    "no type": f"data:;base64,{TEXT}",
    "a character set": f"data:image/jpeg;charset=utf-8;base64,{TEXT}",
    "a name, and blanks": f"data:image/jpeg; name=a.jpg; base64, {TEXT}",
    "capitals": f"DATA:IMAGE/JPEG;BASE64,{TEXT}",
    "lines": f"data:image/jpeg;base64,{LINES}\r\n",
    "lines of their own": f"\n  data:image/jpeg;base64,\n\t{LINES}\n",
    "no padding": f"data:image/jpeg;base64,{TEXT.rstrip('=')}",
    "too much padding": f"data:image/jpeg;base64,{TEXT}==",
    "percent signs": f"data:image/jpeg;base64,{quote(TEXT, safe='')}",
    "percent signs in lines": f"data:image/jpeg;base64,{quote(LINES, safe='')}",
    "the alphabet of addresses": f"data:image/jpeg;base64,{base64.urlsafe_b64encode(JPEG).decode()}",
    "no base64": f"data:image/jpeg,{quote(JPEG)}",
}


@pytest.mark.parametrize("way", WRITTEN)
def test_a_data_uri_is_read_however_it_is_written(way: str) -> None:
    assert is_data_uri(WRITTEN[way])
    assert read_data_uri(WRITTEN[way]).data == JPEG


@pytest.mark.parametrize(
    ("uri", "media_type"),
    [
        ("data:image/WebP;charset=utf-8;base64,", "image/webp"),
        ("data:,", "application/octet-stream"),
        ("data:base64,", "application/octet-stream"),
        (data_uri(b"", "video/mp4"), "video/mp4"),
        (data_uri(b""), "application/octet-stream"),
    ],
)
def test_the_media_type_of_a_data_uri_is_what_its_writer_says(uri: str, media_type: str) -> None:
    assert read_data_uri(uri) == (b"", media_type)


@pytest.mark.parametrize(
    "uri",
    [
        "", "data", "data:", "data:image/png;base64", "https://a/data:,", "/etc/passwd", "data:;base64,!!!",
        "data:;base64,AAAAA", "data:;base64,AA=A", "data:;base64,A", "data:;base64,\ud800AAA", "data:;base64,é",
        "data:;base64,AA%zz",
    ],
)  # fmt: skip
def test_what_is_no_data_uri_is_a_media_error(uri: str) -> None:
    with pytest.raises(MediaError, match=r"no data: URI|base64 is broken"):
        read_data_uri(uri)


def test_percent_signs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_uris, "MOST_PERCENT_SIGNS", 4)
    assert read_data_uri("data:," + "%41" * 4).data == b"AAAA"
    with pytest.raises(MediaError, match="write it in base64"):
        read_data_uri("data:," + "%41" * 5)


@given(st.binary(max_size=200), st.sampled_from(["image/png", "a/b", "application/octet-stream"]))
def test_what_is_written_as_a_data_uri_is_read_as_it_was(data: bytes, media_type: str) -> None:
    assert read_data_uri(data_uri(data, media_type)) == (data, media_type)


@given(st.text(max_size=60))
def test_any_text_is_a_data_uri_or_a_media_error(text: str) -> None:
    for uri in (text, f"data:{text}", f"data:;base64,{text}"):
        try:
            read_data_uri(uri)
        except MediaError as error:
            str(error).encode()


def test_pictures_are_taken_as_data_uris_however_they_are_written(tmp_path: Path) -> None:
    async def answers() -> dict[str, int]:
        transport = httpx.ASGITransport(create_app(Settings(data_dir=tmp_path)), client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            body = {"prompt": "A boat", "model": "simulated", "seconds": 10}
            return {
                way: (await client.post("/v1/videos", json={**body, "input_reference": uri})).status_code
                for way, uri in WRITTEN.items()
            }

    assert asyncio.run(answers()) == dict.fromkeys(WRITTEN, 202)


@pytest.mark.parametrize("way", WRITTEN)
def test_deliveries_are_taken_as_data_uris_however_they_are_written(tmp_path: Path, way: str) -> None:
    store = ArtifactStore(tmp_path.as_uri())

    async def fetched() -> bytes:
        artifact = await _deliveries(store).fetch(WRITTEN[way], Kind.IMAGE, _no_headers)
        return store.get(artifact)

    assert asyncio.run(fetched()) == JPEG


def test_a_delivery_whose_base64_is_broken_is_a_media_error_that_names_the_vendor(tmp_path: Path) -> None:
    fetching = _deliveries(ArtifactStore(tmp_path.as_uri())).fetch(
        "data:;base64,!!!", Kind.IMAGE, _no_headers
    )
    with pytest.raises(MediaError, match="what fal delivered cannot be read: its base64 is broken"):
        asyncio.run(fetching)


def _deliveries(store: ArtifactStore) -> Deliveries:
    return Deliveries("fal", "fal.run", store)


def _no_headers(_: str) -> dict[str, str]:
    return {}
