"""Films are made in the order in which they came, on a real cluster, whoever dies meanwhile.

They are judged as the benchmark of the order judges them. It sees where the order is broken, and takes no order for
broken that is kept.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import ray

from benchmarks.first_come_first_served import Clip, Film, film_of, overtakings, queue_jumps
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.limits import Rank
from raypipe.models import Size, VideoRequest, VideoState
from raypipe.render_queue import _dead
from raypipe.snapshot import Snapshot
from raypipe.workers import NAMESPACE
from tests.chaos.rig import kill_gateway, pid_of
from tests.patience import patience
from tests.vendors import fake, settings_for

from .test_pipeline import Run
from .test_vendors import SMALL, With
from .test_vendors import film as hosted

#: before every film
FIRST = Rank("", 0, "")
CPUS = 2


def film(ended_at: float, *clips: tuple[float, float]) -> Film:
    named = (Clip(f"chunk/{number}", *times) for number, times in enumerate(clips))
    return Film("completed", 0.0, ended_at, tuple(named))


def test_a_clip_that_begins_while_an_older_films_clip_waits_is_found() -> None:
    older, younger = film(20, (1.0, 1.1), (5.0, 9.0)), film(10, (1.0, 7.0))
    (jump,) = queue_jumps([older, younger])
    assert jump == "film 1 began chunk/0 at 7.00 s, while chunk/1 of film 0 waited from 5.00 to 9.00 s"
    assert list(queue_jumps([younger, older])) == []


def test_a_clip_that_is_only_just_ready_when_a_younger_films_begins_has_not_waited() -> None:
    older, younger = film(20, (6.9, 9.0)), film(10, (1.0, 7.0))
    assert list(queue_jumps([older, younger])) == []


def test_a_clip_that_begins_before_an_older_films_is_ready_is_right() -> None:
    assert list(queue_jumps([film(20, (8.0, 9.0)), film(10, (1.0, 7.0))])) == []


def test_a_film_that_ends_before_one_of_five_places_earlier_is_found() -> None:
    ends = [9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0]
    (overtaking,) = overtakings([film(end) for end in ends])
    assert overtaking.startswith(
        "film 5 ended at 5.00 s, before film 0, which was submitted 5 places earlier"
    )


def local(seed: int = 0) -> VideoRequest:
    """A film of one image, one clip and music."""
    return VideoRequest(
        prompt="A sailing boat at sunset",
        duration=5,
        seed=seed,
        size=Size(width=192, height=108),
        model="local",
    )


async def until(what: str, question: Callable[[], Any]) -> None:
    """Wait until a question is answered by yes."""
    deadline = time.monotonic() + patience(60)
    while not await question():
        assert time.monotonic() < deadline, f"not yet: {what}"
        await asyncio.sleep(0.05)


def _hold(gateway: Any) -> None:
    """Take every CPU for a gateway, one turn each, as its renders do."""

    async def hold(number: int) -> None:
        async with gateway._renders.turn(FIRST, ("", f"held/{number}", 1)):
            await asyncio.Event().wait()

    loop = gateway._showing.get_loop()
    gateway.holding = [asyncio.run_coroutine_threadsafe(hold(number), loop) for number in range(CPUS)]


def _let_go(gateway: Any, cpus: int) -> None:
    for holding in gateway.holding[:cpus]:
        holding.cancel()


def _answer(queue: Any, question: Callable[[Any], Any]) -> Any:
    """Answer a question about the queue in its own loop, which runs in another thread."""

    async def answer() -> Any:
        return question(queue._queue)

    return asyncio.run_coroutine_threadsafe(answer(), queue._looking.get_loop()).result()


def _waiting(queue: Any) -> set[tuple[str, str]]:
    waiting = [
        each.holder.step[:2] for heap in queue._waiting.values() for each in heap if not each.turn.done()
    ]
    assert len(set(waiting)) == len(waiting)
    return set(waiting)


def _held(queue: Any) -> list[str]:
    return sorted(holder.step[1] for holder in queue._held)


def _take_all_for_dead(queue: Any) -> None:
    queue.bury(queue.lives)


def _note_ranks(queue: Any) -> None:
    queue.noted, acquire = [], queue.acquire

    async def noting(rank: Rank, *args: Any) -> None:
        queue.noted.append(rank)
        await acquire(rank, *args)

    queue.acquire = noting


class Held:
    """A cluster all of whose CPUs are held by a gateway."""

    def __init__(self, gateway: Any, queue: Any) -> None:
        self.gateway, self.queue = gateway, queue

    async def ask(self, question: Callable[..., Any]) -> Any:
        return await self.queue.__ray_call__.remote(_answer, question)

    async def until_waiting(self, *steps: tuple[str, str]) -> None:
        """Wait until these steps of these videos wait for a CPU, and nothing else."""

        async def waiting() -> bool:
            return bool(await self.ask(_waiting) == set(steps))

        await until(f"waiting are {steps}", waiting)

    async def let_go(self, cpus: int = CPUS) -> None:
        await self.gateway.__ray_call__.remote(_let_go, cpus)


@asynccontextmanager
async def every_cpu_held(coordinator: Coordinator, number: int = 0) -> AsyncIterator[Held]:
    """Have a gateway hold all CPUs until it lets go, or the block ends."""
    gateways = await coordinator.gateways()
    gateway, name = gateways._gateway(number), f"{gateways._family}/render-queue"
    await gateway.__ray_call__.remote(_hold)

    async def holds() -> bool:
        with suppress(ValueError, AttributeError):  # it is not there, or has not begun
            queue = Held(gateway, ray.get_actor(name, namespace=NAMESPACE))
            return await queue.ask(_held) == ["held/0", "held/1"]
        return False

    await until("every CPU is held", holds)
    held = Held(gateway, ray.get_actor(name, namespace=NAMESPACE))
    try:
        yield held
    finally:
        with suppress(AttributeError):  # that was another life of the gateway
            await held.let_go()


def test_films_are_made_in_the_order_in_which_they_came_also_where_the_oldest_is_the_last_to_ask(
    with_shared: Run,
) -> None:
    async def test(coordinator: Coordinator) -> None:
        async with every_cpu_held(coordinator) as held:
            ids = [await coordinator.submit(local(seed)) for seed in range(4)]
            began = [(video_id, step) for video_id in ids for step in ("image/0", "music")]
            await held.until_waiting(*began)
            await coordinator.cancel(ids[0])
            assert await coordinator.wait(ids[0]) is VideoState.CANCELLED
            await held.until_waiting(*began[2:])  # a cancelled render waits no more
            await coordinator.retry(ids[0])
            await held.until_waiting(*began)
            await held.let_go(1)  # with one CPU, what is next depends on no speed
            assert {await coordinator.wait(video_id) for video_id in ids} == {VideoState.COMPLETED}
        films = [film_of(Snapshot.read(coordinator.journal, video_id), 0.0, 0.0) for video_id in ids]
        assert [len(made.clips) for made in films] == [1] * 4
        assert list(queue_jumps(films, handed_over=0)) == []
        assert list(overtakings(films, places=1)) == []

    with_shared(test)


def test_all_that_takes_a_cpu_waits_in_the_order_of_the_films(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    """Images, clips and music made here; clips of others that are encoded anew, and films, for their label."""
    with fake("replicate", tmp_path, **SMALL) as vendor:

        async def test(coordinator: Coordinator) -> None:
            async with every_cpu_held(coordinator) as held:
                await held.ask(_note_ranks)
                await held.let_go()
                ours, theirs = await coordinator.submit(local()), await coordinator.submit(hosted(beats=2))
                for video_id in (ours, theirs):
                    assert await coordinator.wait(video_id) is VideoState.COMPLETED
                assert sorted(await held.ask(lambda queue: queue.noted)) == [
                    Rank(ours, 0, "stitch"),
                    Rank(ours, 1, "chunk/0"),
                    Rank(ours, 1, "image/0"),
                    Rank(ours, 1, "music"),
                    Rank(theirs, 0, "chunk/1"),
                    Rank(theirs, 0, "stitch"),
                    Rank(theirs, 1, "chunk/0"),
                ]
                assert await held.ask(_held) == []

        with_coordinator_of(settings_for(tmp_path, vendor, film_label="AI"))(test)


def test_what_a_gateway_held_that_died_and_renders_nothing_any_more_goes_to_another(
    tmp_path: Path, with_coordinator_of: With
) -> None:
    async def test(coordinator: Coordinator) -> None:
        gateways = await coordinator.gateways()
        async with every_cpu_held(coordinator, number=0) as held:
            video_id = await coordinator.submit(local())
            while gateways.of(video_id) is not gateways._gateway(1):
                await coordinator.cancel(video_id)
                video_id = await coordinator.submit(local())
            await held.until_waiting((video_id, "image/0"), (video_id, "music"))
            assert await held.ask(lambda queue: (len(queue.lives), _dead(queue.lives))) == (2, [])
            await kill_gateway(coordinator, 0)
            async with asyncio.timeout(patience(60)):
                assert await coordinator.wait(video_id) is VideoState.COMPLETED

    with_coordinator_of(Settings(data_dir=tmp_path, gateways=2))(test)


@pytest.mark.parametrize("what", ["is killed", "takes the living for dead"])
def test_a_queue_that_loses_what_it_knew_loses_no_render(with_shared: Run, what: str) -> None:
    async def test(coordinator: Coordinator) -> None:
        async with every_cpu_held(coordinator) as held:
            video_id = await coordinator.submit(local())
            await held.until_waiting((video_id, "image/0"), (video_id, "music"))
            if what == "is killed":
                os.kill(await pid_of(held.queue), signal.SIGKILL)
            else:
                await held.ask(_take_all_for_dead)
            async with asyncio.timeout(patience(60)):
                assert await coordinator.wait(video_id) is VideoState.COMPLETED

    with_shared(test)
