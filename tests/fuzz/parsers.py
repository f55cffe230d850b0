"""What reads bytes of others: each function here raises only if its parser has raised what it should not."""

import asyncio
import functools
import io
import os
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import stamina
from PIL import Image, ImageCms
from pydantic import ValidationError

from raypipe import text
from raypipe.api import create_app
from raypipe.artifacts import ArtifactStore
from raypipe.cli.request import parse_spec
from raypipe.config import Settings
from raypipe.errors import MediaError, RaypipeError
from raypipe.intake import plan
from raypipe.media.door import fit_clip
from raypipe.media.picture_decoder import normalised
from raypipe.media.pictures import DELIVERED, UPLOADED, open_picture
from raypipe.media.video import read_picture
from raypipe.models import Job, Kind, Size, Spec, VideoRequest
from raypipe.providers.base import Context, ImageWork
from raypipe.providers.fal import FalProvider
from raypipe.providers.http import HttpProvider
from raypipe.providers.replicate import ReplicateProvider
from raypipe.testing.media import ClipFormat, clip, picture
from tests.patience import patience

from .choices import Choices

Parser = Callable[[bytes], None]

_SMALL = Size(width=64, height=36)
_FIELDS = (
    *VideoRequest.model_fields, "beats", "index", "duration_s", "spec", "model", "seconds", "size", "input_reference",
    "callback", "budget", "seed", "fps", "take", "reference_image", "url", "key", "action", "image", "clip", "music",
)  # fmt: skip


@functools.cache
def _here() -> Settings:
    """Settings of an installation of this process's own, in the folder where the fuzzer was started."""
    os.environ |= {"FAL_KEY": "the-key", "REPLICATE_API_TOKEN": "the-key"}
    return Settings(data_dir=Path.cwd() / "data", allow_private_urls=False)


@functools.cache
def _store() -> ArtifactStore:
    return ArtifactStore(_here().artifacts_url)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    return asyncio.new_event_loop()


def prompt(data: bytes) -> None:
    """Plan a request; what is planned is written and read again as it is."""
    choices = Choices(data)
    typed = choices.text() if choices.yes() else choices.rest().decode(errors="replace")
    _plan({"prompt": typed})


def request(data: bytes) -> None:
    """Plan a request with all that a request may say."""
    _plan({"prompt": "A boat", **Choices(data).document(_FIELDS)})


def _plan(document: dict[str, Any]) -> None:
    try:
        spec = plan(VideoRequest.model_validate(document), "v", _here(), _store())
    except (ValidationError, RaypipeError) as error:
        text.printable(str(error)).encode()
        return
    assert Spec.model_validate_json(spec.model_dump_json()) == spec


def spec(data: bytes) -> None:
    """Read a spec of a file."""
    try:
        parse_spec("-", Choices(data).body(_FIELDS))
    except RaypipeError as error:
        str(error).encode()


def foreign_text(data: bytes) -> None:
    """Make a text fit to be stored and printed."""
    said = Choices(data).text()
    for fit in (text.valid_text(said), text.printable(said)):
        assert not {"\x1b", "\0"} & set(fit)
        fit.encode()
    assert len(text.valid_text(said, 10)) <= 10


def delivered_picture(data: bytes) -> None:
    """Normalise a picture that a vendor has delivered, as its own process does, and read it."""
    try:
        with open_picture(data, DELIVERED):
            normal = normalised(data, DELIVERED)
    except MediaError as error:
        str(error).encode()
        return
    assert normalised(normal, UPLOADED) == normal
    assert read_picture(normal, _SMALL).shape == (36, 64, 3)


def delivered_clip(data: bytes) -> None:
    """Read a clip that a vendor has delivered."""
    source, out = Path("clip"), Path("fitted.mp4")
    source.write_bytes(data)
    try:
        fit_clip(source, out, _SMALL, 24, 3, skip_first=bool(data[-1:] > b"\x7f"))
    except MediaError as error:
        str(error).encode()


def vendor_answer(data: bytes) -> None:
    """Read what a vendor answers to a create and to a poll."""
    choices = Choices(data)
    provider = choices.one_of(_providers())
    provider._client = httpx.AsyncClient(transport=httpx.MockTransport(lambda _: _answer(choices)))
    try:
        if choices.yes():
            _loop().run_until_complete(provider.submit(_work(), "token"))
        else:
            _loop().run_until_complete(provider.poll("a job", _work()))
    except RaypipeError as error:
        text.valid_text(error).encode()


def _answer(choices: Choices) -> httpx.Response:
    names = (
        "id", "request_id", "status", "error", "output", "detail", "message", "title", "images", "image", "video",
        "audio", "audio_file", "url", "data_removed", "logs", "file_data", "loc", "msg", "ctx", "type",
    )  # fmt: skip
    status = choices.one_of(
        (200, 200, 200, 201, 204, 302, 400, 401, 402, 403, 404, 408, 409, 422, 429, 500, 503, 599)
    )
    headers = {"Retry-After": choices.text().encode("ascii", "replace")} if choices.yes() else {}
    return httpx.Response(status, headers=headers, content=choices.body(names))


@functools.cache
def _providers() -> list[HttpProvider]:
    stamina.set_testing(True, attempts=1)
    found = [each(Context(_here(), _store())) for each in (FalProvider, ReplicateProvider)]
    for provider in found:
        # addresses that a fuzzer makes are not looked up
        delivered = httpx.MockTransport(lambda _: httpx.Response(200, content=b"a picture"))
        provider._deliveries._client = httpx.AsyncClient(transport=delivered)
    return found


@functools.cache
def _work() -> ImageWork:
    model = "fal/fal-ai/flux/schnell"
    wanted = VideoRequest(prompt="A boat", models={Kind.IMAGE: (model,)})
    planned = plan(wanted, "v", _here(), _store())
    return ImageWork(job=Job.of("v", planned), model=model, beat=planned.beats[0])


