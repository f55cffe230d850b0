"""Addresses that would lead out of what is served."""

import asyncio
from pathlib import Path

import pytest

from raypipe.api import create_app
from raypipe.config import Settings
from tests.unit.test_api import Answer, scope

#: each is the path as a client sends it, and as servers decode it before an application sees it
OUT = [
    "/studio/../app.py", "/studio/%2e%2e/app.py", "/studio/..%2fapp.py", "/studio/..\\app.py", "/studio//etc/passwd",
    "/studio/%2fetc/passwd", "/studio/\x00", "/studio/app.js\x00.css", "/studio/....//app.py", "/studio/.",
    "/studio/..", "/static-offline-docs/../../pyproject.toml", "/v1/videos/../secret", "/v1/videos/..%2f..%2fsecret",
    "/v1/videos/vid_1/storyboard/..%2f..%2fsecret", "/v1/videos/vid_1/chunks/../../secret",
    "/v1/videos/vid_1/chunks/0/../secret", "/v1/videos/vid_1/content/../../secret", "//etc/passwd", "/..",
    "/%00", "/v1/videos/\x00",
]  # fmt: skip


@pytest.mark.parametrize("path", OUT)
def test_no_address_leads_out_of_what_is_served(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("canary")
    app = create_app(Settings(data_dir=tmp_path))

    async def ask() -> Answer:
        messages = []

        async def receive() -> dict[str, object]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: object) -> None:
            messages.append(message)

        await app(scope("GET", path), receive, send)
        return Answer(messages)  # type: ignore[arg-type]

    answer = asyncio.run(ask())
    assert answer.status in (404, 405, 422), answer.body
    assert b"canary" not in answer.body
    assert b"def create_app" not in answer.body
