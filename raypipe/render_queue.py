"""Whose render is next: the oldest video's, so that films end in the order in which they came.

Ray gives a free CPU to whatever was submitted first. With many films under way that is the newest film's image before
the oldest film's clip, and all of them end together, late. So renders wait here, in front of Ray, which is handed only
as many as there are CPUs and GPUs for. One actor keeps the queue of all gateways of an installation.
"""

import asyncio
import heapq
import itertools
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from raypipe.config import Settings
from raypipe.journal import StepKey
from raypipe.limits import Rank
from raypipe.workers import detached

logger = logging.getLogger(__name__)

#: renders that may wait at once
WAITING_RENDERS = 20_000
#: seconds between looks at what the cluster has
CLUSTER_LOOK_SECONDS = 2.0
#: on a cluster that others start, Ray is handed so many times what there is: what waits there makes it grow
PENDING_ON_A_CLUSTER = 2.0
#: what a render may hold
RESOURCES = ("CPU", "GPU")

#: how much of each resource
Amounts = Mapping[str, float]


class Holder(NamedTuple):
    """Who renders what: a step, at one life of a gateway."""

    gateway: str
    life: str
    step: StepKey


class _Waiting(NamedTuple):
    rank: Rank
    number: int
    holder: Holder
    needs: Amounts
    turn: "asyncio.Future[None]"


class RenderQueue:
    """Who holds what of a cluster, and who waits for it. Used from one event loop."""

    def __init__(self, totals: Amounts) -> None:
        self._totals = totals
        self._waiting: list[_Waiting] = []
        self._turns: dict[Holder, asyncio.Future[None]] = {}
        self._numbers = itertools.count()
        self._held: dict[Holder, Amounts] = {}
        #: the newest life of each gateway
        self._lives: dict[str, str] = {}

    async def acquire(self, rank: Rank, holder: Holder, needs: Amounts) -> None:
        """Return when a render may begin; what earlier lives of its gateway held is free."""
        if self._lives.setdefault(holder.gateway, holder.life) != holder.life:
            self._lives[holder.gateway] = holder.life
            for other in [*self._held, *self._turns]:
                if other.gateway == holder.gateway and other.life != holder.life:
                    self._forget(other)
        self._forget(holder)
        turn = self._turns[holder] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, _Waiting(rank, next(self._numbers), holder, needs, turn))
        self._grant()
        await turn

    def release(self, holder: Holder) -> None:
        """Say that a render has ended, or is not waited for any more."""
        self._forget(holder)
        self._grant()

    def _forget(self, holder: Holder) -> None:
        self._held.pop(holder, None)
        if (turn := self._turns.pop(holder, None)) is not None:
            turn.cancel()

    def resize(self, totals: Amounts) -> None:
        """Say how much the cluster has by now."""
        self._totals = totals
        self._grant()

    def _grant(self) -> None:
        """Begin what there is room for, by rank; a render that waits for a resource is not overtaken in it."""
        left = {name: self._totals.get(name, 0.0) - self._sum(name) for name in RESOURCES}
        still_waiting: list[_Waiting] = []
        while self._waiting and any(amount > 0 for amount in left.values()):
            render = heapq.heappop(self._waiting)
            if render.turn.done():  # whoever waited was cancelled
                continue
            # what the cluster does not have is left to Ray, which says so
            needs = {name: min(amount, self._totals.get(name, 0.0)) for name, amount in render.needs.items()}
            missing = [name for name, amount in needs.items() if amount > left[name]]
            if missing:
                left |= dict.fromkeys(missing, 0.0)
                still_waiting.append(render)
                continue
            left = {name: amount - needs.get(name, 0.0) for name, amount in left.items()}
            self._held[render.holder] = needs
            render.turn.set_result(None)
        for render in still_waiting:
            heapq.heappush(self._waiting, render)

    def _sum(self, name: str) -> float:
        return sum(held.get(name, 0.0) for held in self._held.values())


class RenderQueueActor:
    """The actor. One that was killed begins anew: for a moment Ray is handed more than there is room for, and waits."""

    def __init__(self, settings: Settings) -> None:
        self._beyond = 1.0 if settings.ray_address == "local" else PENDING_ON_A_CLUSTER
        self._queue: RenderQueue | None = None
        self._looking: asyncio.Task[None] | None = None

    async def acquire(self, rank: Rank, holder: Holder, needs: dict[str, float]) -> None:
        """Return when a render may begin."""
        if self._queue is None:
            totals = await asyncio.to_thread(self._totals)
            if self._queue is None:
                self._queue = RenderQueue(totals)
                self._looking = asyncio.create_task(self._look(self._queue))
        await self._queue.acquire(rank, holder, needs)

    async def release(self, holder: Holder) -> None:
        """Say that a render has ended."""
        if self._queue is not None:
            self._queue.release(holder)

    async def _look(self, queue: RenderQueue) -> None:
        while True:
            await asyncio.sleep(CLUSTER_LOOK_SECONDS)
            try:
                queue.resize(await asyncio.to_thread(self._totals))
            except RayError as error:
                logger.warning("What the cluster has cannot be read for now: %s", error)

    def _totals(self) -> dict[str, float]:
        found = ray.cluster_resources()
        return {name: found.get(name, 0.0) * self._beyond for name in RESOURCES}


class RenderTurns:
    """A gateway's client of the actor, which it starts on first use."""

    def __init__(self, family: str, node: str, settings: Settings) -> None:
        self._made_with = f"{family}/render-queue", node, WAITING_RENDERS, settings
        context = ray.get_runtime_context()
        self._gateway, self._life = context.get_actor_name(), context.get_worker_id()
        self._actor: Any = None

    @asynccontextmanager
    async def turn(self, rank: Rank, step: StepKey, cpus: float = 1, gpus: float = 0) -> AsyncIterator[None]:
        """Wait until a step's render may begin, and hold what it needs while it runs."""
        if not cpus and not gpus:
            yield
            return
        if self._actor is None:
            name, node, calls, settings = self._made_with
            self._actor = detached(RenderQueueActor, name, node, calls, settings, retries=-1)
        actor, holder = self._actor, Holder(self._gateway, self._life, step)
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
