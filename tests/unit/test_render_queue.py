"""Whose render is next, without the actor."""

import asyncio
import random

from raypipe.limits import Rank
from raypipe.render_queue import Holder, RenderQueue

CPU = {"CPU": 1.0}


def holder(video: int, step: str = "image/0", gateway: str = "g", life: str = "1") -> Holder:
    return Holder(gateway, life, (f"vid_{video:03}", step, 1))


def rank(video: int, step: str = "image/0", later: int = 1) -> Rank:
    return Rank(f"vid_{video:03}", later, step)


async def waits(
    queue: RenderQueue, video: int, step: str = "image/0", **more: object
) -> "asyncio.Task[None]":
    task = asyncio.create_task(queue.acquire(rank(video, step), holder(video, step), more.get("needs", CPU)))
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
