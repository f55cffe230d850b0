"""Metrics as Prometheus reads them, from Ray's own endpoint."""

import asyncio
import json
import re
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import ray

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.models import VideoRequest, VideoState
from tests.patience import patience

LINE = re.compile(r"^ray_(raypipe_\w+)\{(.*)\} (\S+)$", re.MULTILINE)


def scraped() -> dict[str, list[tuple[dict[str, str], float]]]:
    """Read raypipe's metrics from all nodes, as a scraper does."""
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for node in ray.nodes():
        if node["Alive"]:
            text = httpx.get(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics").text
            for name, tags, value in LINE.findall(text):
                found.setdefault(name, []).append((dict(re.findall(r'(\w+)="([^"]*)"', tags)), float(value)))
    return found


def total(found: dict[str, Any], name: str, **tags: str) -> float:
    return sum(value for its, value in found.get(name, []) if tags.items() <= its.items())


def test_steps_seconds_cost_and_retries_are_counted(
    with_coordinator_of: Callable[..., Any], settings: Settings
) -> None:
    async def test(coordinator: Coordinator) -> None:
        lost = {"lose": {"chunk/0": 1}, "finds": False}
        options = {"simulated": {"image": 0.01, "clip": 0.2, "music": 0.01, "price": 0.5, **lost}}
        request = VideoRequest(prompt="a boat", duration=20, model="simulated", options=options)
        before = scraped()
        video_id = await coordinator.submit(request)
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        steps = coordinator.journal.steps(video_id)
        paid = [step for step in steps if step.provider == "simulated"]
        by = {"provider": "simulated"}
        expected = {
            "steps that are done": len(steps),
            "steps": len(paid),
            "seconds": len(paid),
            "retries": 1,  # chunk 0, whose first answer was lost
            "dollars": pytest.approx(coordinator.journal.video(video_id).cost),
            "in flight": 0,
        }
        deadline = time.monotonic() + patience(60)
        found: dict[str, Any] = {}

        def more(name: str, **tags: str) -> float:
            return total(found, name, **tags) - total(before, name, **tags)

        while True:  # Ray reports every few seconds, and not all at once
            found = await asyncio.to_thread(scraped)
            counted = {
                "steps that are done": more("raypipe_steps_total", state="done"),
                "steps": more("raypipe_steps_total", **by),
                "seconds": more("raypipe_step_seconds_count", **by),
                "retries": more("raypipe_step_retries_total", **by),
                "dollars": more("raypipe_cost_dollars_total", **by),
                "in flight": total(found, "raypipe_steps_in_flight", **by),
            }
            if counted == expected:
                break
            assert time.monotonic() < deadline, (counted, json.dumps(found, indent=1))
            await asyncio.sleep(0.5)

    with_coordinator_of(settings.model_copy(update={"on_unknown": "resubmit_once"}))(test)
