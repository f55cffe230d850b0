"""A node that cannot start, or never joins its cluster, is tried again and noted; the suite goes on."""

import asyncio
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.chaos.kills import kill
from tests.chaos.nodes import TRIES, NodeNotStarted, SecondNode
from tests.chaos.report import Report


class Cluster:
    """A cluster of which some nodes do not start and some do not join."""

    def __init__(self, *nodes: str) -> None:
        self._nodes = list(nodes)
        self.living: set[str] = set()
        self.removed: list[str] = []

    def add_node(self, wait: bool = True, **_: Any) -> Any:
        node = self._nodes.pop(0)
        if node == "dies":
            raise Exception("The current node timed out during startup.")
        if node != "stays away":
            self.living.add(node)
        return SimpleNamespace(node_id=node)

    def remove_node(self, node: Any, allow_graceful: bool = True) -> None:
        self.removed.append(node.node_id)
        self.living.discard(node.node_id)


def second(cluster: Cluster, notes: list[str]) -> SecondNode:
    return SecondNode(cluster, notes.append, lambda: cluster.living, join_seconds=0.05)


def test_a_node_that_cannot_start_is_tried_again_and_noted() -> None:
    cluster, notes = Cluster("one", "dies", "dies", "two"), []
    node = second(cluster, notes)
    node.start()
    asyncio.run(node.replace())
    assert (node.second().node_id, cluster.living, cluster.removed) == ("two", {"two"}, ["one"])
    assert len(notes) == 2
    assert "could not be started" in notes[0]


def test_a_node_that_never_joins_is_replaced_and_noted() -> None:
    cluster, notes = Cluster("one", "stays away", "two"), []
    node = second(cluster, notes)
    node.start()
    asyncio.run(node.replace())
    assert (node.second().node_id, cluster.removed) == ("two", ["one", "stays away"])
    assert len(notes) == 1
    assert "has not joined" in notes[0]


def test_where_no_node_starts_the_next_round_tries_again() -> None:
    cluster, notes = Cluster("one", *["dies"] * TRIES, "two"), []
    node = second(cluster, notes)
    node.start()
    with pytest.raises(NodeNotStarted):
        asyncio.run(node.replace())
    assert len(notes) == TRIES
    assert node.second().node_id == "two"


def test_a_kill_whose_node_does_not_come_back_is_told_to_who_asked_for_it(tmp_path: Path) -> None:
    cluster = Cluster("one", *["dies"] * TRIES)
    report = Report(tmp_path / "report.json", {})
    nodes = SecondNode(cluster, report.incident, lambda: cluster.living, join_seconds=0.05)
    nodes.start()
    installation: Any = SimpleNamespace(nodes=nodes, report=report)
    with pytest.raises(NodeNotStarted):
        asyncio.run(kill("node", installation, random.Random(1)))
    assert "could not be started" in (tmp_path / "report.json").read_text()
