"""Pacing of one account, without the actor."""

import asyncio
import time
from typing import Any

import pytest

from raypipe.config import Limit
from raypipe.journal import StepKey
from raypipe.limits import Account, Rank
from tests.patience import patience


def key(number: int) -> StepKey:
    return f"vid_{number}", "chunk/0", 1


def rank(number: int, later: int = 1) -> Rank:
    return Rank(f"vid_{number}", later, "chunk/0")


async def turns(account: Account, *ranks: Rank) -> list[tuple[Rank, float]]:
    """Have all wait at once, each released as soon as it has its turn; gives the order and the times."""
    got: list[tuple[Rank, float]] = []

    async def one(number: int, each: Rank) -> None:
        await account.acquire(each, key(number))
        got.append((each, time.monotonic()))
        await asyncio.sleep(0)
        account.release(key(number))

    await asyncio.gather(*(one(number, each) for number, each in enumerate(ranks)))
    return got


def test_no_more_are_in_flight_than_the_limit_and_the_next_comes_when_one_is_done() -> None:
    async def test() -> None:
        account = Account(Limit(in_flight=2))
        under_way, most = 0, 0

        async def one(number: int) -> None:
            nonlocal under_way, most
            await account.acquire(rank(number), key(number))
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.01)
            under_way -= 1
            account.release(key(number))

        await asyncio.gather(*map(one, range(20)))
        assert (most, account.used) == (2, False)

    asyncio.run(test())


def test_in_any_window_no_more_are_sent_than_the_rate_and_nearly_as_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("raypipe.limits.WINDOW", 0.3)

    async def test() -> list[float]:
        return [at for _, at in await turns(Account(Limit(per_minute=5)), *map(rank, range(20)))]

    times = asyncio.run(test())
    assert all(later - earlier >= 0.3 - 0.005 for earlier, later in zip(times, times[5:], strict=False))
    assert times[-1] - times[0] < patience(4 * 0.3)


def test_the_oldest_video_goes_first_and_in_it_its_followers() -> None:
    async def test() -> list[Rank]:
        account = Account(Limit(in_flight=1))
        await account.acquire(rank(99), ("vid_99", "image/0", 1))
        waiting = asyncio.create_task(turns(account, rank(3), rank(2, later=1), rank(2, later=0), rank(1)))
        await asyncio.sleep(0.01)
        account.release(("vid_99", "image/0", 1))
        return [each for each, _ in await waiting]

    assert asyncio.run(test()) == [rank(1), rank(2, later=0), rank(2, later=1), rank(3)]


def test_nothing_is_granted_while_the_provider_asks_to_wait() -> None:
    async def test() -> float:
        account, began = Account(Limit(in_flight=5)), time.monotonic()
        account.hold(0.2)
        await account.acquire(rank(1), key(1))
        return time.monotonic() - began

    assert asyncio.run(test()) >= 0.19


def test_who_stops_waiting_takes_nobodys_turn() -> None:
    async def test() -> None:
        account = Account(Limit(in_flight=1))
        await account.acquire(rank(1), key(1))
        gone = asyncio.create_task(account.acquire(rank(2), key(2)))
        there = asyncio.create_task(account.acquire(rank(3), key(3)))
        await asyncio.sleep(0)
        gone.cancel()
        account.release(key(1))
        async with asyncio.timeout(patience(1)):
            await there

    asyncio.run(test())


def test_one_that_begins_again_counts_what_rows_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.limits.WINDOW", 30.0)

    async def test() -> tuple[float, Any]:
        now = time.time()
        account = Account(Limit(in_flight=2, per_minute=3))
        account.begin([(key(1), now - 30)], [now - 29.8, now - 29.8, now - 29.8])
        began = time.monotonic()
        await account.acquire(rank(2), key(2))
        waited = time.monotonic() - began
        blocked = asyncio.create_task(account.acquire(rank(3), key(3)))
        await asyncio.sleep(0.4)
        assert not blocked.done()
        account.compare([(key(2), now)])  # the first has ended, as its row says
        async with asyncio.timeout(patience(1)):
            await blocked
        return waited, account

    waited, _ = asyncio.run(test())
    assert 0.15 < waited < 20, "the window began when its creates were sent"


def test_what_was_granted_and_never_sent_is_free_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("raypipe.limits.GRANT_SECONDS", 0.05)

    async def test() -> None:
        account = Account(Limit(in_flight=1))
        await account.acquire(rank(1), key(1))
        account.compare([])
        waiting = asyncio.create_task(account.acquire(rank(2), key(2)))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        account.compare([])
        async with asyncio.timeout(patience(1)):
            await waiting

    asyncio.run(test())
