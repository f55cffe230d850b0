"""Gateways killed at random moments while a vendor makes the clips: real HTTP, and the vendor's own ledger.

    python -m tests.chaos.vendor_kills [--videos N] [--kills N] [--seed N]

Six-beat videos by a fake of Replicate, which cannot be asked for a create that was not answered, but sends webhooks.
A create that was killed on its way is sent once more, and marked. Exit code 0 only if every video was completed, the
ledger has 13 creates for each, none twice but where a row says so, what the videos cost is what was asked for, and the
journal and the artifacts are whole.
"""

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import ray

from raypipe.coordinator import Coordinator
from raypipe.models import Size, VideoRequest
from tests.chaos.account_limits import FAKE, MODELS
from tests.chaos.invariants import broken
from tests.chaos.rig import kill_gateway
from tests.cluster.test_webhooks import hooked, serving
from tests.vendors import FakeVendor, fake

#: seconds between kills: a gateway that is killed as soon as it lives has its steps suspected of it
BETWEEN_KILLS = 4.0, 9.0
#: US dollars for a six-beat video: six images, six clips of six seconds, one track
COST = 6 * 0.003 + 6 * 6 * 0.045 + 0.15


async def race(
    coordinator: Coordinator, vendor: FakeVendor, videos: int, kills: int, chosen: random.Random
) -> dict[str, Any]:
    """Make videos, kill gateways meanwhile, and say what became of them."""
    size = Size(width=320, height=180)
    requests = [
        VideoRequest(prompt="A lighthouse in a storm", duration=30, size=size, seed=seed, models=MODELS)
        for seed in range(videos)
    ]
    ids = await asyncio.gather(*map(coordinator.submit, requests))
    ends = asyncio.ensure_future(asyncio.gather(*map(coordinator.wait, ids)))
    killed = []
    for _ in range(kills):
        await asyncio.sleep(chosen.uniform(*BETWEEN_KILLS))
        if not ends.done():
            killed.append(await kill_gateway(coordinator, 0))
    states = Counter(map(str, await asyncio.wait_for(ends, 600)))
    steps = [step for each in ids for step in coordinator.journal.steps(each) if step.model is not None]
    ledger = Counter(line["job"]["id"] for line in vendor.lines())
    unmarked = ledger - Counter(step.provider_job_id for step in steps)
    marked = sum(step.possible_duplicate for step in steps)
    costs = [coordinator.journal.video(video_id).cost for video_id in ids]
    return {
        "killed": len(killed),
        "ends": dict(states),
        "creates": sum(ledger.values()),
        "marked": marked,
        "each once": {step.provider_job_id for step in steps} <= ledger.keys() and len(unmarked) <= marked,
        "cost as asked for": all(abs(cost - COST) < 1e-6 for cost in costs),
        "broken": broken(coordinator.settings, ids),
    }


def is_well(report: dict[str, Any], videos: int) -> bool:
    """Tell whether all is as it should be."""
    whole = report["ends"] == {"completed": videos} and 13 * videos <= report["creates"]
    return bool(whole and report["each once"] and report["cost as asked for"] and not report["broken"])


async def run(args: argparse.Namespace) -> bool:
    """Run it as the options say; tells whether all is well."""
    with tempfile.TemporaryDirectory() as folder, fake("replicate", Path(folder), **FAKE) as vendor:
        settings = hooked(Path(folder), vendor).model_copy(update={"on_unknown": "resubmit_once"})
        coordinator = Coordinator(settings)
        async with serving(settings):
            report = await race(coordinator, vendor, args.videos, args.kills, random.Random(args.seed))
        await coordinator.close()
    print(f"seed {args.seed}: {report}")
    return is_well(report, args.videos)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        return 0 if asyncio.run(run(args)) else 1
    finally:
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
