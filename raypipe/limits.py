"""Limits of a provider's account, kept by one actor for all gateways: jobs in flight, and creates a minute.

The actor only paces. What is in flight is what rows say, so an actor that was killed begins again from the journal, and
what a dead gateway was granted and never sent is free again after a while.
"""

import asyncio
import heapq
import itertools
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import ray

from raypipe.config import Limit, Settings
from raypipe.errors import RaypipeError
from raypipe.journal import Journal, StepKey
from raypipe.workers import detached

logger = logging.getLogger(__name__)

#: seconds of a minute, and the time that a create may take longer than another to arrive
WINDOW = 61.0
#: seconds between looks at the rows
LOOK_INTERVAL = 2.0
#: seconds after which what was granted and is not in flight counts as never sent
GRANT_SECONDS = 20.0
#: seconds within which the row of what was granted last says so, after this actor has died
SETTLE_SECONDS = 1.0
#: calls that may wait for their turn
CALLS = 20_000


class Rank(NamedTuple):
    """Whose turn it is first: the oldest video's, and in it a follower's, so that films finish one after the other."""

    video_id: str
    later: int
    step: str


class _Waiting(NamedTuple):
    rank: Rank
    number: int
    key: StepKey
    turn: "asyncio.Future[None]"


class Account:
    """What one account has in flight and has sent, and who waits for a turn. Used from one event loop."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._waiting: list[_Waiting] = []
        self._numbers = itertools.count()
        #: when each was granted, by the monotonic clock, as are all times here
        self._granted: dict[StepKey, float] = {}
        self._sent: deque[float] = deque()
        self._held_until = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def used(self) -> bool:
        """Whether anything is granted, or waits."""
        return bool(self._granted or self._waiting)

    async def acquire(self, rank: Rank, key: StepKey) -> None:
        """Return when a step may send its create."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, _Waiting(rank, next(self._numbers), key, turn))
        self._pump()
        await turn

    def release(self, key: StepKey) -> None:
        """Count a step as no longer in flight."""
        self._granted.pop(key, None)
        self._pump()

    def hold(self, seconds: float) -> None:
        """Grant nothing for so many seconds: the provider asks to wait."""
        self._held_until = max(self._held_until, time.monotonic() + seconds)

    def begin(self, in_flight: Iterable[tuple[StepKey, float]], sent: Iterable[float]) -> None:
        """Take over what rows say is in flight, and when something was sent."""
        self._granted.update({key: _monotonic(at) for key, at in in_flight})
        self._sent.extend(sorted(map(_monotonic, sent)))

    def compare(self, in_flight: Iterable[tuple[StepKey, float]]) -> None:
        """Count as in flight what rows say, and what was granted so lately that its row may not say it yet."""
        now = time.monotonic()
        lately = {key: at for key, at in self._granted.items() if now - at < GRANT_SECONDS}
        self._granted = lately | {key: self._granted.get(key, _monotonic(at)) for key, at in in_flight}
        self._pump()

    def _pump(self) -> None:
        while self._waiting:
            now = time.monotonic()
            waiting = self._waiting[0]
            if waiting.turn.done():  # whoever waited was cancelled
                heapq.heappop(self._waiting)
                continue
            if (at := self._next_at(waiting.key, now)) > now:
                self._again(at - now)
                return
            heapq.heappop(self._waiting)
            self._granted[waiting.key] = now
            self._sent.append(now)
            waiting.turn.set_result(None)

    def _next_at(self, key: StepKey, now: float) -> float:
        """Return when the next create may be sent; infinity if one in flight has to end first."""
        most, rate = self._limit.in_flight, self._limit.per_minute
        if most is not None and len(self._granted.keys() - {key}) >= most:
            return float("inf")
        at = self._held_until
        if rate is not None:
            while self._sent and self._sent[0] <= now - WINDOW:
                self._sent.popleft()
            if len(self._sent) >= rate:
                at = max(at, self._sent[-rate] + WINDOW)
        return at

    def _again(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if seconds < float("inf"):
            self._timer = asyncio.get_running_loop().call_later(seconds, self._pump)


def _monotonic(at: float) -> float:
    """Return a row's time by the clock that nobody sets; a time in the future is from before the other was set."""
    return time.monotonic() - max(0.0, time.time() - at)


class Limiter:
    """The actor. Ray starts it again when its process dies, and sends it the calls again that were waiting."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._accounts: dict[str, asyncio.Task[Account]] = {}
        self._journal: Journal | None = None
        self._looking: list[asyncio.Task[None]] = []

    async def acquire(self, account: str, limit: Limit, rank: Rank, key: StepKey) -> None:
        """Return when a step may send its create."""
        await (await self._account(account, limit)).acquire(rank, key)

    async def release(self, account: str, limit: Limit, key: StepKey) -> None:
        """Count a step as no longer in flight."""
        (await self._account(account, limit)).release(key)

    async def hold(self, account: str, limit: Limit, seconds: float) -> None:
        """Grant an account nothing for so many seconds."""
        (await self._account(account, limit)).hold(seconds)

    async def _account(self, name: str, limit: Limit) -> Account:
        task = self._accounts.get(name)
        if task is None or (task.done() and task.exception() is not None):
            task = self._accounts[name] = asyncio.create_task(self._begin(name, limit))
        return await asyncio.shield(task)

    async def _begin(self, name: str, limit: Limit) -> Account:
        if self._journal is None:
            self._journal = await asyncio.to_thread(Journal, self._settings.journal_url)
        account = Account(limit)
        if ray.get_runtime_context().was_current_actor_reconstructed:
            await asyncio.sleep(SETTLE_SECONDS)
        sent = await self._journal.sent_since(name, time.time() - WINDOW)
        account.begin(await self._journal.in_flight(name), sent)
        self._looking.append(asyncio.create_task(self._look(name, account, self._journal)))
        return account

    async def _look(self, name: str, account: Account, journal: Journal) -> None:
        while True:
            await asyncio.sleep(LOOK_INTERVAL)
            if account.used:
                try:
                    account.compare(await journal.in_flight(name))
                except RaypipeError as error:
                    logger.warning("What is in flight at %s cannot be read: %s", name, error)


class Turns:
    """A gateway's way to the actor."""

    def __init__(self, family: str, node: str, settings: Settings) -> None:
        self._name, self._node, self._settings = f"{family}/limiter", node, settings
        self._actor: Any = None

    async def acquire(self, account: str, limit: Limit, rank: Rank, key: StepKey) -> None:
        """Return when a step may send its create."""
        if self._actor is None:
            made_with = self._name, self._node, CALLS, self._settings
            self._actor = detached(Limiter, *made_with, retries=-1)
        await self._actor.acquire.remote(account, limit, rank, key)

    def release(self, account: str, limit: Limit, key: StepKey) -> None:
        """Say that a step is no longer in flight; nobody waits for that to be heard."""
        if self._actor is not None:
            self._actor.release.remote(account, limit, key)

    def hold(self, account: str, limit: Limit, seconds: float) -> None:
        """Say that the provider asks to wait."""
        if self._actor is not None:
            self._actor.hold.remote(account, limit, seconds)


class StepTurn(NamedTuple):
    """The turn of one step."""

    turns: Turns
    account: str
    limit: Limit
    rank: Rank
    key: StepKey

    async def acquire(self) -> None:
        """Return when its create may be sent."""
        await self.turns.acquire(self.account, self.limit, self.rank, self.key)

    def release(self) -> None:
        """Say that its work is no longer under way."""
        self.turns.release(self.account, self.limit, self.key)

    def hold(self, seconds: float) -> None:
        """Say that the provider asks everybody to wait."""
        self.turns.hold(self.account, self.limit, seconds)
