"""Keys stay where they are needed: they are not in what a run leaves behind, says or shows, nor where it crashed."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.models import Kind, Size, StepState, VideoRequest, VideoState
from tests.vendors import KEY_NAMES, KEYS, fake

#: what Ray's dashboard shows of a cluster
SHOWN = (
    "/api/v0/actors?detail=1", "/api/v0/tasks?detail=1", "/api/v0/workers?detail=1", "/api/v0/objects?detail=1",
    "/api/v0/nodes?detail=1", "/api/v0/jobs?detail=1", "/api/v0/cluster_events", "/api/v0/runtime_envs?detail=1",
    "/api/v0/tasks/timeline", "/logical/actors", "/nodes?view=summary", "/api/jobs/", "/events",
)  # fmt: skip


@pytest.fixture
def dashboard(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A cluster whose processes have the keys in their environment and write down where they crash."""
    for name, key in KEYS.items():
        monkeypatch.setenv(KEY_NAMES[name], key)
    monkeypatch.setenv("PYTHONFAULTHANDLER", "1")
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": True, "dashboard_port": 0}
    )
    context = ray.init(address=nodes.address, log_to_driver=False)
    yield f"http://{context.dashboard_url}"
    ray.shutdown()
    nodes.shutdown()


def test_no_key_is_in_what_a_crash_leaves_nor_in_what_ray_shows(dashboard: str, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with fake("fal", tmp_path, image=3.0, width=640, height=360) as vendor:
        settings = Settings(data_dir=data, gateways=1, provider_urls={"fal": vendor.url})

        async def test() -> None:
            coordinator = Coordinator(settings)
            await coordinator.ready()
            try:
                video_id = await coordinator.submit(film())
                deadline = time.monotonic() + 60
                while not any(
                    step.state is StepState.ACCEPTED for step in coordinator.journal.steps(video_id)
                ):
                    assert time.monotonic() < deadline, "nothing was asked for"
                    await asyncio.sleep(0.05)
                (gateway,) = [
                    each for each in list_actors(dashboard) if "Gateway" in each.class_name and each.pid
                ]
                os.kill(gateway.pid, signal.SIGABRT)
                assert await coordinator.wait(video_id) is VideoState.COMPLETED
                shown = await asyncio.to_thread(everything, dashboard)
            finally:
                await coordinator.close()
            for what, text in shown.items():
                assert not any(key in text for key in KEYS.values()), what

        asyncio.run(test())
    session = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[union-attr]
    written = {
        file: file.read_bytes() for folder in (data, session) for file in folder.rglob("*") if file.is_file()
    }
    assert any(b"Fatal Python error: Aborted" in text for text in written.values()), (
        "the crash was written down"
    )
    for file, text in written.items():
        assert not any(key.encode() in text for key in KEYS.values()), file


def film() -> VideoRequest:
    models: Any = {
        Kind.IMAGE: ("fal/fal-ai/flux/schnell",),
        Kind.CLIP: ("local",),
        Kind.MUSIC: ("fal/fal-ai/stable-audio",),
    }
    return VideoRequest(
        prompt="A lighthouse in a storm", duration=5, size=Size(width=320, height=180), models=models
    )


def everything(dashboard: str) -> dict[str, str]:
    """Ask for all that Ray's dashboard shows."""
    deadline = time.monotonic() + 60
    while httpx.get(f"{dashboard}/api/v0/actors").status_code != 200:
        assert time.monotonic() < deadline, "the dashboard never answered"
        time.sleep(0.5)
    answers = {path: httpx.get(f"{dashboard}{path}", timeout=60) for path in SHOWN}
    assert "Gateway" in answers["/api/v0/actors?detail=1"].text
    assert {path: answer.text for path, answer in answers.items() if not answer.is_success} == {}
    return {path: answer.text for path, answer in answers.items()}
