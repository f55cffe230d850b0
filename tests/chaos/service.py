"""A coordinator of a service in a process of its own, to be killed: `python -m tests.chaos.service`.

It connects to the cluster of RAY_ADDRESS and says "ready" on its standard output.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
from typing import Any

import ray

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.journal import SERVICE
from raypipe.models import VideoState
from raypipe.video_run import VideoRun


def poison(prompt: str) -> None:
    """Have a video with that prompt kill the coordinator as soon as it is loaded."""
    make = VideoRun.run

    async def run(self: VideoRun, *args: Any) -> VideoState:
        if self.spec.prompt == prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        return await make(self, *args)

    VideoRun.run = run  # type: ignore[method-assign]


async def main() -> None:
    settings = Settings()
    ray.init(address=settings.ray_address, log_to_driver=False, logging_level=logging.ERROR)
    coordinator = Coordinator(settings, SERVICE)
    serving = asyncio.create_task(coordinator.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    await coordinator.ready(renders=False)
    print("ready", flush=True)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # nobody reads what Ray says there from now on
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await coordinator.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    if prompt := os.environ.get("RAYPIPE_TEST_POISON"):
        poison(prompt)
    asyncio.run(main())
