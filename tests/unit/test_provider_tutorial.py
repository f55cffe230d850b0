"""The provider of docs/providers.md, as it stands there, makes a film at a vendor that speaks as it says."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import KeyMissing, ProviderRejected
from raypipe.intake import plan
from raypipe.models import Job, Kind, Size, VideoRequest
from raypipe.providers import registry
from raypipe.providers.base import ClipWork, Context, Delivery
from raypipe.testing import media

TUTORIAL = Path(__file__).parents[2] / "docs" / "providers.md"
CODE = re.search(r"<!-- tested -->\n```python\n(.*?)```", TUTORIAL.read_text(), re.DOTALL)
CLIP = media.clip(0.5, media.ClipFormat(width=320, height=180), (200, 60, 60))


@pytest.fixture
def acme(monkeypatch: pytest.MonkeyPatch) -> Any:
    assert CODE is not None
    assert len(CODE[1].splitlines()) < 150
    found: dict[str, Any] = {}
    exec(compile(CODE[1], str(TUTORIAL), "exec"), found)  # noqa: S102 - it is the documentation that is tested
    point = SimpleNamespace(load=lambda: found["AcmeProvider"], value="acme_raypipe:AcmeProvider")
    installed = {**registry._installed(), "acme": point}
    monkeypatch.setattr(registry, "_installed", lambda: installed)
    return found["AcmeProvider"]


def vendor(asked: list[Any]) -> FastAPI:
    app = FastAPI()

    @app.post("/jobs")
    async def create(request: Request) -> Any:
        asked.append((request.headers["authorization"], await request.json()))
        return {"id": f"job-{len(asked)}"}

    @app.get("/jobs/{job_id}")
    async def show(job_id: str, request: Request) -> Any:
        asked.append(job_id)
        if asked.count(job_id) == 1:
            return {"state": "working"}
        return {"state": "done", "file": f"{request.base_url}files/{job_id}", "usd": 0.3}

    @app.get("/files/{job_id}")
    async def file(job_id: str) -> Response:
        return Response(CLIP, media_type="video/mp4")

    @app.delete("/jobs/{job_id}")
    async def stop(job_id: str) -> Response:
        return JSONResponse({"error": "no such thing"}, 404)

    return app


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
        assert not running.done()
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await running


def test_the_tutorials_provider_submits_polls_and_delivers(
    acme: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    asked: list[Any] = []

    async def test() -> None:
        async with serving(vendor(asked)) as url:
            await use(url)

    async def use(url: str) -> None:
        store = ArtifactStore((tmp_path / "artifacts").as_uri())
        settings = Settings(data_dir=tmp_path, provider_urls={"acme": url})
        request = VideoRequest(
            prompt="A boat",
            duration=5,
            size=Size(width=320, height=180),
            models={Kind.CLIP: ("acme/dream-1",)},
        )
        spec = plan(request, "vid_1", settings, store)
        start = store.put(media.picture(320, 180, 1, 2, 3), "image/png")
        work = ClipWork(
            job=Job.of("vid_1", spec), model="acme/dream-1", beat=spec.beats[0], continues=False, start=start
        )
        provider = acme(Context(settings, store))
        with pytest.raises(KeyMissing, match="ACME_KEY"):
            await provider.submit(work, "token")
        monkeypatch.setenv("ACME_KEY", "acme-secret")
        job_id = await provider.submit(work, "token")
        assert not isinstance(await provider.poll(job_id, work), Delivery)
        delivered = await provider.poll(job_id, work)
        assert isinstance(delivered, Delivery)
        assert (store.get(delivered.artifact), delivered.cost) == (CLIP, 0.3)
        with pytest.raises(ProviderRejected, match="no such thing"):
            await provider.cancel(job_id, work)

    asyncio.run(test())
    key, body = asked[0]
    assert key == "Bearer acme-secret"
    assert (body["model"], body["length"], body["watermark"]) == ("dream-1", 8, False)
    assert body["first_frame"].startswith("data:image/png;base64,")
    assert "boat" in body["text"]
