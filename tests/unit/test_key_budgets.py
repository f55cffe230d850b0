"""A key's budget a day bounds what its tenant spends, and leaves the others their day."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import create_engine, text
from typer.testing import CliRunner

from raypipe.api import create_app
from raypipe.cli.keys import app as keys_app
from raypipe.config import Settings
from raypipe.errors import BudgetReached, DailyBudgetReached, InvalidRequest, KeyBudgetReached
from raypipe.journal import ApiKey, Journal, StepRecord, database
from raypipe.models import StepState, VideoState

#: a video of three works at ten cents each
BODY = {"prompt": "A boat", "model": "simulated", "seconds": 5, "options": {"simulated": {"price": 0.1}}}


class Service:
    """The API, with keys of tenants and the journal that it writes."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self.journal = settings, Journal(settings.journal_url)
        self._app = create_app(settings)

    async def client(self, name: str, tenant: str | None = None, **limits: Any) -> httpx.AsyncClient:
        key = await self.journal.keys.create(ApiKey(name=name, tenant=tenant or name, **limits))
        transport = httpx.ASGITransport(self._app, client=("10.1.2.3", 4711))
        return httpx.AsyncClient(
            transport=transport, base_url="http://127.0.0.1", headers={"Authorization": f"Bearer {key}"}
        )

    def step(self, video_id: str, name: str) -> StepRecord:
        return next(step for step in self.journal.steps(video_id) if step.step == name)

    async def pay(self, video_id: str) -> None:
        """Leave a video that is over, and whose works were sent today and paid."""
        paid = {"state": StepState.DONE, "cost": 0.1, "sent_at": time.time()}
        steps = [self.step(video_id, name).evolve(**paid) for name in ("image/0", "chunk/0", "music")]
        end = self.journal.finish(video_id, VideoState.COMPLETED, cost=0.3)
        await self.journal.writer.put(*map(self.journal.step, steps), end)

    async def reserve(self, video_id: str, price: float, **more: Any) -> None:
        step = self.step(video_id, "image/0")
        await self.journal.reserve(step, price, self.settings.daily_budget, 9, **more)


async def submitted(client: httpx.AsyncClient) -> str | tuple[int, str, str]:
    """Submit a video; return its id, or how it was refused."""
    answer = await client.post("/v1/videos", json=BODY)
    if answer.status_code == 202:
        return str(answer.json()["id"])
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


@pytest.fixture
def with_service(tmp_path: Path) -> Callable[..., None]:
    def run(test: Callable[[Service], Awaitable[None]], **settings: Any) -> None:
        async def main() -> None:
            await test(Service(Settings(data_dir=tmp_path, **settings)))

        asyncio.run(main())

    return run


def test_a_tenant_spends_its_keys_budget_and_leaves_the_other_the_rest_of_the_day(
    with_service: Callable[..., None],
) -> None:
    async def test(service: Service) -> None:
        alice = await service.client("alice", daily_budget=0.6)
        bob = await service.client("bob", daily_budget=0.6)
        videos = await asyncio.gather(*(submitted(alice) for _ in range(5)))
        taken = [video for video in videos if isinstance(video, str)]
        refused = [video for video in videos if not isinstance(video, str)]
        assert (len(taken), len(refused)) == (2, 3)
        for status, code, message in refused:
            assert (status, code) == (422, "over_budget")
            assert "$0.00 is left of the $0.60 that the key 'alice' allows its tenant a day" in message
        assert isinstance(await submitted(bob), str)
        # what is over counts with what it cost, also when it is deleted
        await service.pay(taken[0])
        assert not isinstance(await submitted(alice), str)
        assert (await alice.delete(f"/v1/videos/{taken[0]}")).status_code == 200
        assert not isinstance(await submitted(alice), str)
        assert isinstance(await submitted(bob), str)
        # the installation's day is everybody's: 0.3 paid and deleted, 0.3 of alice's and 0.6 of bob's under way
        carol = await service.client("carol", daily_budget=0.6)
        assert "$0.00 is left of the $1.20 that may be spent a day (RAYPIPE_DAILY_BUDGET)" in str(
            await submitted(carol)
        )

    with_service(test, daily_budget=1.2)


def test_a_video_that_costs_more_than_its_keys_budget_is_refused_before_anything_is_written(
    with_service: Callable[..., None],
) -> None:
    async def test(service: Service) -> None:
        alice = await service.client("alice", daily_budget=0.2)
        assert "a day's budget of its key is $0.20" in str(await submitted(alice))
        plan = await alice.post("/v1/plans", json=BODY)
        assert (plan.status_code, plan.json()["error"]["code"]) == (422, "over_budget")
        assert service.journal.video_ids(10) == []

    with_service(test)


