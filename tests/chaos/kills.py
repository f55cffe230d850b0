"""What is done to an installation while it works: processes killed, and the worse things that happen to machines."""

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import ray
from ray.exceptions import RayError

from raypipe.workers import NAMESPACE
from tests.chaos.enclosure import bounds_memory
from tests.chaos.installation import Installation
from tests.chaos.points.sitecustomize import MEMORY, POINTS
from tests.chaos.rig import pid_of

#: seconds within which work comes to a point that is armed
COMES_WITHIN = 12.0
#: seconds for which a coordinator sleeps: longer than its lease
SLEEP = 12.0
#: seconds for which the journal is locked, or the disk full
OUTAGE = 5.0


class Kill(NamedTuple):
    """Something that was done."""

    kind: str
    #: Unix seconds
    at: float
    #: what died, or what was done to what
    what: str


#: does it, and says to what; None if there was nothing to do it to
Does = Callable[[Installation, random.Random], Awaitable[str | None]]


def kinds() -> dict[str, Does]:
    """Return all kinds of kills there are, by their names."""
    actors: dict[str, tuple[str, str]] = {
        "gateway": (NAMESPACE, "/gateway-"),
        "limiter": (NAMESPACE, "/limiter"),
        "helper": (NAMESPACE, "/helper-"),
        "serve replica of the coordinator": ("serve", "#Coordination#"),
        "serve replica of the API": ("serve", "#Api#"),
        "serve proxy": ("serve", "SERVE_PROXY_ACTOR"),
        "serve controller": ("serve", "SERVE_CONTROLLER_ACTOR"),
    }
    found: dict[str, Does] = {kind: _actor(*where) for kind, where in actors.items()}
    found |= {f"point {point}": _point(point) for point in POINTS}
    found |= {
        "coordinator": _coordinator, "worker": _worker, "raylet": _raylet, "node": _node,
        "journal locked": _locked, "disk full": _full, "coordinator asleep": _asleep,
    }  # fmt: skip
    return found | ({"out of memory": _point(MEMORY)} if bounds_memory() else {})


def schedule(number: int, chosen: random.Random, only: Sequence[str] | None = None) -> Iterator[str]:
    """Choose kinds so that each comes about as often as any other, in an order that nobody expects."""
    left: list[str] = []
    for _ in range(number):
        if not left:
            left = sorted(only or kinds())
            chosen.shuffle(left)
        yield left.pop()


async def kill(kind: str, installation: Installation, chosen: random.Random) -> Kill | None:
    """Do it; None if there was nothing to do it to, or it could not be done.

    Raises:
        NodeNotStarted: A node was lost, and no other could be started in its place.
    """
    at = time.time()
    try:
        what = await kinds()[kind](installation, chosen)
    except (RayError, TimeoutError, ValueError, psutil.Error) as error:
        installation.report.incident(f"{kind} could not be done: {error!r:.200}")
        return None
    return None if what is None else Kill(kind, at, what)


def _actor(namespace: str, part: str) -> Does:
    async def does(installation: Installation, chosen: random.Random) -> str | None:
        names = sorted(name for name in installation.named_actors(namespace) if part in name)
        if not names:
            return None
        name = chosen.choice(names)
        async with asyncio.timeout(5):
            pid = await pid_of(ray.get_actor(name, namespace=namespace))
        os.kill(pid, signal.SIGKILL)
        return f"{name}, process {pid}"

    return does


def _point(point: str) -> Does:
    async def does(installation: Installation, _: random.Random) -> str | None:
        armed = installation.points / "armed" / point
        armed.touch()
        deadline = time.monotonic() + COMES_WITHIN
        while armed.exists() and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        armed.unlink(missing_ok=True)
        fired = sorted((installation.points / "fired").glob(f"{point}.*"))
        for file in fired:
            file.unlink()
        return ", ".join(f"process {file.suffix[1:]}" for file in fired) or None

    return does


async def _coordinator(installation: Installation, _: random.Random) -> str:
    process = installation.coordinator
    process.kill()
    process.wait()
    installation.start_coordinator()
    return f"process {process.pid}"


async def _asleep(installation: Installation, _: random.Random) -> str:
    process = installation.coordinator
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(SLEEP)
    process.send_signal(signal.SIGCONT)
    return f"process {process.pid}, for {SLEEP:g} s"


async def _worker(installation: Installation, chosen: random.Random) -> str | None:
    found = installation.workers()
    busy = [process for process in found if "IDLE" not in process.cmdline()[0]]
    if not found:
        return None
    process = chosen.choice(busy or found)
    process.kill()
    return f"process {process.pid}"


async def _raylet(installation: Installation, _: random.Random) -> str:
    node = installation.nodes.second()
    (raylet,) = node.all_processes["raylet"]
    raylet.process.kill()
    await asyncio.sleep(3)
    await installation.nodes.replace()
    return f"process {raylet.process.pid}"


async def _node(installation: Installation, _: random.Random) -> str:
    node = installation.nodes.second().node_id
    await installation.nodes.replace()
    return f"node {node[:8]}"


async def _locked(installation: Installation, _: random.Random) -> str | None:
    file = installation.settings.data_dir / "journal.db"
    other = sqlite3.connect(file, isolation_level=None, timeout=OUTAGE)
    try:
        other.execute("begin immediate")
        await asyncio.sleep(OUTAGE)
        other.execute("rollback")
    except sqlite3.OperationalError:
        return None
    finally:
        other.close()
    return f"for {OUTAGE:g} s"


async def _full(installation: Installation, _: random.Random) -> str:
    filling = installation.settings.data_dir / "filling"
    try:
        size = await asyncio.to_thread(_fill, filling)
        await asyncio.sleep(OUTAGE)
    finally:
        filling.unlink(missing_ok=True)
    return f"with {size // 2**20} MiB, for {OUTAGE:g} s"


def _fill(filling: Path) -> int:
    size = 0
    with filling.open("wb", buffering=0) as file:
        try:
            while True:
                size += file.write(bytes(2**20))
        except OSError:
            return size
