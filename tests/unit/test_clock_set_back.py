"""A clock that is set back puts off no deadline: what a row has in the future is from before that."""

import asyncio
import time
from collections.abc import Callable

import pytest
from sqlalchemy import text, update

from raypipe.config import Limit
from raypipe.errors import JournalUnavailable
from raypipe.journal import Journal, WebhookRecord
from raypipe.journal.database import HEAD, open_database
from raypipe.journal.tables import coordinators, webhook_messages, webhooks
from raypipe.limits import Account
from raypipe.models import Image, Kind, StepFailure, StepState
from raypipe.providers.base import Delivery, ImageWork, Pending, Work
from tests.journals import claim
from tests.patience import patience

from .test_journal import add_video
from .test_limits import key, rank
from .test_simulated import image_work, simulated
from .test_steps import Rig, Test, Vendor, hosted, journal, settings, with_rig

__all__ = ["journal", "settings", "with_rig"]

HOURS = 3 * 3_600.0


def test_a_dead_coordinators_lease_ends_at_most_its_length_after_another_looks(
    journal: Journal, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_id = add_video(journal)
    claim(journal, "dead")
    with journal._engine.begin() as connection:
        connection.execute(update(coordinators).values(lease_until=time.time() + HOURS))
    monkeypatch.setattr("raypipe.journal.leases.LEASE_SECONDS", 0.2)
    assert claim(journal, "alive") == [], "it may live: its clock may be a little ahead"
    deadline, taken = time.monotonic() + patience(10), []
    while not taken:
        assert time.monotonic() < deadline
        taken = claim(journal, "alive")
    assert [(video.id, video.epoch) for video in taken] == [(video_id, 2)]


def test_a_journal_is_brought_up_to_date_although_a_lease_seems_to_end_in_hours(
    journal: Journal,
) -> None:
    claim(journal, "dead")
    url = str(journal._engine.url)

    def age(lease_until: float) -> None:
        with journal._engine.begin() as connection:
            connection.execute(update(coordinators).values(lease_until=lease_until))
            connection.execute(text("update alembic_version set version_num = '0009'"))

    age(time.time() + 5)
    with pytest.raises(JournalUnavailable, match="in use"):
        open_database(url)
    age(time.time() + HOURS)
    with pytest.raises(JournalUnavailable, match=r"duplicate|exists"):  # it goes on to the migration itself
        open_database(url)
    assert HEAD > "0009"


def test_a_create_that_was_not_answered_is_sent_again_after_its_own_time(
    with_rig: Callable[[Test], None],
) -> None:
    async def test(rig: Rig) -> None:
        await rig.leave(state=StepState.SENT, attempt=1, sent_at=time.time() + HOURS)
        vendor = Vendor(None)
        async with asyncio.timeout(patience(20)):
            assert isinstance(await rig.run(hosted(rig, vendor)), Image)
        assert vendor.told == ["find", "submit 2", "poll job 2"]

    with_rig(test)


def test_a_job_is_given_up_when_its_deadline_has_passed(with_rig: Callable[[Test], None]) -> None:
    class Slow(Vendor):
        deadline_seconds = 0.2

        async def poll(self, job_id: str, work: Work) -> Delivery | Pending:
            return Pending(poll_after=0.05)

    async def test(rig: Rig) -> None:
        accepted = {"state": StepState.ACCEPTED, "provider_job_id": "job 1", "attempt": 1}
        await rig.leave(**accepted, sent_at=time.time() + HOURS)
        async with asyncio.timeout(patience(20)):
            failure = await rig.run(hosted(rig, Slow(None)))
        assert isinstance(failure, StepFailure)
        assert failure.code == "took_too_long"

    with_rig(test)


def test_an_accounts_window_is_no_longer_than_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.limits.WINDOW", 0.2)

    async def test() -> None:
        account, later = Account(Limit(in_flight=5, per_minute=1)), time.time() + HOURS
        account.begin([(key(1), later)], [later])
        async with asyncio.timeout(patience(10)):
            await account.acquire(rank(2), key(2))

    asyncio.run(test())


def test_a_webhook_is_told_what_was_to_be_told_in_the_future(journal: Journal) -> None:
    async def test() -> None:
        hook = WebhookRecord(id="wh_1", tenant="local", url="https://example.com/", created_at=time.time())
        await journal.webhooks.add(hook)
        video_id = add_video_async(journal)
        await journal.writer.transact(
            lambda c: c.execute(update(webhooks).values(created_at=time.time() + HOURS))
        )
        await journal.cancel(await video_id)
        (message,) = await journal.webhooks.due(10)
        await journal.webhooks.not_told(message, "busy")
        assert await journal.webhooks.due(10) == []
        later = update(webhook_messages).values(next_at=time.time() + 30 * HOURS)
        await journal.writer.transact(lambda connection: connection.execute(later))
        assert [again.id for again in await journal.webhooks.due(10)] == [message.id]

    async def add_video_async(journal: Journal) -> str:
        return await asyncio.to_thread(add_video, journal)

    asyncio.run(test())


def test_a_simulated_job_is_ready_after_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        provider, work = simulated(), image_work(image=5.0)
        assert isinstance(work, ImageWork)
        assert work.kind is Kind.IMAGE
        job_id = await provider.submit(work, "vid/image/0/1/1")
        assert isinstance(await provider.poll(job_id, work), Pending)
        set_back = time.time() - HOURS
        monkeypatch.setattr("raypipe.providers.simulated.time.time", lambda: set_back)
        assert isinstance(await provider.poll(job_id, work), Delivery)

    asyncio.run(test())
