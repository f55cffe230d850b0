"""Many videos on a Ray of their own that the environment makes unreliable: `python -m tests.chaos.flaky --data DIR`."""

import argparse
import asyncio
import sys
from collections import Counter
from pathlib import Path

import ray

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from tests.chaos.invariants import broken, creates
from tests.chaos.rig import six_beats


async def main(settings: Settings, videos: int) -> list[str]:
    coordinator = Coordinator(settings)
    ids = await asyncio.gather(*(coordinator.submit(six_beats(seed)) for seed in range(videos)))
    states = await asyncio.gather(*map(coordinator.wait, ids))
    errors = {coordinator.journal.video(each).error_message for each in ids} - {None}
    print(*errors, sep="\n")
    await coordinator.close()
    print(", ".join(f"{number} {state}" for state, number in Counter(states).items()))
    return [
        *broken(settings, ids),
        *(f"{key}: {n} creates" for key, n in creates(settings).items() if n != 1),
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--videos", type=int, default=30)
    args = parser.parse_args()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        problems = asyncio.run(
            main(Settings(data_dir=args.data, simulated_ledger=args.data / "ledger"), args.videos)
        )
    finally:
        ray.shutdown()
    print("\n".join(problems))
    sys.exit(1 if problems else 0)
