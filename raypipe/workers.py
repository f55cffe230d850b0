"""Where CPU work runs: renders and encodes as Ray tasks that hold a CPU, work of milliseconds on helpers.

A helper is a long-lived actor that holds no CPU, so what it does never queues behind renders. (Tasks with no CPUs would
not queue either, but nothing bounds them: Ray starts a process for each that is pending.)
"""

import asyncio
import itertools
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import ray
from ray.exceptions import (
    ActorDiedError,
    ObjectStoreFullError,
    OutOfDiskError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskUnschedulableError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.config import memory_tries_are_bounded
from raypipe.errors import (
    DiskFull,
    InternalError,
    OutOfMemory,
    RaypipeError,
    RayUnavailable,
    WorkerLost,
    as_raypipe_error,
)

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

#: Ray's namespace of raypipe's long-lived actors
NAMESPACE = "raypipe"
#: helpers of a cluster: one for each CPU it has when they start, up to this number
MOST_HELPERS = 8
#: calls that one helper works on at a time
HELPER_THREADS = 2
#: longest that a helper's call may take, with its turn in the queue; a decoder that hangs must not stop it for ever
HELPER_SECONDS = 600.0
#: what becomes of work when its process dies: seconds before each further try
RETRY_AFTER = (0.1, 0.2, 0.5, 1.0, 2.0)
#: what makes videos gives way to what answers people, where Ray starts processes at a higher priority than its default;
#: renders give way to that too: the lowest priority there is
WORK_NICENESS, RENDER_NICENESS = 15, 19


def give_way(niceness: int) -> None:
    """Raise the niceness of this thread, and of those that it starts, to `niceness` (0 to 19) at least."""
    os.nice(max(0, niceness - os.nice(0)))


class Ran(NamedTuple):
    """What a call gave, where it ran, and when it began (Unix seconds)."""

    node: str
    began: float
    value: Any


class Helper:
    """An actor for CPU work of milliseconds."""

    def run(self, function: Callable[..., Any], *args: Any) -> Ran:
        """Call a function in this process."""
        return _run(function, args)


class Helpers:
    """An installation's helpers; calls go to them in turn. Whoever needs them first starts them.

    They are detached, so that no coordinator's end is theirs, and are found by their names.
    """

    def __init__(self, family: str, number: int) -> None:
        """Name so many helpers of a family of actors."""
        self._family, self.number = family, number
        self._turns = itertools.count()

    @classmethod
    def suiting(cls, family: str) -> "Helpers":
        """Name as many helpers as suit the cluster."""
        cpus = int(ray.cluster_resources().get("CPU", 1))
        return cls(family, min(MOST_HELPERS, max(1, cpus, len(ray.nodes()))))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as names: handles in its arguments could keep Ray from starting the gateway again."""
        return Helpers, (self._family, self.number)

    @cached_property
    def _actors(self) -> list[Any]:
        """Handles of all, on different nodes where there are several."""
        nodes = itertools.cycle(sorted(node["NodeID"] for node in ray.nodes() if node["Alive"]))
        return [
            detached(Helper, f"{self._family}/helper-{number}", next(nodes), HELPER_THREADS)
            for number in range(self.number)
        ]

    async def ready(self, rehearse: Callable[[], Any]) -> None:
        """Return when all of them have called a function that loads what their work needs."""
        await asyncio.gather(*(actor.run.remote(rehearse) for actor in self._actors))

    async def run(self, function: Callable[..., Any], *args: Any) -> Ran:
        """Call a function on a helper; if its process dies, on another.

        Raises:
            RaypipeError: What the function raised.
            WorkerLost: Each helper tried has died.
        """
        for pause in RETRY_AFTER:
            try:
                return await self._run_once(function, args)
            except WorkerLost:
                await asyncio.sleep(pause)
        return await self._run_once(function, args)

    async def _run_once(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Ran:
        actor = self._actors[next(self._turns) % self.number]
        try:
            async with asyncio.timeout(HELPER_SECONDS):
                ran: Ran = await _result(actor.run.remote(function, *args))
        except TimeoutError:
            ray.kill(actor, no_restart=False)
            raise InternalError(f"{_name_of(function)} took more than {HELPER_SECONDS:g} s") from None
        except WorkerLost as error:
            if isinstance(error.__cause__, ActorDiedError):  # for good; the next call starts another
                self.__dict__.pop("_actors", None)
            raise
        return ran


def detached(kind: type, name: str, node: str, calls: int, *args: Any, retries: int = 0) -> Any:
    """Find a long-lived actor by its name, or start it; it ends when it is killed, or its cluster ends.

    Args:
        kind: Its class, whose `__init__` opens nothing: an actor whose `__init__` fails when it is started again stays
            dead.
        name: Its name among the actors of all raypipes.
        node: Where it should run; elsewhere if that node is lost.
        calls: How many calls it works on at a time.
        args: What to make it with; the same for all who may come first.
        retries: How often Ray sends a call again whose process died: 0, or -1 for always. (Any other number is used up
            while the actor is still being started, https://github.com/ray-project/ray/issues/44719.)
    """
    options = {
        "name": name,
        "namespace": NAMESPACE,
        "get_if_exists": True,
        "lifetime": "detached",
        "num_cpus": 0,
        # Ray 2.60 heeds a soft affinity only of actors that ask for something
        "memory": 2**20,
        "max_concurrency": calls,
        "max_restarts": -1,
        "max_task_retries": retries,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=True),
    }
    return ray.remote(kind).options(**options).remote(*args)


async def run_on_cpu(function: Callable[..., Any], *args: Any) -> Ran:
    """Call a function in a Ray task that holds a CPU; if its process dies, again.

    Raises:
        RaypipeError: What the function raised.
        WorkerLost: Its process died each time.
    """
    return await _tried_again(
        lambda: _result(_task.options(max_retries=_ray_retries()).remote(function, args))
    )


async def _tried_again(run: Callable[[], Awaitable[ResultT]]) -> ResultT:
    """Run what may lose its process so often, and no oftener."""
    for pause in RETRY_AFTER:
        try:
            return await run()
        except WorkerLost as error:
            if isinstance(error, OutOfMemory) and _ray_retries():
                raise
            logger.warning("%s; it is done again", error)
            await asyncio.sleep(pause)
    return await run()


def _ray_retries() -> int:
    """Return how often Ray itself tries a task again.

    Where memory runs out Ray first ends what it may try again: it should be the newest render, and not an actor that
    lives on. But by default it would try that again for ever.
    """
    return int(memory_tries_are_bounded())


async def render(
    function: Callable[..., Any],
    *args: Any,
    num_cpus: float,
    num_gpus: float,
    started: Callable[[str, float], Any],
) -> Any:
    """Call a function in a Ray task of low priority that reports when it gets its CPUs and GPUs; if it dies, again.

    Args:
        function: What to call.
        args: What to call it with.
        num_cpus: CPUs it holds.
        num_gpus: GPUs it holds.
        started: Coroutine function that is awaited with the node and the time (Unix seconds) of its start.

    Raises:
        RaypipeError: What the function raised.
        WorkerLost: Its process died each time.
    """

    async def run() -> Any:
        reports = _reporting_task.options(
            num_cpus=num_cpus, num_gpus=num_gpus, max_retries=_ray_retries()
        ).remote(function, args)
        try:
            await started(*await _result(await anext(reports)))
            return await _result(await anext(reports))
        except asyncio.CancelledError:
            ray.cancel(reports)
            raise

    return await _tried_again(run)


def error_of(error: RayError) -> RaypipeError:
    """Name what Ray says: what a worker raised as that, and only a process that died as a lost worker."""
    if isinstance(error, RayTaskError):
        cause = error.cause
        return cause if isinstance(cause, RaypipeError) else InternalError(_first_line(cause or error))
    first_line = _first_line(error)
    if isinstance(error, OutOfDiskError):
        return DiskFull.because(f"Ray has no room for objects: {first_line}", error)
    if isinstance(error, ObjectStoreFullError | TaskUnschedulableError | RuntimeEnvSetupError):
        return RayUnavailable(f"Ray cannot take the work: {first_line}")
    if isinstance(error, OutOfMemoryError):
        return OutOfMemory("the process doing it was ended because memory ran out, each time it was tried")
    return WorkerLost(_LOST.get(type(error).__name__, f"the process doing it was lost: {first_line}"))


#: what Ray's errors mean to people, by their class
_LOST = {
    "ActorDiedError": "the process doing it died",
    "ActorUnavailableError": "the process doing it died and is being started again",
    "WorkerCrashedError": "the process doing it died, each time it was tried",
    "NodeDiedError": "the node doing it was lost",
}


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "a worker").strip("_")


async def _result(ref: Any) -> Any:
    try:
        return await ref
    except RayError as error:
        raise error_of(error) from error


@ray.remote
def _task(function: Callable[..., Any], args: tuple[Any, ...]) -> Ran:
    return _run(function, args)


@ray.remote
def _reporting_task(function: Callable[..., Any], args: tuple[Any, ...]) -> Iterator[Any]:
    give_way(RENDER_NICENESS)
    yield ray.get_runtime_context().get_node_id(), time.time()
    yield _run(function, args).value


def _run(function: Callable[..., Any], args: tuple[Any, ...]) -> Ran:
    """Call a function; what it raises leaves the process as an error of raypipe's, whose text any process can read."""
    give_way(WORK_NICENESS)
    began = time.time()
    try:
        value = function(*args)
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        raise as_raypipe_error(error, _name_of(function)) from None
    return Ran(ray.get_runtime_context().get_node_id(), began, value)
