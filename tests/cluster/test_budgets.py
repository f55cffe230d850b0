"""Money is reserved before it is spent, so that no race spends more than a budget."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raypipe.budgets import Customer
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.errors import OverBudget
from raypipe.intake import accept
from raypipe.journal import ApiKey
from raypipe.models import Kind, StepState, VideoRequest, VideoState

QUICK = {"image": 0.05, "clip": 0.1, "music": 0.05}
Run = Callable[[Callable[[Coordinator], Any]], Any]
With = Callable[..., Run]


def one_beat(seed: int = 0, price: float = 0.1, **more: Any) -> VideoRequest:
    """A video of three paid works."""
    options = {"simulated": {**QUICK, "price": price}}
    return VideoRequest(prompt="A boat", duration=5, seed=seed, model="simulated", options=options, **more)


def test_twenty_videos_race_for_a_daily_budget_of_ten_and_not_a_cent_more_is_spent(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    settings = Settings(data_dir=tmp_path, gateways=1, daily_budget=3.0, simulated_ledger=tmp_path / "ledger")

    async def test(one: Coordinator) -> None:
        other = Coordinator(settings)
        try:
            await race(one, other)
        finally:
            await other.close()

    async def race(one: Coordinator, other: Coordinator) -> None:
        requests = [(coordinator, one_beat(seed)) for seed in range(10) for coordinator in (one, other)]
        found = await asyncio.gather(
            *(each.submit(request) for each, request in requests), return_exceptions=True
        )
        refused = [each for each in found if isinstance(each, OverBudget)]
        accepted = [each for each in found if isinstance(each, str)]
        assert (len(accepted), len(refused)) == (10, 10)
        assert all("$3.00 that may be spent a day" in str(each) for each in refused)
        owners = {
            video_id: each
            for (each, _), video_id in zip(requests, found, strict=True)
            if video_id in accepted
        }
        states = await asyncio.gather(*(each.wait(video_id) for video_id, each in owners.items()))
        assert set(states) == {VideoState.COMPLETED}
        assert sum(one.journal.video(video_id).cost for video_id in accepted) == pytest.approx(3.0)
        assert len((tmp_path / "ledger").read_text().splitlines()) == 30
        assert len(one.journal.video_ids(100)) == 10

    with_coordinator_of(settings)(test)


def test_a_video_that_is_estimated_over_its_budget_is_refused_and_leaves_nothing(
    with_coordinator: Callable[[Callable[[Coordinator], Any]], Any],
) -> None:
    async def test(coordinator: Coordinator) -> None:
        with pytest.raises(OverBudget, match=r"estimated at \$0.30 .* its budget is \$0.25"):
            await coordinator.submit(one_beat(budget=0.25))
        assert coordinator.journal.video_ids(10) == []

    with_coordinator(test)


def test_with_a_budget_every_model_of_a_list_has_to_have_a_price(
    with_coordinator: Callable[[Callable[[Coordinator], Any]], Any],
) -> None:
    async def test(coordinator: Coordinator) -> None:
        unpriced = {"replicate/some/model": {"inputs": {"text": "prompt"}}}
        models = {Kind.IMAGE: ("local", "replicate/some/model")}
        request = VideoRequest(prompt="A boat", duration=5, budget=1.0, models=models, options=unpriced)
        with pytest.raises(OverBudget, match=r"what 'replicate/some/model' costs is not known"):
            await coordinator.submit(request)

    with_coordinator(test)


def test_a_step_for_which_nothing_is_left_is_not_sent_and_the_video_waits(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    ledger = tmp_path / "ledger"

    async def test(coordinator: Coordinator) -> None:
        # the clip's first model refuses, and the next one is dearer than what was estimated
        cheap = {**QUICK, "price": 0.1, "fail": {"chunk/0": "no sea"}}
        request = VideoRequest(
            prompt="A boat", duration=5, budget=0.5, model="fragile", models={Kind.CLIP: ("fragile", "simulated")},
            options={"fragile": cheap, "simulated": {**QUICK, "price": 0.4}},
        )  # fmt: skip
        video_id = await coordinator.submit(request)
        assert await coordinator.wait(video_id) is VideoState.WAITING
        video = coordinator.journal.video(video_id)
        assert (video.error_code, video.estimated_cost) == ("budget_reached", pytest.approx(0.3))
        assert "the video's budget is $0.50" in (video.error_message or "")
        steps = {each.step: each for each in coordinator.journal.steps(video_id)}
        assert (steps["chunk/0"].state, steps["chunk/0"].reserved_cost) == (StepState.FAILED, None)
        assert len(ledger.read_text().splitlines()) == 3  # the refused clip among them
        # with no more, or too little, there is no use in going on; with enough, what was paid is not paid again
        for too_little in (None, 0.51):
            with pytest.raises(
                OverBudget, match=r"rest is estimated at \$0.40: a budget of \$0.5.* has no room"
            ):
                await coordinator.continue_(video_id, budget=too_little)
        with pytest.raises(OverBudget):
            await coordinator.resume(video_id)
        assert coordinator.journal.video(video_id).state is VideoState.WAITING
        await coordinator.continue_(video_id, budget=0.7)  # of which the refused clip may have taken 0.1
        assert await coordinator.wait(video_id) is VideoState.COMPLETED
        assert coordinator.journal.video(video_id).cost == pytest.approx(0.6)
        assert len(ledger.read_text().splitlines()) == 4

    with_coordinator_of(Settings(data_dir=tmp_path, gateways=1, simulated_ledger=ledger))(test)


def test_a_video_that_runs_into_its_keys_budget_waits_and_another_tenants_is_made(with_service: Run) -> None:
    async def test(coordinator: Coordinator) -> None:
        settings, journal, store = coordinator.settings, coordinator.journal, coordinator.store

        async def submit(key: ApiKey) -> str:
            # the clip's first model refuses, and the next one is dearer than what was estimated
            cheap = {**QUICK, "price": 0.1, "fail": {"chunk/0": "no sea"}}
            request = VideoRequest(
                prompt="A boat", duration=5, model="fragile", models={Kind.CLIP: ("fragile", "simulated")},
                options={"fragile": cheap, "simulated": {**QUICK, "price": 0.4}},
            )  # fmt: skip
            video, rows = accept(request, settings, journal, store, customer=Customer(key.tenant, key))
            return await journal.accept(video, rows, None, key=key)

        async def reached(video_id: str, state: VideoState) -> None:
            while journal.video(video_id).state is not state:
                await asyncio.sleep(0.05)

        small, large = (
            ApiKey(name=name, tenant=name, daily_budget=usd) for name, usd in (("a", 0.5), ("b", 0.7))
        )
        for key in (small, large):
            await journal.keys.create(key)
        waits, made = await submit(small), await submit(large)
        serving = asyncio.create_task(coordinator.serve())
        await asyncio.gather(reached(waits, VideoState.WAITING), reached(made, VideoState.COMPLETED))
        video = journal.video(waits)
        assert video.error_code == "key_budget_reached"
        assert "over the $0.50 that the key 'a' allows its tenant a day" in (video.error_message or "")
        # what is made is kept, and goes on under a key that allows more
        more = ApiKey(name="more", tenant="a", daily_budget=0.8)
        await journal.keys.create(more)
        await journal.continue_(None, waits, more)
        await reached(waits, VideoState.COMPLETED)
        serving.cancel()
        assert journal.video(waits).cost == pytest.approx(0.6)

    with_service(test)
