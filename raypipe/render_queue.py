"""Whose render is next: the oldest video's, so that films end in the order in which they came.

Ray gives a free CPU to whatever was submitted first. With many films under way that is the newest film's image before
the oldest film's clip, and all of them end together, late. So renders wait here, in front of Ray, which is handed only
as many as there are CPUs and GPUs for. One actor keeps the queue of all gateways of an installation.

A gateway holds for as long as the turn of one of its steps lasts: a render whose process is ended where memory runs out
is tried again within its turn. It frees when the turn ends, also one that is cancelled while it waits. What a gateway
cannot free because its process has died, the actor frees: when the next life of that gateway asks for a turn, or, for
one that renders nothing any more, when it next asks Ray which processes live. What was held when the actor itself died
is free: Ray is handed more than there is room for until those renders have ended. Who is wrongly taken for dead loses
the order, and no render.
"""

import asyncio
import heapq
import itertools
import logging
import os
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import ray
from ray._private.state import actors
from ray.exceptions import RayError

from raypipe.config import Settings
from raypipe.journal import StepKey
from raypipe.limits import Rank
from raypipe.workers import detached

logger = logging.getLogger(__name__)

#: calls that the actor works on at once: more than may ever wait, since one that frees must not wait behind them
CALLS = 1_000_000
#: turns remembered that were ended before they were asked for
EARLY_RELEASES = 20_000
#: seconds between looks at what the cluster has, and at who lives
CLUSTER_LOOK_SECONDS = 2.0
#: on a cluster that others start, Ray is handed so many times what there is: what waits there makes it grow
PENDING_ON_A_CLUSTER = 2.0
#: what a render may hold
RESOURCES = ("CPU", "GPU")
#: what is left over where amounts such as 0.1 are added and taken away
ROUNDING = 1e-6

#: how much of each resource
Amounts = Mapping[str, float]
#: how much of each of `RESOURCES`
Needs = tuple[float, ...]


class Life(NamedTuple):
    """A gateway from one start of its process to the next."""

    #: Ray's id of the actor
    gateway: str
    #: names the process
    process: str


class Holder(NamedTuple):
    """Who renders what: a step, at one life of a gateway."""

    gateway: str
    process: str
    step: StepKey
    #: which of the life's turns; a step that is tried again has another
    turn: int = 0

    @property
    def life(self) -> Life:
        """Of whose process this is."""
        return Life(self.gateway, self.process)


class _Waiting(NamedTuple):
    rank: Rank
    number: int
    holder: Holder
    turn: "asyncio.Future[None]"


class RenderQueue:
    """Who holds what of a cluster, and who waits for it. Used from one event loop.

    Args:
        totals: How much the cluster has; None while that is not known, and nothing begins.
        grows: Whether the cluster may have more when more is asked for.
    """

    def __init__(self, totals: Amounts | None = None, grows: bool = False) -> None:
        self._totals, self._grows = totals, grows
        #: heaps, by what their renders need
        self._waiting: dict[Needs, list[_Waiting]] = {}
        self._turns: dict[Holder, asyncio.Future[None]] = {}
        self._numbers = itertools.count()
        self._held: dict[Holder, Amounts] = {}
        #: the newest life of each gateway
        self._lives: dict[str, Life] = {}
        #: turns that were ended before they were asked for, oldest first
        self._released: dict[Holder, None] = {}

    async def acquire(self, rank: Rank, holder: Holder, needs: Amounts) -> None:
        """Return when a render may begin; what earlier lives of its gateway held is free.

        A turn that has ended already, or that is held, returns at once: Ray may send a call twice, and out of order.
        """
        if self._lives.setdefault(holder.gateway, holder.life) != holder.life:
            self._bury(self._lives[holder.gateway])
            self._lives[holder.gateway] = holder.life
        if holder in self._released:
            del self._released[holder]
            return
        if holder in self._held:
            return
        await self._turn(rank, holder, tuple(needs.get(name, 0.0) for name in RESOURCES))

    def _turn(self, rank: Rank, holder: Holder, needs: Needs) -> "asyncio.Future[None]":
        if holder not in self._turns:
            turn = self._turns[holder] = asyncio.get_running_loop().create_future()
            heap = self._waiting.setdefault(needs, [])
            heapq.heappush(heap, _Waiting(rank, next(self._numbers), holder, turn))
            self._grant()
            return turn
        return self._turns[holder]

    def release(self, holder: Holder) -> None:
        """Say that a turn has ended, also one that is still waited for, or that has not been asked for yet."""
        if not self._forget(holder):
            self._released[holder] = None
            if len(self._released) > EARLY_RELEASES:
                del self._released[next(iter(self._released))]
        self._grant()

    def _forget(self, holder: Holder) -> bool:
        turn = self._turns.pop(holder, None)
        if turn is not None:
            turn.cancel()
        return self._held.pop(holder, None) is not None or turn is not None

    @property
    def lives(self) -> set[Life]:
        """Who holds something or waits for it; nobody while nobody waits, since then nobody is kept from anything."""
        if not any(not turn.done() for turn in self._turns.values()):
            return set()
        return {holder.life for holder in [*self._held, *self._turns]}

    def bury(self, dead: Collection[Life]) -> None:
        """Free what lives held, and waited for, that are over."""
        for life in dead:
            self._bury(life)
        self._grant()

    def _bury(self, life: Life) -> None:
        for holder in [*self._held, *self._turns]:
            if holder.life == life:
                self._forget(holder)

    def resize(self, totals: Amounts) -> None:
        """Say how much the cluster has by now."""
        self._totals = totals
        self._grant()

    def _grant(self) -> None:
        """Begin what there is room for, by rank; a render that waits for a resource is not overtaken in it."""
        if self._totals is None:
            return
        left = {name: self._room(name) - self._sum(name) for name in RESOURCES}
        late: set[Needs] = set()
        while (needs := self._next(late)) is not None:
            counted = self._counted(needs)
            missing = [name for name, amount in counted.items() if 0 < amount > left[name] + ROUNDING]
            if missing:
                left |= dict.fromkeys(missing, 0.0)
                late.add(needs)
                continue
            left = {name: amount - counted[name] for name, amount in left.items()}
            render = heapq.heappop(self._waiting[needs])
            self._held[render.holder] = counted
            render.turn.set_result(None)

    def _next(self, late: Collection[Needs]) -> Needs | None:
        """Return what the first of those that wait needs, but for those that need what is late."""
        first: tuple[_Waiting, Needs] | None = None
        for needs, heap in list(self._waiting.items()):
            while heap and heap[0].turn.done():  # whoever waited was cancelled
                heapq.heappop(heap)
            if not heap:
                del self._waiting[needs]
            elif needs not in late and (first is None or heap[0] < first[0]):
                first = heap[0], needs
        return None if first is None else first[1]

    def _total(self, name: str) -> float:
        return 0.0 if self._totals is None else self._totals.get(name, 0.0)

    def _room(self, name: str) -> float:
        """Return how much Ray is handed renders for; where the cluster grows, for one at least: it may begin at 0."""
        total = self._total(name)
        return max(total, 1.0) * PENDING_ON_A_CLUSTER if self._grows else total

    def _counted(self, needs: Needs) -> dict[str, float]:
        """Return what a render holds.

        One that the cluster as it is cannot run is left to Ray, which says so, or has the cluster grow. It holds only
        what nobody could use, so that no other waits for what it does not use either.
        """
        asked = dict(zip(RESOURCES, needs, strict=True))
        if all(amount <= self._total(name) for name, amount in asked.items()):
            return asked
        return {
            name: 0.0 if self._total(name) else min(amount, self._room(name))
            for name, amount in asked.items()
        }

    def _sum(self, name: str) -> float:
        return sum(held[name] for held in self._held.values())


