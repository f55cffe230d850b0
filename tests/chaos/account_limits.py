"""An account's limits, held by two coordinators while the limiter is killed, as the vendor's own ledger has it.

    python -m tests.chaos.account_limits [--videos N] [--in-flight N] [--per-minute N]

Six-beat videos by a fake of Replicate, whose clips take two seconds. Exit code 0 only if the ledger shows neither limit
ever exceeded and at least 90 % of what was allowed used, no work was paid twice, and hardly more films were half made
at once than jobs may be in flight.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import ray

from raypipe.config import Limit
from raypipe.coordinator import Coordinator
from raypipe.models import Kind, Size, VideoRequest, VideoState
from raypipe.workers import NAMESPACE
from tests.vendors import FakeVendor, fake, settings_for

MODELS = {
    Kind.IMAGE: ("replicate/black-forest-labs/flux-schnell",),
    Kind.CLIP: ("replicate/minimax/hailuo-02",),
    Kind.MUSIC: ("replicate/meta/musicgen",),
}
#: seconds that the vendor's jobs take, and what they make
FAKE: dict[str, Any] = {
    "image": 0.5, "clip": 2.0, "music": 0.5, "width": 320, "height": 180, "form": {"width": 320, "height": 180},
}  # fmt: skip
#: creates of a six-beat video
CREATES = 13
#: share of what is allowed that has to be used
USED = 0.9
#: films that may be half made beyond those with a job in flight: what is fetched and fitted is in flight no more
AT_THE_DOOR = 2


class Report(NamedTuple):
    """What the vendor's ledger and the journal say."""

    completed: int
    creates: int
    #: most jobs at once, and most creates in any 60 seconds
    in_flight: int
    per_minute: int
    #: creates a minute, from the first to the last
    rate: float
    #: most videos of which some work was sent and some not
    half_made: int
    #: seconds from the first create to each film
    films: tuple[float, ...]

    def holds(self, videos: int, limit: Limit) -> bool:
        """Tell whether all is as it should be."""
        kept = self.in_flight <= (limit.in_flight or 0) and self.per_minute <= (limit.per_minute or 0)
        whole = self.completed == videos and self.creates == CREATES * videos
        in_turn = self.half_made <= self.in_flight + AT_THE_DOOR
        return kept and whole and in_turn and self.rate >= USED * (limit.per_minute or 0)


async def kill_limiter() -> None:
    """SIGKILL the actor that paces creates."""
    names = [each["name"] for each in ray.util.list_named_actors(all_namespaces=True)]
    (name,) = (each for each in names if each.endswith("/limiter"))
    ray.kill(ray.get_actor(name, namespace=NAMESPACE), no_restart=False)


async def race(
    coordinators: Sequence[Coordinator], vendor: FakeVendor, videos: int, kill_after: float
) -> Report:
    """Make videos with all coordinators, kill the limiter once, and report."""
    size = Size(width=320, height=180)
    requests = [
        VideoRequest(prompt="A lighthouse in a storm", duration=30, size=size, seed=seed, models=MODELS)
        for seed in range(videos)
    ]
    owners = [each for each, _ in zip(cycle(coordinators), requests, strict=False)]
    ids = [await each.submit(request) for each, request in zip(owners, requests, strict=True)]
    ends = asyncio.gather(*(each.wait(video_id) for each, video_id in zip(owners, ids, strict=True)))
    await asyncio.sleep(kill_after)
    await kill_limiter()
    states = await ends
    return _report(coordinators[0], vendor, ids, states)


def _report(
    coordinator: Coordinator, vendor: FakeVendor, ids: Sequence[str], states: Sequence[VideoState]
) -> Report:
    jobs = [(line["at"], line["job"]["ready_at"]) for line in vendor.lines()]
    times = sorted(began for began, _ in jobs)
    spans = []
    for video_id in ids:
        sent = sorted(
            step.sent_at for step in coordinator.journal.steps(video_id) if step.sent_at is not None
        )
        spans.append((sent[0], sent[-1]))
    ends = [coordinator.journal.video(video_id).finished_at or 0.0 for video_id in ids]
    return Report(
        completed=sum(state is VideoState.COMPLETED for state in states),
        creates=len(jobs),
        in_flight=max(sum(began <= at < ready for began, ready in jobs) for at in times),
        per_minute=max(sum(at <= other < at + 60 for other in times) for at in times),
        rate=60 * (len(times) - 1) / (times[-1] - times[0]),
        half_made=max(sum(first <= at <= last for first, last in spans) for at in times),
        films=tuple(round(end - times[0], 1) for end in sorted(ends)),
    )


async def run(args: argparse.Namespace) -> bool:
    """Run it as the options say; tells whether all is well."""
    limit = Limit(in_flight=args.in_flight, per_minute=args.per_minute)
    with tempfile.TemporaryDirectory() as folder, fake("replicate", Path(folder), **FAKE) as vendor:
        settings = settings_for(Path(folder), vendor, limits={"replicate": limit})
        coordinators = [Coordinator(settings), Coordinator(settings)]
        report = await race(coordinators, vendor, args.videos, kill_after=args.kill_after)
        for each in coordinators:
            await each.close()
    for name, value in report._asdict().items():
        print(f"{name}: {value}")
    well = report.holds(args.videos, limit)
    print("all is well" if well else "something is broken")
    return well


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=10)
    parser.add_argument("--in-flight", type=int, default=5)
    parser.add_argument("--per-minute", type=int, default=60)
    parser.add_argument("--kill-after", type=float, default=30.0, help="seconds; the limiter is killed once")
    args = parser.parse_args()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    try:
        return 0 if asyncio.run(run(args)) else 1
    finally:
        ray.shutdown()


if __name__ == "__main__":
    sys.exit(main())
