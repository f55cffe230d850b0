"""What the service's log says of requests."""

import asyncio
import logging

import pytest
from starlette.responses import Response
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from raypipe.api.access import AccessLog


async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
    await asyncio.sleep(0)
    await Response(status_code=503)(scope, receive, send)


@pytest.mark.parametrize(
    ("path", "lines"),
    [
        ("/healthz", []),
        ("/readyz", []),
        ("/v1/videos", ["GET /v1/videos: 503"]),
        ("/readyz/", ["GET /readyz/: 503"]),
    ],
)
def test_of_probes_of_health_nothing_is_said_whatever_they_are_answered(
    path: str, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "raypipe.api.access")
    assert TestClient(AccessLog(refuse)).get(path).status_code == 503
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == lines
