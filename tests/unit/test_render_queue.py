"""Whose render is next, without the actor."""

import asyncio
import random

from raypipe.limits import Rank
from raypipe.render_queue import Holder, Life, RenderQueue
from tests.patience import patience

CPU = {"CPU": 1.0}


def holder(video: int, step: str = "image/0", gateway: str = "g", life: str = "1", turn: int = 0) -> Holder:
    return Holder(gateway, life, (f"vid_{video:03}", step, 1), turn)


def rank(video: int, step: str = "image/0", later: int = 1) -> Rank:
    return Rank(f"vid_{video:03}", later, step)


async def waits(
    queue: RenderQueue, video: int, step: str = "image/0", **more: object
) -> "asyncio.Task[None]":
    by = holder(video, step, str(more.get("gateway", "g")))
    task = asyncio.create_task(queue.acquire(rank(video, step), by, more.get("needs", CPU)))
    await asyncio.sleep(0)
    return task


def test_the_oldest_videos_renders_begin_first_and_no_more_than_there_are_cpus() -> None:
    async def test() -> None:
        queue, begun = RenderQueue({"CPU": 2.0}), []

        async def render(video: int, step: str) -> None:
            await queue.acquire(rank(video, step), holder(video, step), CPU)
            begun.append((video, step))
            under_way.add((video, step))
            assert len(under_way) <= 2
            await asyncio.sleep(0)
            under_way.remove((video, step))
            queue.release(holder(video, step))

        under_way: set[tuple[int, str]] = set()
        first = [await waits(queue, 0, step) for step in ("a", "b")]
        assert all(task.done() for task in first)
        order = [(video, f"clip/{number}") for video in range(1, 20) for number in range(3)]
        shuffled = random.Random(1).sample(order, len(order))
        tasks = [asyncio.create_task(render(*each)) for each in shuffled]
        await asyncio.sleep(0)
        for step in ("a", "b"):
            queue.release(holder(0, step))
        await asyncio.gather(*tasks)
        assert begun == order

    asyncio.run(test())


def test_who_stops_waiting_or_dies_holds_nothing() -> None:
    async def test() -> None:
        queue = RenderQueue(CPU)
        await waits(queue, 1)
        second, third = await waits(queue, 2), await waits(queue, 3)
        queue.release(holder(2))
        await asyncio.sleep(0)
        assert second.cancelled()
        # the gateway died, and begins again with the third alone
        again = asyncio.create_task(queue.acquire(rank(3), holder(3, life="2"), CPU))
        await asyncio.sleep(0)
        third.cancel()
        await asyncio.sleep(0)
        assert again.done()
        assert not again.cancelled()

    asyncio.run(test())


def test_a_render_for_a_gpu_delays_none_for_cpus_and_is_not_overtaken_by_another_for_a_gpu() -> None:
    async def test() -> None:
        queue = RenderQueue({"CPU": 2.0, "GPU": 1.0})
        both = {"CPU": 1.0, "GPU": 1.0}
        assert (await waits(queue, 1, needs=both)).done()
        second = await waits(queue, 2, needs=both)
        assert (await waits(queue, 3)).done(), "a CPU is free"
        third = await waits(queue, 4, needs=both)
        queue.release(holder(1))
        await asyncio.sleep(0)
        assert second.done()
        assert not third.done()

    asyncio.run(test())


def test_what_the_cluster_does_not_have_is_left_to_ray() -> None:
    async def test() -> None:
        queue = RenderQueue({"CPU": 2.0, "GPU": 0.0})
        assert (await waits(queue, 1, needs={"CPU": 16.0, "GPU": 1.0})).done()
        waiting = await waits(queue, 2)
        queue.resize({"CPU": 4.0})
        await asyncio.sleep(0)
        assert waiting.done()

    asyncio.run(test())


def test_what_the_cluster_cannot_run_keeps_nothing_from_what_it_can() -> None:
    async def test() -> None:
        queue = RenderQueue({"CPU": 2.0, "GPU": 0.0})
        for video in range(4):
            assert (await waits(queue, video, needs={"CPU": 1.0, "GPU": 1.0})).done()
            assert (await waits(queue, 10 + video, needs={"CPU": 3.0})).done()
        assert (await waits(queue, 20)).done()
        assert (await waits(queue, 21)).done()
        assert not (await waits(queue, 22)).done()

    asyncio.run(test())


