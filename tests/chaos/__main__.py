"""Kill everything there is, many times, while users have videos made; then see whether anything was lost or paid twice.

    python -m tests.chaos [--videos N] [--kills N] [--seed S] [--only KIND ...] [--report FILE]

Six-beat videos by a fake vendor with delays, failures, lost answers and 429s, ordered over HTTP by users who cancel,
retry, approve, edit and delete. Meanwhile processes are killed: at named points before and after each commit, create,
download, artifact, last frame and stitch, and at random the gateways, the limiter, helpers, workers, coordinators,
Serve's replicas, proxy and controller, a raylet, a node; the journal is locked, the disk full, memory taken up, a
coordinator put to sleep past its lease, and one in a hundred of another's messages lost. It runs in a PID and mount
namespace of its own with bounded memory and disk, and needs root. Exit code 0 only if every invariant of
tests/chaos/invariants.py holds.

The seed chooses what is killed and when, what goes wrong at the vendor and what users do; not how processes
interleave.
"""

import argparse
import asyncio
import os
import random
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from raypipe.errors import ArtifactStoreUnavailable, JournalUnavailable
from tests.chaos.enclosure import ROOM, disk, enter
from tests.chaos.report import Report, conclude

#: MiB of disk for journal and artifacts, and of memory for everything
DISK, MEMORY = 1_500, 8_000
#: users at once
AT_ONCE = 8
#: seconds before the first kill
FIRST = 5.0
#: seconds between kills: a system that is never whole has nothing left to break
BETWEEN = 1.0, 4.0
#: seconds between looks at what is done
LOOK = 3.0
#: share of looks after which files that nothing names are swept, if nobody has written them for so many seconds
SWEEPS, GRACE = 0.2, 20.0
#: share of videos that have to be completed, whatever users and vendor do
COMPLETED = 0.6
#: longest time that users and kills may take beyond what each kill takes, in seconds, and that the whole run may
MOST, LONGEST = 1_200.0, 2_400.0
#: seconds within which all videos come to their ends; and then the steps of those that have ended, and messages
REST, SETTLE = 300.0, 90.0


async def disturbed(args: argparse.Namespace, installation: Any, report: Report) -> None:
    """Have users come until all kills are done and enough videos made; reports how videos ended, and the kills."""
    from tests.chaos.users import everybody

    killing = asyncio.create_task(_kills(args, installation, report))
    looking = asyncio.create_task(_looks(args, installation, report))

    def goes_on(number: int) -> bool:
        return not killing.done() or number < args.videos

    try:
        async with asyncio.timeout(MOST + 12 * args.kills):
            await everybody(installation, args.seed, AT_ONCE, goes_on, report)
            await killing
    finally:
        killing.cancel()
        looking.cancel()


async def _kills(args: argparse.Namespace, installation: Any, report: Report) -> None:
    """Do as many kills as the options say; one that cannot be done is reported, and the next is tried."""
    from tests.chaos.kills import kill, schedule

    chosen = random.Random(args.seed)
    began = time.time()
    await asyncio.sleep(FIRST)
    for kind in schedule(10 * args.kills, chosen, args.only):
        if len(report.kills) == args.kills:
            break
        try:
            killed = await kill(kind, installation, chosen)
        except Exception as error:  # noqa: BLE001 - a kill that goes wrong does not end the run
            report.failed(f"the kill {kind!r}", error)
            killed = None
        if killed is not None:
            report.killed(killed._asdict())
        what = "nothing was done" if killed is None else killed.what
        print(f"{time.time() - began:6.0f} s {len(report.kills):4d}  {kind}: {what}", flush=True)
        report.heed_signals()  # a node that Ray starts puts its own handlers in place of ours
        await asyncio.sleep(chosen.uniform(*BETWEEN))


async def _looks(args: argparse.Namespace, installation: Any, report: Report) -> None:
    """Note again and again what is done, sweep sometimes, and see that the coordinator lives."""
    chosen = random.Random(f"{args.seed}/looks")
    while True:
        try:
            installation.look_after_coordinator()
            with suppress(JournalUnavailable, ArtifactStoreUnavailable):  # the disk may be full just now
                await asyncio.to_thread(installation.note_done)
                if chosen.random() < SWEEPS:
                    await asyncio.to_thread(installation.sweep, GRACE)
        except Exception as error:  # noqa: BLE001 - the next look may succeed
            report.failed("a look at what is done", error)
        await asyncio.sleep(LOOK)


