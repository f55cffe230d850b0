"""Gateways killed at random moments, under load.

    python -m tests.chaos.kill_gateways [--videos N] [--kills N] [--seed N]

Each round submits six-beat videos on the simulated provider, SIGKILLs one of the two gateways after a random time, and
waits for all ends. Exit code 0 only if every video was completed, every step was created exactly once, and the journal
and the artifacts are whole. "going again" is the time from the kill to the next event of a step of a killed gateway's
video.
"""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import ray

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from tests.chaos.invariants import broken, creates
from tests.chaos.rig import kill_gateway, six_beats

#: seconds within which 50 videos are under way
LATEST = 2.5


async def one_round(coordinator: Coordinator, videos: int, chosen: random.Random) -> dict[str, Any]:
    """Kill a gateway while videos are made, and say what became of them."""
    settings, first_seed = coordinator.settings, chosen.randrange(2**31)
    ids = await asyncio.gather(*(coordinator.submit(six_beats(first_seed + each)) for each in range(videos)))
    ends = asyncio.gather(*map(coordinator.wait, ids))
    after, number = chosen.uniform(0.05, LATEST), chosen.randrange(2)
    await asyncio.sleep(after)
    gateways = await coordinator.gateways()
    of_it = [each for each in ids if gateways.of(each) is gateways._gateway(number)]
    await kill_gateway(coordinator, number)
    killed = time.time()
    states = Counter(map(str, await asyncio.wait_for(ends, 120)))
    made = creates(settings)
    counts = [[made[key] for key in made if key[0] == each] for each in ids]
    next_events = [
        event.at
        for each in of_it
        for event in coordinator.journal.events(each)
        if event.at > killed + 0.05 and event.step
    ]
    return {
        "killed after": round(after, 2),
        "ends": dict(states),
        "going again": round(min(next_events, default=killed) - killed, 2),
        "all over": round(time.time() - killed, 2),
        "13 creates each": all(sorted(each) == [1] * 13 for each in counts),
        "broken": broken(settings, ids),
    }


async def run(args: argparse.Namespace) -> bool:
    """Do all rounds with one coordinator; tells whether all is well."""
    chosen, well = random.Random(args.seed), True
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), simulated_ledger=Path(folder) / "ledger", gateways=2)
        coordinator = Coordinator(settings)
        await coordinator.ready(renders=False)
        for number in range(args.kills):
            report = await one_round(coordinator, args.videos, chosen)
            print(number + 1, report, flush=True)
            whole = report["ends"] == {"completed": args.videos} and not report["broken"]
            well &= whole and report["13 creates each"]
        await coordinator.close()
    print(f"seed {args.seed}: {'all is well' if well else 'something is broken'}")
    return well


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=50)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        return 0 if asyncio.run(run(args)) else 1
    finally:
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