def test_what_a_dead_gateway_held_goes_to_another_also_if_it_renders_nothing_any_more() -> None:
    async def test() -> None:
        queue = RenderQueue({"CPU": 2.0})
        assert queue.lives == set()
        held = [await waits(queue, video, gateway="dead") for video in range(2)]
        assert all(task.done() for task in held)
        assert queue.lives == set(), "nobody waits"
        lost, waiting = await waits(queue, 2, gateway="dead"), await waits(queue, 3, gateway="lives")
        assert queue.lives == {Life("dead", "1"), Life("lives", "1")}
        queue.resize({"CPU": 2.0})
        await asyncio.sleep(0)
        assert not waiting.done()
        queue.bury([Life("dead", "1")])
        await asyncio.sleep(0)
        assert waiting.done()
        assert lost.cancelled()
        assert (await waits(queue, 4, gateway="lives")).done()

    asyncio.run(test())


def test_a_cluster_that_begins_without_a_cpu_is_handed_a_render_so_that_it_grows() -> None:
    async def test() -> None:
        queue = RenderQueue({"CPU": 0.0, "GPU": 0.0}, grows=True)
        assert (await waits(queue, 1)).done()
        assert (await waits(queue, 2)).done(), "as many wait there as do where there is one CPU"
        third, gpu = await waits(queue, 4), await waits(queue, 3, needs={"CPU": 1.0, "GPU": 1.0})
        assert not third.done()
        assert not gpu.done()
        queue.resize({"CPU": 2.0, "GPU": 0.0})
        await asyncio.sleep(0)
        assert third.done()
        assert gpu.done()

    asyncio.run(test())


def test_where_there_is_nothing_and_nothing_comes_ray_says_so() -> None:
    async def test() -> None:
        queue = RenderQueue({"CPU": 0.0, "GPU": 0.0})
        assert (await waits(queue, 1)).done()

    asyncio.run(test())


def test_nothing_begins_before_it_is_known_what_there_is() -> None:
    async def test() -> None:
        queue = RenderQueue()
        younger, older = await waits(queue, 2), await waits(queue, 1)
        assert not older.done()
        queue.resize(CPU)
        await asyncio.sleep(0)
        assert older.done()
        assert not younger.done()

    asyncio.run(test())


def test_a_cluster_that_has_shrunk_below_what_is_held_keeps_nothing_from_who_needs_none_of_it() -> None:
    async def test() -> None:
        queue = RenderQueue({"CPU": 4.0, "GPU": 2.0})
        assert (await waits(queue, 1, needs={"CPU": 1.0, "GPU": 2.0})).done()
        queue.resize({"CPU": 4.0, "GPU": 1.0})
        assert (await waits(queue, 2, needs={"CPU": 1.0, "GPU": 0.0})).done()

    asyncio.run(test())


def test_a_turn_that_ends_before_it_is_asked_for_holds_nothing() -> None:
    """Ray begins the calls of an actor in any order, and sends them again."""

    async def test() -> None:
        queue = RenderQueue(CPU)
        ended = holder(1)
        queue.release(ended)
        await asyncio.wait_for(queue.acquire(rank(1), ended, CPU), patience(5))
        assert (await waits(queue, 2)).done(), "the CPU is free"
        # the same step, tried again, has a turn of its own
        again = asyncio.create_task(queue.acquire(rank(1), holder(1, turn=1), CPU))
        await asyncio.sleep(0)
        assert not again.done()
        queue.release(holder(2))
        await asyncio.wait_for(again, patience(5))

    asyncio.run(test())


def test_a_turn_that_is_asked_for_twice_is_held_once() -> None:
    async def test() -> None:
        queue = RenderQueue(CPU)
        assert (await waits(queue, 1)).done()
        assert (await waits(queue, 1)).done()
        twice = [await waits(queue, 2), await waits(queue, 2)]
        third = await waits(queue, 3)
        queue.release(holder(1))
        await asyncio.sleep(0)
        assert all(task.done() for task in twice)
        assert not third.done()
        queue.release(holder(2))
        await asyncio.sleep(0)
        assert third.done()

    asyncio.run(test())


def test_a_turn_that_ends_while_it_is_not_known_what_there_is_holds_nothing() -> None:
    async def test() -> None:
        queue = RenderQueue()
        first, second = await waits(queue, 1), await waits(queue, 2)
        queue.release(holder(1))
        queue.resize(CPU)
        await asyncio.sleep(0)
        assert first.cancelled()
        assert second.done()

    asyncio.run(test())
