"""Where CPU work runs: renders and encodes as Ray tasks that hold a CPU, work of milliseconds on helpers.

A helper is a long-lived actor that holds no CPU, so what it does never queues behind renders. (Tasks with no CPUs would
not queue either, but nothing bounds them: Ray starts a process for each that is pending.)
"""

import asyncio
import itertools
import os
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ray
from ray.exceptions import (
    ActorDiedError,
    ActorUnschedulableError,
    ObjectStoreFullError,
    OutOfDiskError,
    RayError,
    RayTaskError,
    RuntimeEnvSetupError,
    TaskUnschedulableError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.errors import DiskFull, InternalError, RaypipeError, RayUnavailable, WorkerLost, as_raypipe_error

#: helpers of a cluster: one for each CPU it has when they start, up to this number
MOST_HELPERS = 8
#: calls that one helper works on at a time
HELPER_THREADS = 2
#: longest that a helper may work on one call; a decoder that hangs must not hold the others up for ever
HELPER_SECONDS = 120.0
#: what becomes of a helper's call when its process dies: seconds before each further try on another
RETRY_AFTER = (0.2, 0.5, 1.0)
#: renders give way to what others wait for: the lowest priority there is
RENDER_NICENESS = 19


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
    """The helpers of a coordinator; calls go to them in turn. It travels to the gateway as their names."""

    def __init__(self, names: list[str]) -> None:
        self._names = names
        self._turns = itertools.count()
        self._actors: list[Any] | None = None

    @classmethod
    def named(cls, number: int | None = None) -> "Helpers":
        """Name so many helpers, or as many as suit the cluster; they are started later."""
        cpus = int(ray.cluster_resources().get("CPU", 1))
        number = number or min(MOST_HELPERS, max(1, cpus, len(ray.nodes())))
        return cls([f"raypipe-helper-{secrets.token_hex(8)}" for _ in range(number)])

    def start(self) -> None:
        """Start their processes, on different nodes where there are several."""
        actor = ray.remote(Helper)
        options = {"num_cpus": 0, "max_concurrency": HELPER_THREADS, "max_restarts": -1}
        nodes = itertools.cycle(node["NodeID"] for node in ray.nodes() if node["Alive"])
        self._actors = [
            actor.options(
                name=name,
                scheduling_strategy=NodeAffinitySchedulingStrategy(next(nodes), soft=False),
                **options,
            ).remote()
            for name in self._names
        ]

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as names: handles in its arguments could keep Ray from starting the gateway again."""
        return Helpers, (self._names,)

    @property
    def _living(self) -> list[Any]:
        """The helpers that are not gone for good; handles are looked up when they are first needed."""
        if not self._actors:
            self._actors = [actor for actor in map(_actor_named, self._names) if actor is not None]
        return self._actors

    async def ready(self, rehearse: Callable[[], Any]) -> None:
        """Return when all of them have called a function that loads what their work needs."""
        await asyncio.gather(*(actor.run.remote(rehearse) for actor in self._living))

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
        if not self._living:
            raise WorkerLost("no helper is left")
        actor = self._living[next(self._turns) % len(self._living)]
        try:
            async with asyncio.timeout(HELPER_SECONDS):
                ran: Ran = await _result(actor.run.remote(function, *args))
        except TimeoutError:
            ray.kill(actor, no_restart=False)
            raise InternalError(f"{_name_of(function)} took more than {HELPER_SECONDS:g} s") from None
        except WorkerLost as error:
            # one whose node is gone is never started again
            if (
                isinstance(error.__cause__, ActorDiedError | ActorUnschedulableError)
                and actor in self._living
            ):
                self._living.remove(actor)
            raise
        return ran

    def kill(self) -> None:
        """End their processes."""
        for actor in self._living:
            ray.kill(actor)


async def run_on_cpu(function: Callable[..., Any], *args: Any) -> Ran:
    """Call a function in a Ray task that holds a CPU.

    Raises:
        RaypipeError: What the function raised.
        WorkerLost: Its process died, more often than Ray starts it again.
    """
    ran: Ran = await _result(_task.remote(function, args))
    return ran


async def render(
    function: Callable[..., Any],
    *args: Any,
    num_cpus: float,
    num_gpus: float,
    started: Callable[[str, float], Any],
) -> Any:
    """Call a function in a Ray task of low priority that reports when it gets its CPUs and GPUs.

    Args:
        function: What to call.
        args: What to call it with.
        num_cpus: CPUs it holds.
        num_gpus: GPUs it holds.
        started: Coroutine function that is awaited with the node and the time (Unix seconds) of its start.

    Raises:
        RaypipeError: What the function raised.
        WorkerLost: Its process died, more often than Ray starts it again.
    """
    reports = _reporting_task.options(num_cpus=num_cpus, num_gpus=num_gpus).remote(function, args)
    await started(*await _result(await anext(reports)))
    return await _result(await anext(reports))


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
    return WorkerLost(_LOST.get(type(error).__name__, f"the process doing it was lost: {first_line}"))


#: what Ray's errors mean to people, by their class
_LOST = {
    "ActorDiedError": "the process doing it died",
    "ActorUnavailableError": "the process doing it died and is being started again",
    "WorkerCrashedError": "the process doing it died, each time it was tried",
    "OutOfMemoryError": "the process doing it was ended because memory ran out",
    "NodeDiedError": "the node doing it was lost",
}


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]


def _name_of(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", "a worker").strip("_")


def _actor_named(name: str) -> Any:
    try:
        return ray.get_actor(name)
    except ValueError:
        return None


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
    os.nice(max(0, RENDER_NICENESS - os.nice(0)))
    yield ray.get_runtime_context().get_node_id(), time.time()
    yield _run(function, args).value


def _run(function: Callable[..., Any], args: tuple[Any, ...]) -> Ran:
    """Call a function; what it raises leaves the process as an error of raypipe's, whose text any process can read."""
    began = time.time()
    try:
        value = function(*args)
    except Exception as error:  # noqa: BLE001 - the boundary of the process
        raise as_raypipe_error(error, _name_of(function)) from None
    return Ran(ray.get_runtime_context().get_node_id(), began, value)