def http_request(data: bytes) -> None:
    """Answer a request, whatever is in it: always, and never with 5xx."""
    choices = Choices(data)
    status, body = _loop().run_until_complete(_asked(choices))
    assert 200 <= status < 500, body
    if status == 202 and b'"id":"' in body:
        _VIDEO[:] = [body.partition(b'"id":"')[2].partition(b'"')[0].decode()]


_VIDEO = ["v_0"]
_PATHS = (
    "/v1/videos", "/v1/videos", "/v1/plans", "/v1/models", "/v1/webhooks", "/v1/webhooks/{}", "/v1/session",
    "/v1/videos/{id}", "/v1/videos/{id}/cancel", "/v1/videos/{id}/continue", "/v1/videos/{id}/retry",
    "/v1/videos/{id}/beats/{}", "/v1/videos/{id}/content", "/v1/videos/{id}/timeline", "/v1/videos/{}", "/v1/{}",
    "/v1/videos/{id}/chunks/{}", "/v1/videos/{id}/images/{}", "/v1/videos/{id}/{}/{}", "/v1/hooks/{}", "/studio/{}",
    "/v1/artifacts/{}", "/{}",
)  # fmt: skip
_HEADERS = (
    "authorization", "cookie", "origin", "host", "range", "if-range", "if-none-match", "last-event-id", "prefer",
    "idempotency-key", "content-type", "content-length", "x-forwarded-for", "accept", "sec-fetch-site", "expect",
)  # fmt: skip
_VALUES = (
    "bytes=0-1", "bytes=-0", "bytes=9-1,0-0,5-", "wait=1", "wait=-1", "wait=1e9", "Bearer ", "Bearer rp_x", "null",
    "multipart/form-data", "multipart/form-data; boundary=b",
    "application/json; charset=utf-16", "http://[", "::1",
    "application/x-www-form-urlencoded", "raypipe_key=x", "W/\"a\", *", "9" * 30,
)  # fmt: skip
_QUERY = ("after", "limit", "order", "status", "state", "variant", "take", "download", "allow_missing", "x")


async def _asked(choices: Choices) -> tuple[int, bytes]:
    method = choices.one_of(("GET", "POST", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"))
    path = choices.one_of(_PATHS).replace("{id}", _VIDEO[0])
    while "{}" in path:
        path = path.replace("{}", choices.text(), 1)
    path = urllib.parse.unquote(urllib.parse.quote(path, errors="replace"))
    if path.endswith("events"):
        return 200, b""  # it never ends
    pairs = [(choices.one_of(_QUERY), choices.text()) for _ in range(choices.up_to(3))]
    query = urllib.parse.urlencode(pairs, errors="replace").encode()
    headers = {"host": "127.0.0.1:8000", "content-type": choices.one_of(("application/json", *_VALUES))}
    for _ in range(choices.up_to(3)):
        headers[choices.one_of(_HEADERS)] = choices.one_of(_VALUES) if choices.yes() else choices.text()
    body = choices.body(_FIELDS)
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": method,
        "path": path, "raw_path": path.encode(), "query_string": query, "root_path": "", "client": ("127.0.0.1", 4711),
        "server": ("127.0.0.1", 8000), "headers": [(name.encode(), _header(value)) for name, value in headers.items()],
    }  # fmt: skip
    return await _answered(scope, body)


def _header(value: str) -> bytes:
    """Return what a server lets through as a header's value (RFC 9110, 5.5)."""
    return bytes(each for each in value.encode("utf-8", "replace") if each == 9 or 32 <= each != 127).strip()


async def _answered(scope: dict[str, Any], body: bytes) -> tuple[int, bytes]:
    messages: Iterator[dict[str, Any]] = iter([{"type": "http.request", "body": body, "more_body": False}])
    status, sent = [0], io.BytesIO()

    async def receive() -> dict[str, Any]:
        return next(messages, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        status[0] = message.get("status", status[0])
        sent.write(message.get("body", b""))

    async with asyncio.timeout(patience(20)):
        await _app()(scope, receive, send)
    return status[0], sent.getvalue()


@functools.cache
def _app() -> Any:
    return create_app(_here())


PARSERS: dict[str, Parser] = {
    each.__name__: each
    for each in (
        prompt, request, spec, foreign_text, delivered_picture, delivered_clip, vendor_answer, http_request,
    )
}  # fmt: skip


def _encoded(kind: str) -> bytes:
    """A picture that is turned, has a profile and, where there are such, is transparent."""
    out, about = io.BytesIO(), Image.Exif()
    about[0x0112] = 6
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    mode = "RGB" if kind == "JPEG" else "RGBA"
    Image.new(mode, (32, 18), "#c81e1e80").save(out, kind, exif=about, icc_profile=profile)
    return out.getvalue()


def any_of_them(data: bytes) -> None:
    """Give the parser that the first byte says the rest: one process for all, which begins sooner."""
    if data:
        list(PARSERS.values())[data[0] % len(PARSERS)](data[1:])


def seeds(name: str) -> list[bytes]:
    """Return what a parser is meant to read, for the fuzzer to begin with."""
    if name == any_of_them.__name__:
        return [bytes([number]) + seed for number, each in enumerate(PARSERS) for seed in seeds(each)]
    if name == "delivered_picture":
        return [picture(64, 36, 200, 30, 30), *map(_encoded, ("JPEG", "WEBP", "PNG"))]
    if name == "delivered_clip":
        return [clip(0.2, form, (200, 30, 30)) for form in (ClipFormat(width=64, height=36, fps=24),)]
    return [b"A lighthouse in a storm", b"\1" * 64, b"\0" * 64]
