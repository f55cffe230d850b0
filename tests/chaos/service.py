"""A coordinator of a service in a process of its own, to be killed: `python -m tests.chaos.service`.

It connects to the cluster of RAY_ADDRESS and says "ready" on its standard output.
"""

import asyncio
import contextlib
import logging
import signal

import ray

from raypipe.config import Settings
from raypipe.coordinator import SERVICE, Coordinator


async def main() -> None:
    settings = Settings()
    ray.init(address=settings.ray_address, log_to_driver=False, logging_level=logging.ERROR)
    coordinator = Coordinator(settings, SERVICE)
    serving = asyncio.create_task(coordinator.serve())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
    await coordinator.ready(renders=False)
    print("ready", flush=True)
    with contextlib.suppress(asyncio.CancelledError):
        await serving
    await coordinator.close()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