class RenderQueueActor:
    """The actor. Ray starts it again when its process dies, and sends it the calls again that were waiting."""

    def __init__(self, settings: Settings) -> None:
        self._queue = RenderQueue(grows=settings.ray_address != "local")
        self._looking: asyncio.Task[None] | None = None

    async def acquire(self, rank: Rank, holder: Holder, needs: dict[str, float]) -> None:
        """Return when a render may begin."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        await self._queue.acquire(rank, holder, needs)

    async def release(self, holder: Holder) -> None:
        """Say that a turn has ended."""
        self._queue.release(holder)

    async def _look(self) -> None:
        while True:
            try:
                self._queue.resize(await asyncio.to_thread(_totals))
                self._queue.bury(await asyncio.to_thread(_dead, self._queue.lives))
            except Exception as error:  # noqa: BLE001 - a look that fails is not the last one
                logger.warning("What the cluster has, and who lives, cannot be read for now: %s", error)
            await asyncio.sleep(CLUSTER_LOOK_SECONDS)


def _totals() -> dict[str, float]:
    found = ray.cluster_resources()
    return {name: found.get(name, 0.0) for name in RESOURCES}


def _dead(lives: Collection[Life]) -> list[Life]:
    """Return those of some lives that are over: Ray has another process for the gateway, or none."""
    return [life for life in lives if _process_of(life.gateway) != life.process]


def _process_of(gateway: str) -> str | None:
    found = actors(gateway)
    return _process(found["Address"]["NodeID"], found["Pid"]) if found.get("State") == "ALIVE" else None


def _process(node: str, pid: int) -> str:
    return f"{node}/{pid}"


class RenderTurns:
    """A gateway's client of the actor, which it starts on first use."""

    def __init__(self, family: str, node: str, settings: Settings) -> None:
        self._made_with = f"{family}/render-queue", node, CALLS, settings
        context = ray.get_runtime_context()
        self._life = Life(context.get_actor_id(), _process(context.get_node_id(), os.getpid()))
        self._numbers = itertools.count()
        self._actor: Any = None

    @asynccontextmanager
    async def turn(self, rank: Rank, step: StepKey, cpus: float = 1, gpus: float = 0) -> AsyncIterator[None]:
        """Wait until a step's render may begin, and hold what it needs until it has ended, however it ends."""
        if not cpus and not gpus:
            yield
            return
        if self._actor is None:
            name, node, calls, settings = self._made_with
            self._actor = detached(RenderQueueActor, name, node, calls, settings, retries=-1)
        actor, holder = self._actor, Holder(*self._life, step, next(self._numbers))
        try:
            await self._acquire(actor, rank, holder, {"CPU": cpus, "GPU": gpus})
            yield
        finally:
            actor.release.remote(holder)  # nobody waits for that to be heard

    async def _acquire(self, actor: Any, rank: Rank, holder: Holder, needs: dict[str, float]) -> None:
        try:
            await actor.acquire.remote(rank, holder, needs)
        except RayError as error:  # Ray does not begin more than there is room for: only the order is lost
            logger.warning("The queue of renders is gone, and is started again: %s", error)
            self._actor = None
