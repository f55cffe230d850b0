"""A film of which one step takes more memory than there is: `python -m tests.chaos.greedy --data DIR`.

On a Ray of its own that ends processes once 2.5 GiB more than now are taken. Prints how video and step ended.
"""

import argparse
import asyncio
import os
import sys
from pathlib import Path

import psutil
import ray

from raypipe.config import Settings, bound_memory_tries
from raypipe.coordinator import Coordinator
from raypipe.models import Size, StepState, VideoRequest
from tests.chaos.invariants import broken
from tests.clusters import PROVIDERS

#: bytes that may be taken beyond what is taken now
ROOM = 2.5 * 2**30


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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    args = parser.parse_args()
    memory = psutil.virtual_memory()
    threshold = (memory.total - memory.available + ROOM) / memory.total
    os.environ["RAY_memory_usage_threshold"] = f"{threshold:.3f}"  # noqa: SIM112 - as Ray spells it
    os.environ["RAY_memory_monitor_refresh_ms"] = "50"  # noqa: SIM112 - as Ray spells it
    bound_memory_tries()
    os.environ["PYTHONPATH"] = os.pathsep.join((PROVIDERS, os.environ.get("PYTHONPATH", "")))
    sys.path.insert(0, PROVIDERS)
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        problems = asyncio.run(main(Settings(data_dir=args.data, gateways=1)))
    finally:
        ray.shutdown()
    print("\n".join(problems))
    sys.exit(1 if problems else 0)
