"""Replicate's own SDK passes against our fake of Replicate, so that the fake is not merely our idea of it."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
import replicate
from replicate.exceptions import ModelError, ReplicateError
from replicate.webhook import Webhooks, WebhookValidationError

from raypipe.media.video import probe
from tests.vendors import KEYS, FakeVendor, fake

HAILUO = "minimax/hailuo-02"


@pytest.fixture
def vendor(tmp_path: Path) -> Iterator[FakeVendor]:
    faults = [
        {"at": "poll", "do": "fail", "kind": "music"},
        {"at": "create", "do": "refuse", "kind": "image"},
    ]
    with fake("replicate", tmp_path, form={"width": 320, "height": 180}, faults=faults) as running:
        yield running


@pytest.fixture
def client(vendor: FakeVendor) -> replicate.Client:
    return replicate.Client(api_token=KEYS["replicate"], base_url=vendor.url.removesuffix("/v1"))


def test_it_runs_a_model_and_fetches_what_it_made(
    client: replicate.Client, vendor: FakeVendor, tmp_path: Path
) -> None:
    start = tmp_path / "start.png"
    start.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    uploaded = client.files.create(start)
    assert uploaded.size == 108
    model = client.models.get("minimax/hailuo-02")
    assert (model.owner, model.name) == ("minimax", "hailuo-02")
    prediction = client.models.predictions.create(model=HAILUO, input={"prompt": "a boat", "duration": 6})
    assert prediction.status in ("starting", "processing")
    prediction.wait()
    assert prediction.status == "succeeded"
    assert prediction.output is not None
    (output,) = [prediction.output] if isinstance(prediction.output, str) else prediction.output
    assert probe(client._client.get(output).content).frames == 144
    assert client.predictions.get(prediction.id).output == prediction.output
    assert [each.id for each in client.predictions.list()] == [prediction.id]
    prediction.cancel()
    assert [line["job_id"] for line in vendor.lines("cancel")] == [prediction.id]


def test_it_runs_a_version_and_is_told_when_that_fails(client: replicate.Client) -> None:
    version = client.models.get("meta/musicgen").latest_version
    assert version is not None
    with pytest.raises(ModelError, match="out of memory"):
        client.run(f"meta/musicgen:{version.id}", input={"prompt": "a boat", "duration": 3}, wait=False)


def test_it_is_told_what_is_wrong_with_a_request_or_its_key(
    client: replicate.Client, vendor: FakeVendor
) -> None:
    with pytest.raises(ReplicateError, match="Input validation failed"):
        client.models.predictions.create(model="black-forest-labs/flux-schnell", input={"prompt": "x"})
    other = replicate.Client("r8_wrong", base_url=vendor.url.removesuffix("/v1"))
    with pytest.raises(ReplicateError, match="authentication"):
        other.models.get(HAILUO)
    assert vendor.lines() == []


def test_its_webhooks_are_signed_as_the_sdk_expects(client: replicate.Client) -> None:
    heard: list[httpx.Request] = []

    class Listener(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            heard.append(httpx.Request("POST", "http://here", headers=dict(self.headers), content=body))
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Listener) as server:
        server.timeout = 20
        address = f"http://127.0.0.1:{server.server_port}/"
        events: list[Any] = ["completed"]
        given = {
            "input": {"prompt": "a boat", "duration": 6},
            "webhook": address,
            "webhook_events_filter": events,
        }
        prediction = client.models.predictions.create(model=HAILUO, **given)
        server.handle_request()
    (request,) = heard
    secret = client.webhooks.default.secret()
    Webhooks.validate(request=request, secret=secret, tolerance=60)
    assert json.loads(request.content)["id"] == prediction.id
    forged = httpx.Request(
        "POST", "http://here", headers=dict(request.headers), content=request.content + b" "
    )
    with pytest.raises(WebhookValidationError):
        Webhooks.validate(request=forged, secret=secret)
