"""Fixtures of tests on a real cluster: one for all tests of a run."""

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.journal import LOCAL, SERVICE
from raypipe.providers.registry import _installed

PROVIDERS = str(Path(__file__).parent / "providers")


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real cluster of two nodes with one CPU each, the driver on the first; its workers find tests' providers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", PROVIDERS, prepend=os.pathsep)
        patch.syspath_prepend(PROVIDERS)
        _installed.cache_clear()
        yield from _cluster()
    _installed.cache_clear()


def _cluster() -> Iterator[Cluster]:
    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    nodes.wait_for_nodes()
    ray.init(address=nodes.address, log_to_driver=False)
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a journal and a store of the test's own."""
    return Settings(data_dir=tmp_path, gateways=1)


@pytest.fixture(scope="session")
def installation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings with a journal and a store that tests share, and a coordinator that keeps gateway and helper alive."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("installation"), gateways=1)
    ready: Future[None] = Future()
    over = threading.Event()

    async def keep() -> None:
        async with _running(settings, LOCAL, ready=True, helpers=1):
            ready.set_result(None)
            await asyncio.to_thread(over.wait)

    with ThreadPoolExecutor(1) as thread:
        keeper = thread.submit(asyncio.run, keep())
        wait([ready, keeper], return_when=FIRST_COMPLETED)
        if keeper.done():
            keeper.result()
        yield settings
        over.set()
        keeper.result()


@asynccontextmanager
async def _running(settings: Settings, runner: str, ready: bool, helpers: int) -> AsyncIterator[Coordinator]:
    coordinator = Coordinator(settings, runner, helpers)
    try:
        if ready:
            await coordinator.ready(renders=False)
        yield coordinator
    finally:
        await coordinator.close()


Test = Callable[[Coordinator], Awaitable[Any]]


@pytest.fixture
def with_coordinator_of(cluster: Cluster) -> Callable[..., Callable[[Test], Any]]:
    """Runs a test's coroutine function with a coordinator of some settings that is ready."""

    # one helper: each is a process that every test starts anew
    def of(
        settings: Settings, runner: str = LOCAL, ready: bool = True, helpers: int = 1
    ) -> Callable[[Test], Any]:
        def run(test: Test) -> Any:
            async def main() -> Any:
                async with _running(settings, runner, ready, helpers) as coordinator:
                    return await test(coordinator)

            return asyncio.run(main())

        return run

    return of


@pytest.fixture
def with_coordinator(
    with_coordinator_of: Callable[..., Callable[[Test], Any]], settings: Settings
) -> Callable[[Test], Any]:
    """Runs a test's coroutine function with a coordinator that is ready."""
    return with_coordinator_of(settings)


@pytest.fixture
def with_shared(
    with_coordinator_of: Callable[..., Callable[[Test], Any]], installation: Settings
) -> Callable[[Test], Any]:
    """As `with_coordinator`, for tests that look at their own videos alone: gateway and helper are not started anew."""
    return with_coordinator_of(installation)


@pytest.fixture
def with_service(
    with_coordinator_of: Callable[..., Callable[[Test], Any]], settings: Settings
) -> Callable[[Test], Any]:
    """As `with_coordinator`, with a coordinator that takes a service's videos."""
    return with_coordinator_of(settings, SERVICE)