def run(args: argparse.Namespace, folder: Path, report: Report) -> None:
    """Run it as the options say; whatever goes wrong in one stage, the next ones are gone through all the same."""
    from tests.chaos.installation import installed

    with installed(folder, ROOM / "scratch", args.seed, args.videos, report) as installation:
        report.heed_signals()  # Ray has put its own in place of ours
        with report.during("users and kills"):
            asyncio.run(disturbed(args, installation, report))
        with report.during("waiting until all rests"):
            asyncio.run(at_rest(installation))
        with report.during("stopping"):
            for left in installation.stop():
                report.problem(left)
        with report.during("judging"):
            judge(args, installation, report)
        with report.during("keeping what is to be looked at"):
            if report.problems and args.report is not None:
                installation.keep(args.report.with_suffix(""))


def judge(args: argparse.Namespace, installation: Any, report: Report) -> None:
    """Report what does not hold, and what there is to count."""
    from tests.chaos.invariants import violations

    seen = installation.seen()
    for problem in violations(installation.settings, seen):
        report.problem(problem)
    if len(report.kills) < args.kills:
        report.problem(f"only {len(report.kills)} kills of {args.kills} could be done")
    videos = installation.journal.videos(seen.accepted).values()
    completed = sum(video.state == "completed" for video in videos)
    if completed < COMPLETED * len(seen.accepted):
        report.problem(f"only {completed} of {len(seen.accepted)} videos were completed")
    report.facts |= {
        "videos": {"accepted": len(seen.accepted), "deleted": len(seen.deleted)},
        "ends": dict(Counter(str(video.state) for video in videos)),
        "creates": len(seen.creates),
        "steps seen done": len(seen.done),
        "paid": {
            "by the ledger": round(sum(create.price or 0.0 for create in seen.creates), 3),
            "by the journal, of videos that are not deleted": round(sum(video.cost for video in videos), 3),
        },
    }


async def at_rest(installation: Any) -> None:
    """Return when no video that was ever taken is under way, also those that nobody was told of.

    Steps of videos that have ended are asked for until it is known what became of them, and messages are sent again
    that were refused: they get their time too.
    """
    from tests.chaos.invariants import under_way

    deadline = time.monotonic() + REST
    settled_by = deadline
    while time.monotonic() < settled_by:
        installation.look_after_coordinator()
        with suppress(JournalUnavailable):
            ids = installation.journal.video_ids(limit=10_000)
            installation.accepted |= {video_id for video_id in ids if video_id not in installation.deleted}
            left = under_way(installation.journal, ids)
            if not any(left):
                return
            if not left.videos:
                settled_by = min(settled_by, time.monotonic() + SETTLE)
        await asyncio.sleep(1)


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--videos", type=int, default=10, help="at least so many; more while kills are left")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="+", metavar="KIND", help="do nothing else, such as: gateway limiter")
    parser.add_argument(
        "--report",
        type=Path,
        help="file for a report as JSON; if something is broken, journal, ledger and logs are kept beside it",
    )
    args = parser.parse_args()
    parameters = {name: getattr(args, name) for name in ("videos", "kills", "seed", "only")}
    report = Report(args.report, parameters)
    report.facts["commit"] = _commit()
    report.heed_signals()
    try:
        report.begin()
    except OSError as error:
        parser.error(f"the report cannot be written: {error}")
    folder = disk()
    if folder is None:
        return conclude(args.report, enter("tests.chaos", DISK, MEMORY))
    report.heed_threads()
    report.end_after(LONGEST + 24 * args.kills)
    with report.during("starting"):
        run(args, folder, report)
    report.over()
    print(report.text(kills=False), flush=True)
    print(f"seed {args.seed}: {'all is well' if report.well else 'something is broken'}", flush=True)
    # Ray's own ways to end may hang where it did not start well; all processes here end with this one
    os._exit(0 if report.well else 1)


if __name__ == "__main__":
    sys.exit(main())
