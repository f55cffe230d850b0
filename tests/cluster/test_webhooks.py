"""Vendors say by webhooks that jobs are over: signed ones are believed, others refused, and none is needed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from raypipe.api import create_app
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.journal import StepRecord
from raypipe.models import StepState, VideoState
from tests.patience import patience
from tests.vendors import FakeVendor, fake, free_port, settings_for

from .test_vendors import FAL, REPLICATE, SMALL, With, film, made, steps_of

MODELS = {"replicate": REPLICATE, "fal": FAL}


def hooked(folder: Path, vendor: FakeVendor) -> Settings:
    """Settings of a service that the vendor reaches."""
    settings = settings_for(folder, vendor, public_url=f"http://127.0.0.1:{free_port()}")
    keys = f"{vendor.url}/.well-known/jwks.json"
    return settings.model_copy(update={"provider_urls": settings.provider_urls | {"fal_keys": keys}})


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[None]:
    """Answer HTTP as the service does."""
    port = int((settings.public_url or "").rpartition(":")[2])
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=port, log_level="warning"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = True
        await running


Test = Callable[[Coordinator], Any]


def served(settings: Settings, test: Test) -> Test:
    async def run(coordinator: Coordinator) -> None:
        async with serving(settings):
            await test(coordinator)

    return run


def clips(steps: dict[str, StepRecord]) -> list[StepRecord]:
    return [step for name, step in steps.items() if name.startswith("chunk")]


@pytest.mark.parametrize("name", ["replicate", "fal"])
def test_a_create_whose_answer_was_lost_is_known_by_its_webhook_and_paid_once(
    tmp_path: Path, with_coordinator_of: With, name: str
) -> None:
    faults = [{"at": "create", "do": "lose", "kind": "clip", "times": 2}]
    with fake(name, tmp_path, **SMALL, faults=faults) as vendor:
        settings = hooked(tmp_path, vendor)

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(models=MODELS[name]))
            assert state is VideoState.COMPLETED, coordinator.journal.video(video_id).error_message
            assert len(vendor.creates("clip")) == 2
            kinds = [event.kind for event in coordinator.journal.events(video_id) if event.step == "chunk/0"]
            # whichever comes first: the webhook, or the notice that the create was not answered
            assert (kinds[0], kinds[-1]) == ("step.started", "step.done")
            assert sorted(kinds[1:-1]) in (["step.hinted", "step.unknown"], ["step.hinted"])
            assert all(each["status"] == 200 for each in vendor.lines("webhook"))
            assert not any(each.possible_duplicate for each in clips(steps_of(coordinator, video_id)))

        with_coordinator_of(settings)(served(settings, test))


async def all_calls(vendor: FakeVendor, jobs: set[str], number: int) -> list[dict[str, Any]]:
    """Wait until so many webhooks about jobs were sent."""
    async with asyncio.timeout(patience(20)):
        while len(found := [each for each in vendor.lines("webhook") if each["job_id"] in jobs]) < number:
            await asyncio.sleep(0.1)
    return found


@pytest.mark.parametrize("name", ["replicate", "fal"])
def test_a_webhook_that_is_forged_late_twice_or_never_comes_changes_nothing(
    tmp_path: Path, with_coordinator_of: With, name: str
) -> None:
    wrong = [{"at": "webhook", "do": do, "kind": "clip"} for do in ("forged", "duplicate", "late", "never")]
    with fake(name, tmp_path, **SMALL, faults=wrong, clip=1.0, late=2.0) as vendor:
        settings = hooked(tmp_path, vendor)

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(beats=4, models=MODELS[name]))
            assert state is VideoState.COMPLETED
            steps = clips(steps_of(coordinator, video_id))
            assert {(step.state, step.attempt) for step in steps} == {(StepState.DONE, 1)}
            assert len(vendor.creates("clip")) == 4
            jobs = {each["job"]["id"] for each in vendor.creates("clip")}
            calls = await all_calls(vendor, jobs, 4)  # the late one comes when its step is done
            assert sorted((each["forged"], each["status"]) for each in calls) == [
                *[(False, 200)] * 3,
                (True, 401),
            ]
            assert clips(steps_of(coordinator, video_id)) == steps

        with_coordinator_of(settings)(served(settings, test))