def test_a_step_for_which_the_key_has_nothing_left_is_not_reserved(with_service: Callable[..., None]) -> None:
    async def test(service: Service) -> None:
        alice = await service.client("alice", daily_budget=0.7)
        bob = await service.client("bob", daily_budget=0.7)
        first, second, of_bob = await submitted(alice), await submitted(alice), await submitted(bob)
        assert isinstance(first, str)
        assert isinstance(second, str)
        assert isinstance(of_bob, str)
        await service.reserve(first, 0.4)  # a dearer model than what was estimated
        with pytest.raises(
            KeyBudgetReached, match=r"over the \$0\.70 that the key 'alice' allows its tenant a day"
        ):
            await service.reserve(first, 0.5)
        assert service.step(first, "image/0").reserved_cost == 0.4
        await service.reserve(of_bob, 0.5)
        assert service.journal.video(first).api_key == "alice"

    with_service(test)


def test_the_installations_budget_holds_where_the_keys_has_room(with_service: Callable[..., None]) -> None:
    async def test(service: Service) -> None:
        video_id = await submitted(await service.client("alice", daily_budget=5.0))
        assert isinstance(video_id, str)
        with pytest.raises(DailyBudgetReached, match="RAYPIPE_DAILY_BUDGET") as reached:
            await service.reserve(video_id, 0.5)
        assert reached.value.code == "daily_budget_reached"

    with_service(test, daily_budget=0.4)


def test_a_price_that_is_not_known_is_not_reserved_under_a_key_with_a_budget(
    with_service: Callable[..., None],
) -> None:
    async def test(service: Service) -> None:
        bounded = await submitted(await service.client("alice", daily_budget=5.0))
        unbounded = await submitted(await service.client("bob"))
        assert isinstance(bounded, str)
        assert isinstance(unbounded, str)
        with pytest.raises(BudgetReached, match="is not known"):
            await service.reserve(bounded, 0.0, is_known=False)
        await service.reserve(unbounded, 0.1, is_known=False)

    with_service(test)


def test_a_video_is_paid_from_the_key_that_it_was_last_gone_on_with(
    with_service: Callable[..., None],
) -> None:
    async def test(service: Service) -> None:
        small = await service.client("small", "alice", daily_budget=0.35)
        large = await service.client("large", "alice", daily_budget=1.0)
        video_id = await submitted(small)
        assert isinstance(video_id, str)
        await service.pay(video_id)
        edited = await large.post(f"/v1/videos/{video_id}/beats/0", json={})
        assert edited.status_code == 202
        assert service.journal.video(video_id).api_key == "large"
        await service.reserve(video_id, 0.4)
        # the keys of a tenant share its day: what it has spent counts for each of them
        assert not isinstance(await submitted(small), str)

    with_service(test)


def test_a_revoked_keys_budget_still_bounds_its_videos(with_service: Callable[..., None]) -> None:
    async def test(service: Service) -> None:
        video_id = await submitted(await service.client("alice", daily_budget=0.3))
        assert isinstance(video_id, str)
        await service.journal.keys.revoke("alice")
        with pytest.raises(KeyBudgetReached):
            await service.reserve(video_id, 0.4)

    with_service(test)


def test_a_key_without_a_budget_and_a_caller_without_a_key_are_bounded_by_the_day_alone(
    with_service: Callable[..., None],
) -> None:
    async def test(service: Service) -> None:
        client = await service.client("alice")
        assert all(isinstance(video, str) for video in [await submitted(client) for _ in range(3)])

    with_service(test)


def test_what_was_deleted_today_before_the_migration_still_counts_for_the_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data_dir=tmp_path, daily_budget=1.0)
    with monkeypatch.context() as before:
        before.setattr(database, "HEAD", "0010")
        Journal(settings.journal_url).close()
    today = {"day": int(time.time() // 86_400), "cost": 0.75}
    with create_engine(settings.journal_url).begin() as connection:
        connection.execute(text("insert into deleted_costs (day, cost) values (:day, :cost)"), today)

    async def test() -> None:
        service = Service(settings)
        client = await service.client("alice", daily_budget=1.0)
        assert "$0.25 is left of the $1.00 that may be spent a day" in str(await submitted(client))

    asyncio.run(test())


def test_the_command_line_makes_keys_with_a_budget_and_lists_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAYPIPE_DATA_DIR", str(tmp_path))
    made = CliRunner().invoke(keys_app, ["create", "alice", "--daily-budget", "2.5"])
    assert made.stdout.startswith("rp_")
    listed = CliRunner().invoke(keys_app, ["list", "--json"])
    assert [(key["name"], key["daily_budget"]) for key in json.loads(listed.stdout)] == [("alice", 2.5)]
    assert "$2.50" in CliRunner().invoke(keys_app, ["list"]).stdout
    endless = CliRunner().invoke(keys_app, ["create", "bob", "--daily-budget", "inf"])
    assert isinstance(endless.exception, InvalidRequest)
    assert "--daily-budget: it must be a finite sum" in str(endless.exception)
