"""Keys in what a crash leaves and in what Ray shows: `python -m tests.chaos.leaks --data DIR`.

Makes a film with a hosted model on a Ray of its own, with the dashboard, whose processes write down where they crash,
and crashes the gateway. Prints every place that holds a key; exit 1 where there is one.
"""

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import ray
from ray.cluster_utils import Cluster
from ray.util.state import list_actors

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.models import Kind, Size, StepState, VideoRequest, VideoState
from tests.patience import patience
from tests.vendors import KEY_NAMES, KEYS, fake

#: what Ray's dashboard shows of a cluster
SHOWN = (
    "/api/v0/actors?detail=1", "/api/v0/tasks?detail=1", "/api/v0/workers?detail=1", "/api/v0/objects?detail=1",
    "/api/v0/nodes?detail=1", "/api/v0/jobs?detail=1", "/api/v0/cluster_events", "/api/v0/runtime_envs?detail=1",
    "/api/v0/tasks/timeline", "/logical/actors", "/nodes?view=summary", "/api/jobs/", "/events",
)  # fmt: skip


def main(data: Path) -> list[str]:
    """Make the film, crash its gateway, and name every file and page that holds a key.

    Raises: AssertionError if the gateway did not crash, its crash was not written down, or the film was not made.
    """
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": True, "dashboard_port": 0}
    )
    try:
        dashboard = f"http://{ray.init(address=nodes.address, log_to_driver=False).dashboard_url}"
        session = Path(ray._private.worker._global_node.get_session_dir_path())  # type: ignore[union-attr]
        with fake("fal", data.parent, image=3.0, width=640, height=360) as vendor:
            settings = Settings(data_dir=data, gateways=1, provider_urls={"fal": vendor.url})
            shown = asyncio.run(_film_with_a_crash(settings, dashboard))
    finally:
        ray.shutdown()
        nodes.shutdown()
    written = dict(_files(data, session))
    assert any(b"Fatal Python error: Aborted" in text for text in written.values()), "no crash was written"
    print(f"searched: {len(written)} files, {len(shown)} pages")
    return [
        where for where, text in (written | shown).items() if any(k.encode() in text for k in KEYS.values())
    ]


async def _film_with_a_crash(settings: Settings, dashboard: str) -> dict[str, bytes]:
    """All that the dashboard shows once the film is made, by path."""
    coordinator = Coordinator(settings)
    await coordinator.ready()
    try:
        video_id = await coordinator.submit(_film())
        deadline = time.monotonic() + patience(60)
        while not any(step.state is StepState.ACCEPTED for step in coordinator.journal.steps(video_id)):
            assert time.monotonic() < deadline, "nothing was asked for"
            await asyncio.sleep(0.05)
        (gateway,) = [each for each in list_actors(dashboard) if "Gateway" in each.class_name and each.pid]
        os.kill(gateway.pid, signal.SIGABRT)
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        return await asyncio.to_thread(_pages, dashboard)
    finally:
        await coordinator.close()


def _film() -> VideoRequest:
    models: Any = {
        Kind.IMAGE: ("fal/fal-ai/flux/schnell",),
        Kind.CLIP: ("local",),
        Kind.MUSIC: ("fal/fal-ai/stable-audio",),
    }
    return VideoRequest(
        prompt="A lighthouse in a storm", duration=5, size=Size(width=320, height=180), models=models
    )


def _pages(dashboard: str) -> dict[str, bytes]:
    deadline = time.monotonic() + patience(60)
    while httpx.get(f"{dashboard}/api/v0/actors").status_code != 200:
        assert time.monotonic() < deadline, "the dashboard never answered"
        time.sleep(0.5)
    answers = {path: httpx.get(f"{dashboard}{path}", timeout=patience(60)) for path in SHOWN}
    assert "Gateway" in answers["/api/v0/actors?detail=1"].text
    assert {path: answer.text for path, answer in answers.items() if not answer.is_success} == {}
    return {path: answer.content for path, answer in answers.items()}


def _files(*folders: Path) -> Iterator[tuple[str, bytes]]:
    for folder in folders:
        yield from ((str(file), file.read_bytes()) for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    os.environ.update({KEY_NAMES[name]: key for name, key in KEYS.items()}, PYTHONFAULTHANDLER="1")
    found = main(args.data)
    print(*(f"a key: {where}" for where in found), sep="\n")
    sys.exit(1 if found else 0)
