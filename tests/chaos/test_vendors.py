"""Vendors that refuse, throttle and fail, and a limiter that is killed: real HTTP, and a ledger of every create."""

import asyncio
from pathlib import Path

import pytest
import ray

from raypipe.config import Limit
from raypipe.coordinator import Coordinator
from raypipe.media.video import probe
from raypipe.models import Kind, VideoState
from raypipe.workers import NAMESPACE
from tests.cluster.test_vendors import FAL, PRICES, REPLICATE, SMALL, With, check_starts, film, made, steps_of
from tests.vendors import fake, settings_for


def test_a_film_by_fals_models_is_whole_and_each_work_is_paid_once(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    with fake("fal", tmp_path, **SMALL) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(beats=6, models=FAL))
            video, steps = coordinator.journal.video(video_id), steps_of(coordinator, video_id)
            assert state is VideoState.COMPLETED, video.error_message
            assert video.result is not None
            assert probe(coordinator.store.get(video.result)).frames == 720
            assert len({line["job"]["id"] for line in vendor.lines()}) == len(vendor.lines()) == 13
            check_starts(vendor.creates("clip"), steps)
            assert video.cost == pytest.approx(
                sum(PRICES["fal"][line["job"]["kind"]] for line in vendor.lines())
            )

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_where_a_vendor_refuses_a_prompt_the_other_makes_that_clip(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    refused = [{"at": "create", "do": "refuse", "kind": "clip", "times": 1}]
    with (
        fake("fal", tmp_path, **SMALL, faults=refused) as fal,
        fake("replicate", tmp_path, **SMALL) as replicate,
    ):
        models = FAL | {Kind.CLIP: (*FAL[Kind.CLIP], *REPLICATE[Kind.CLIP])}

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film(models=models))
            assert state is VideoState.COMPLETED
            assert [len(each.creates("clip")) for each in (fal, replicate)] == [1, 1]
            (fell,) = (each for each in coordinator.journal.events(video_id) if each.kind == "step.fell_back")
            assert "content" in fell.data["reason"]

        with_coordinator_of(settings_for(tmp_path, fal, replicate))(test)


def test_a_storm_of_429_and_errors_fails_no_step_and_pays_nothing_twice(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    faults = [
        {"at": "create", "do": "busy", "times": 6},
        {"at": "poll", "do": "busy", "times": 3},
        {"at": "poll", "do": "error", "times": 4, "after": 6},
        {"at": "download", "do": "error", "times": 3},
    ]
    with fake("replicate", tmp_path, **SMALL, faults=faults) as vendor:

        async def test(coordinator: Coordinator) -> None:
            video_id, state = await made(coordinator, film())
            assert state is VideoState.COMPLETED, coordinator.journal.video(video_id).error_message
            steps = steps_of(coordinator, video_id)
            assert len(vendor.lines()) == 5
            assert sum(each.attempt for each in steps.values() if each.model) == 5 + 6
            assert not any(each.possible_duplicate for each in steps.values())

        with_coordinator_of(settings_for(tmp_path, vendor))(test)


def test_an_accounts_limit_holds_for_two_coordinators_and_while_the_limiter_is_killed(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    with fake("replicate", tmp_path, **SMALL, image=0.3, clip=0.5, music=0.3) as vendor:
        settings = settings_for(tmp_path, vendor, limits={"replicate": Limit(in_flight=3)})

        async def test(one: Coordinator) -> None:
            other = Coordinator(settings)
            try:
                requests = [(each, film(seed=seed)) for seed in range(3) for each in (one, other)]
                ids = await asyncio.gather(*(each.submit(request) for each, request in requests))
                await asyncio.sleep(2)
                await kill_limiter()
                waits = (each.wait(video_id) for (each, _), video_id in zip(requests, ids, strict=True))
                assert set(await asyncio.gather(*waits)) == {VideoState.COMPLETED}
            finally:
                await other.close()
            jobs = [(line["at"], line["job"]["ready_at"]) for line in vendor.lines()]
            assert len(jobs) == 6 * 5
            assert max(sum(began <= at < ended for began, ended in jobs) for at, _ in jobs) == 3

        with_coordinator_of(settings)(test)


async def kill_limiter() -> None:
    names = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
    (name,) = (each for each in names if each.endswith("/limiter"))
    ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=False)
