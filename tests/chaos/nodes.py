"""The second node of a cluster, which is lost again and again; one that cannot start is tried again."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

import psutil
import ray

#: nodes that are tried until one starts
TRIES = 3
#: seconds within which a node that has started joins the cluster
JOIN_SECONDS = 60.0


class NodeNotStarted(Exception):
    """No node could be started, as often as it was tried."""


class Starts(Protocol):
    """A cluster that nodes can be added to, as `ray.cluster_utils.Cluster`."""

    def add_node(self, wait: bool = True, **options: Any) -> Any:
        """Start a node."""

    def remove_node(self, node: Any, allow_graceful: bool = True) -> None:
        """End a node."""


def living_nodes() -> set[str]:
    """Return the ids of the nodes that have joined the cluster, and live."""
    return {str(node["NodeID"]) for node in ray.nodes() if node["Alive"]}


class SecondNode:
    """The second node of a cluster.

    Nodes are started in the main thread, as Ray wants it, so that users wait meanwhile.

    Args:
        cluster: Where.
        note: Is told what went wrong, and that it is tried again.
        living: Gives the ids of the nodes that live.
        join_seconds: Seconds within which a node joins.
    """

    def __init__(
        self,
        cluster: Starts,
        note: Callable[[str], None],
        living: Callable[[], set[str]] = living_nodes,
        join_seconds: float = JOIN_SECONDS,
    ) -> None:
        self._cluster, self._note, self._living, self._join_seconds = cluster, note, living, join_seconds
        self._node: Any = None

    def second(self) -> Any:
        """Return the node; one that could not be started in a round before is started now.

        Raises:
            NodeNotStarted: It still cannot be.
        """
        if self._node is None:
            self.start()
        return self._node

    async def replace(self) -> None:
        """Lose the node and start another, which has joined the cluster when this returns.

        Raises:
            NodeNotStarted: No other could be started; the next round tries again.
        """
        for _ in range(TRIES):
            self.lose()
            self.start()
            if await self._has_joined():
                return
            self._note(
                f"a node has not joined the cluster within {self._join_seconds:g} s, another is started"
            )
        raise NodeNotStarted(f"none of {TRIES} nodes has joined the cluster")

    def lose(self) -> None:
        """End the node, if there is one; one that cannot be ended in order is forgotten, with its raylet killed."""
        node, self._node = self._node, None
        if node is None:
            return
        try:
            self._cluster.remove_node(node, allow_graceful=False)
        except Exception as error:  # noqa: BLE001 - Ray raises whatever its processes do
            self._note(f"a node could not be ended in order: {error!r:.200}")

    def start(self) -> None:
        """Start a node.

        Raises:
            NodeNotStarted: None could be started.
        """
        for _ in range(TRIES):
            began = time.time()
            try:
                self._node = self._cluster.add_node(wait=False, num_cpus=1)
            except Exception as error:  # noqa: BLE001 - Ray raises bare ones, also where a machine is busy
                self._note(f"a node could not be started, another is tried: {error!r:.200}")
                _kill_raylets_since(began)
            else:
                return
        raise NodeNotStarted(f"none of {TRIES} nodes could be started")

    async def _has_joined(self) -> bool:
        deadline = time.monotonic() + self._join_seconds
        while time.monotonic() < deadline:
            if self._node.node_id in await asyncio.to_thread(self._living):
                return True
            await asyncio.sleep(0.5)
        return False


def _kill_raylets_since(began: float) -> None:
    """Kill raylets that this process has started since: nobody has a handle of one that did not come up in time."""
    for process in psutil.Process().children():
        with suppress(psutil.Error, IndexError):
            if process.create_time() >= began - 1 and process.cmdline()[0].endswith("raylet"):
                process.kill()
