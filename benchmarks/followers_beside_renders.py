"""How soon followers start while other videos render: six videos at once, of which two are local ones at 1280x720.

    python benchmarks/followers_beside_renders.py [--repeats N] [--json FILE]

Simulated followers need nothing but their predecessor's last frame, whatever else keeps the CPUs busy. Prints for each
repeat the time from a predecessor's end to its follower's start, longest and median, and how many renders ran.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import ray
from rich.console import Console
from rich.table import Table

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.models import StepState, VideoRequest, VideoState
from raypipe.snapshot import Snapshot

CLIPS = [1.0, 0.5, 0.7, 0.5, 0.5, 0.7]


def rendered(seed: int) -> VideoRequest:
    """A six-beat video that keeps the CPUs busy."""
    return VideoRequest(prompt="A sailing boat at sunset", duration=30, seed=seed, model="local")


def simulated(seed: int) -> VideoRequest:
    """A six-beat video that only waits."""
    options = {"simulated": {"image": 0.2, "clip": CLIPS, "music": 0.2}}
    return VideoRequest(prompt="A lighthouse", duration=30, seed=seed, model="simulated", options=options)


def gaps_of(snapshot: Snapshot) -> list[float]:
    """Seconds from each predecessor's end to its follower's start."""
    found = []
    for follower, before in snapshot.follows.items():
        start = snapshot.steps[f"chunk/{follower}"].started_at
        end = snapshot.steps[f"chunk/{before}"].finished_at
        found.append((start or 0.0) - (end or 0.0))
    return found


async def measure(videos: int, local: int, repeat: int) -> dict[str, Any]:
    """Start the renders, then all other videos at once, and see how long followers wait."""
    with tempfile.TemporaryDirectory() as folder:
        coordinator = Coordinator(Settings(data_dir=Path(folder)))
        await coordinator.ready()
        renders = [await coordinator.submit(rendered(10 * repeat + number)) for number in range(local)]
        cpus = ray.cluster_resources()["CPU"]
        while (
            sum(_renders_of(coordinator, video_id) for video_id in renders) < cpus
        ):  # the older film's go first
            await asyncio.sleep(0.05)
        seeds = range(100 * repeat, 100 * repeat + videos - local)
        ids = await asyncio.gather(*(coordinator.submit(simulated(seed)) for seed in seeds))
        states = await asyncio.gather(*map(coordinator.wait, ids))
        still = sum(not coordinator.journal.video(video_id).state.terminal for video_id in renders)
        gaps = [gap for video_id in ids for gap in gaps_of(Snapshot.read(coordinator.journal, video_id))]
        await coordinator.close()
    return {
        "completed": states.count(VideoState.COMPLETED),
        "renders_still_going": still,
        "longest_gap_ms": max(gaps) * 1e3,
        "median_gap_ms": statistics.median(gaps) * 1e3,
    }


def _renders_of(coordinator: Coordinator, video_id: str) -> int:
    return sum(step.state is StepState.RUNNING for step in coordinator.journal.steps(video_id))


def show(results: list[dict[str, Any]]) -> None:
    """Print the figures as a table."""
    table = Table(title="From a predecessor's end to its follower's start, beside local renders")
    for name in results[0]:
        table.add_column(name.replace("_", " "), justify="right")
    for result in results:
        table.add_row(*(f"{value:.0f}" for value in result.values()))
    Console(width=110).print(table)


def main() -> int:
    """Exit 0 if the renders went on in every repeat and all other videos were completed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=6, help="all videos (default 6)")
    parser.add_argument("--local", type=int, default=2, help="how many of them are rendered (default 2)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cpus", type=int, default=2, help="CPUs Ray may use (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write parameters and figures there")
    args = parser.parse_args()
    ray.init(address="local", num_cpus=args.cpus, include_dashboard=False, log_to_driver=False)
    try:
        results = [asyncio.run(measure(args.videos, args.local, repeat)) for repeat in range(args.repeats)]
    finally:
        ray.shutdown()
    show(results)
    longest = statistics.median(result["longest_gap_ms"] for result in results)
    print(f"median of the longest: {longest:.0f} ms")
    if args.json:
        parameters = {
            **vars(args),
            "json": None,
            "commit": _commit(),
            "ray": ray.__version__,
            "at": time.time(),
        }
        args.json.write_text(json.dumps({"parameters": parameters, "repeats": results}, indent=2))
    fair = all(result["renders_still_going"] == args.local for result in results)
    return 0 if fair and all(r["completed"] == args.videos - args.local for r in results) else 1


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
