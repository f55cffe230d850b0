"""Many six-beat videos submitted at once, on the simulated provider.

    python benchmarks/many_videos.py [--videos N] [--repeats N] [--json FILE]

Images take 0.2 s and clips the seed's timeline at one tenth, so that no video can take less than 1.7 s. Prints wall
time, the most Ray worker processes seen, and CPU seconds a video.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import ray
from rich.console import Console
from rich.table import Table

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.models import VideoRequest, VideoState

IDEAL_SECONDS = 1.7
OPTIONS = {"image": 0.2, "clip": [1.0, 0.5, 0.7, 0.5, 0.5, 0.7], "music": 0.2}


class Processes:
    """Samples the processes that the driver started: Ray's workers, and the CPU time of all."""

    def __init__(self) -> None:
        self._driver = psutil.Process(os.getpid())
        self.most_workers = 0

    async def watch(self) -> None:
        """Count workers until cancelled."""
        while True:
            self.most_workers = max(self.most_workers, await asyncio.to_thread(self._workers))
            await asyncio.sleep(0.25)

    def cpu_seconds(self) -> float:
        """CPU time of all processes so far."""
        total = 0.0
        for process in (self._driver, *self._driver.children(recursive=True)):
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            total += times.user + times.system
        return total

    def _workers(self) -> int:
        return sum(1 for child in self._driver.children(recursive=True) if _is_worker(child))


def _is_worker(process: psutil.Process) -> bool:
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return False
    return line.startswith("ray::") and "Agent" not in line


def request(seed: int) -> VideoRequest:
    """One of the videos; seeds make them differ."""
    prompt = f"A lighthouse keeper in storm number {seed}"
    return VideoRequest(
        prompt=prompt, duration=30, seed=seed, model="simulated", options={"simulated": OPTIONS}
    )


async def measure(coordinator: Coordinator, videos: int, first_seed: int) -> dict[str, Any]:
    """Submit all videos at once and wait for all."""
    processes = Processes()
    watching = asyncio.create_task(processes.watch())
    cpu, began = processes.cpu_seconds(), time.perf_counter()
    submitting = [coordinator.submit(request(first_seed + number)) for number in range(videos)]
    ids = await asyncio.gather(*submitting)
    submitted = time.perf_counter() - began
    states = await asyncio.gather(*map(coordinator.wait, ids))
    wall = time.perf_counter() - began
    watching.cancel()
    return {
        "videos": videos,
        "completed": states.count(VideoState.COMPLETED),
        "submit_seconds": submitted,
        "wall_seconds": wall,
        "wall_over_ideal": wall / IDEAL_SECONDS,
        "cpu_seconds_per_video": (processes.cpu_seconds() - cpu) / videos,
        "most_worker_processes": processes.most_workers,
    }


async def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure each repeat with one coordinator."""
    with tempfile.TemporaryDirectory() as folder:
        coordinator = Coordinator(Settings(data_dir=Path(folder)))
        await coordinator.ready()
        results = [
            await measure(coordinator, args.videos, repeat * args.videos) for repeat in range(args.repeats)
        ]
        await coordinator.close()
    return results


def show(results: list[dict[str, Any]]) -> None:
    """Print the figures as a table."""
    table = Table(title=f"Videos submitted at once (no video can take less than {IDEAL_SECONDS} s)")
    for name in results[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for result in results:
        table.add_row(
            *(f"{value:.3f}" if isinstance(value, float) else str(value) for value in result.values())
        )
    Console(width=130).print(table)


def main() -> int:
    """Exit 0 if every video was completed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpus", type=int, default=2, help="CPUs Ray may use (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write parameters and figures there")
    args = parser.parse_args()
    ray.init(address="local", num_cpus=args.cpus, include_dashboard=False, log_to_driver=False)
    try:
        results = asyncio.run(run(args))
    finally:
        ray.shutdown()
    show(results)
    if args.json:
        parameters = {"videos": args.videos, "cpus": args.cpus, "ray": ray.__version__, "at": time.time()}
        args.json.write_text(json.dumps({"parameters": parameters, "repeats": results}, indent=2))
    return 0 if all(result["completed"] == args.videos for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
