"""A film of which one step takes more memory than there is: `python -m tests.chaos.greedy`.

On a Ray of its own that ends processes once 3 GiB are taken in its enclosure, where it sees nothing of what others
take; or 3 GiB more than now on the whole machine, where no control group can be made. Prints how video and step ended.
"""

import asyncio
import os
import sys
from pathlib import Path

import psutil
import ray

from raypipe.config import Settings, bound_memory_tries
from raypipe.coordinator import Coordinator
from raypipe.models import Size, StepState, VideoRequest
from tests.chaos.enclosure import bounds_memory, disk, enter
from tests.chaos.invariants import broken
from tests.clusters import PROVIDERS

#: MiB of disk, and of memory; Ray is to notice long before the kernel does
DISK, MEMORY = 1_000, 10_000
#: MiB that may be taken
ROOM = 3_000


async def main(settings: Settings) -> list[str]:
    coordinator = Coordinator(settings)
    await coordinator.ready()
    request = VideoRequest(
        prompt="a lake", duration=20, size=Size(width=320, height=180), model="greedy",
        options={"greedy": {"step": "chunk/1"}},
    )  # fmt: skip
    video_id = await coordinator.submit(request)
    state = await coordinator.wait(video_id)
    failed = [step for step in coordinator.journal.steps(video_id) if step.state is StepState.FAILED]
    print(f"video: {state}")
    print(*(f"step: {step.step} {step.error_code}" for step in failed), sep="\n")
    # and goes on with the next
    next_id = await coordinator.submit(request.model_copy(update={"options": None, "model": ("local",)}))
    print(f"video: {await coordinator.wait(next_id)}")
    await coordinator.close()
    return broken(settings, [video_id, next_id])


def run(folder: Path) -> list[str]:
    """Start Ray, make the film, and return what is broken."""
    os.environ["RAY_memory_usage_threshold"] = f"{_threshold():.3f}"  # noqa: SIM112 - as Ray spells it
    os.environ["RAY_memory_monitor_refresh_ms"] = "50"  # noqa: SIM112 - as Ray spells it
    bound_memory_tries()
    os.environ["PYTHONPATH"] = os.pathsep.join((PROVIDERS, os.environ.get("PYTHONPATH", "")))
    sys.path.insert(0, PROVIDERS)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        return asyncio.run(main(Settings(data_dir=folder, gateways=1)))
    finally:
        ray.shutdown()


def _threshold() -> float:
    """Return the share of all memory at which Ray is to end processes."""
    if bounds_memory():
        return ROOM / MEMORY
    memory = psutil.virtual_memory()
    return (memory.total - memory.available + ROOM * 2**20) / memory.total


if __name__ == "__main__":
    folder = disk()
    if folder is None:
        sys.exit(enter("tests.chaos.greedy", DISK, MEMORY, like_a_container=True))
    problems = run(folder)
    print("\n".join(problems))
    sys.exit(1 if problems else 0)
