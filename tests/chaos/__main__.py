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
import json
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

#: MiB of disk for journal and artifacts, and of memory for everything
DISK, MEMORY = 1_500, 8_000
#: users at once
AT_ONCE = 8
#: seconds between kills: a system that is never whole has nothing left to break
BETWEEN = 1.0, 4.0
#: seconds between looks at what is done
LOOK = 3.0
#: share of looks after which files that nothing names are swept, if nobody has written them for so many seconds
SWEEPS, GRACE = 0.2, 20.0
#: share of videos that have to be completed, whatever users and vendor do
COMPLETED = 0.6
#: longest time that a run may take beyond what its kills take, in seconds
MOST = 1_200.0


async def disturbed(args: argparse.Namespace, installation: Any) -> tuple[list[str], list[Any]]:
    """Have users come until all kills are done and enough videos made; gives how videos ended, and the kills."""
    from tests.chaos.kills import kill, schedule
    from tests.chaos.users import everybody

    done: list[Any] = []
    chosen_looks = random.Random(f"{args.seed}/looks")
    chosen, began = random.Random(args.seed), time.time()
    going = True

    async def kills() -> None:
        nonlocal going
        await asyncio.sleep(5)
        for kind in schedule(10 * args.kills, chosen, args.only):
            if len(done) == args.kills:
                break
            killed = await kill(kind, installation, chosen)
            done.extend([] if killed is None else [killed])
            what = "there was nothing to do it to" if killed is None else killed.what
            print(f"{time.time() - began:6.0f} s {len(done):4d}  {kind}: {what}", flush=True)
            await asyncio.sleep(chosen.uniform(*BETWEEN))
        going = False

    async def looks() -> None:
        while True:
            with suppress(JournalUnavailable, ArtifactStoreUnavailable):  # the disk may be full just now
                await asyncio.to_thread(installation.note_done)
                if chosen_looks.random() < SWEEPS:
                    await asyncio.to_thread(installation.sweep, GRACE)
            await asyncio.sleep(LOOK)

    looking = asyncio.create_task(looks())
    users = everybody(installation, args.seed, AT_ONCE, lambda number: going or number < args.videos)
    async with asyncio.timeout(MOST + 12 * args.kills):
        ends, _ = await asyncio.gather(users, kills())
    if looking.done():
        looking.result()  # it ended too soon, and says why
    looking.cancel()
    return ends, done


def run(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run it as the options say, and report."""
    from tests.chaos.installation import installed
    from tests.chaos.invariants import violations

    began = time.time()
    with installed(folder, ROOM / "scratch", args.seed, args.videos) as installation:
        ends, kills = asyncio.run(disturbed(args, installation))
        asyncio.run(at_rest(installation))
        problems = [end for end in ends if end.startswith("stuck")]
        problems += installation.stop()
        seen = installation.seen()
        problems += violations(installation.settings, seen)
        if len(kills) < args.kills:
            problems.append(f"only {len(kills)} kills of {args.kills} could be done")
        completed = sum(
            video.state == "completed" for video in installation.journal.videos(seen.accepted).values()
        )
        if completed < COMPLETED * len(seen.accepted):
            problems.append(f"only {completed} of {len(seen.accepted)} videos were completed")
        if problems and args.report is not None:
            installation.keep(args.report.with_suffix(""))
        videos = installation.journal.videos(seen.accepted).values()
    return {
        "parameters": {"videos": args.videos, "kills": args.kills, "seed": args.seed},
        "commit": _commit(),
        "seconds": round(time.time() - began),
        "videos": {"accepted": len(seen.accepted), "deleted": len(seen.deleted)},
        "ends": dict(Counter(str(video.state) for video in videos)),
        "creates": len(seen.creates),
        "steps seen done": len(seen.done),
        "paid": {
            "by the ledger": round(sum(each.price or 0.0 for each in seen.creates), 3),
            "by the journal, of videos that are not deleted": round(sum(video.cost for video in videos), 3),
        },
        "kills by kind": dict(Counter(each.kind for each in kills)),
        "kills": [each._asdict() for each in kills],
        "problems": problems,
    }


async def at_rest(installation: Any) -> None:
    """Return when no video that was ever taken is under way, also those that nobody was told of."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        ids = installation.journal.video_ids(limit=10_000)
        videos = installation.journal.videos(ids)
        installation.accepted |= {video_id for video_id in ids if video_id not in installation.deleted}
        if all(video.state.terminal or video.state == "waiting" for video in videos.values()):
            return
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
    folder = disk()
    if folder is None:
        return enter("tests.chaos", DISK, MEMORY)
    report = run(args, folder)
    if args.report is not None:
        args.report.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps({name: value for name, value in report.items() if name != "kills"}, indent=2))
    well = not report["problems"]
    print(f"seed {args.seed}: {'all is well' if well else 'something is broken'}")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
