"""The same benchmark of two checkouts, interleaved: is this one slower than that one?

    git worktree add ../base REVISION
    python benchmarks/compare_revisions.py --base ../base [--repeats N] [--videos N] [--json FILE]

Runs `benchmarks/many_videos.py` of both, each in a process and a cluster of its own, in turn. Each process makes the
videos twice and the second time counts, when all is loaded. Prints each pair, the medians and their ratio.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parents[1]


def run(checkout: Path, videos: int) -> dict[str, Any]:
    """Run a checkout's benchmark of many videos, with its own code."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        script = checkout / "benchmarks" / "many_videos.py"
        command = [sys.executable, str(script), "--videos", str(videos), "--repeats", "2", "--json", str(out)]
        environment = {**os.environ, "PYTHONPATH": str(checkout)}
        subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)
        result: dict[str, Any] = json.loads(out.read_text())["repeats"][-1]
    return result


def main() -> int:
    """Exit 0 if this checkout takes at most `--limit` times as long as the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="checkout to compare with")
    parser.add_argument("--videos", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--limit", type=float, default=1.05, help="largest ratio of medians (default 1.05)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write parameters and figures there")
    args = parser.parse_args()
    checkouts = {"base": args.base.resolve(), "here": HERE}
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
    for repeat in range(args.repeats):
        order = list(checkouts) if repeat % 2 == 0 else list(reversed(checkouts))
        for name in order:
            results[name].append(run(checkouts[name], args.videos))
    medians = {name: statistics.median(r["wall_seconds"] for r in found) for name, found in results.items()}
    ratio = medians["here"] / medians["base"]
    _show(results, medians, ratio)
    if args.json:
        commits = {name: _commit(checkout) for name, checkout in checkouts.items()}
        parameters = {"videos": args.videos, "commits": commits, "at": time.time()}
        args.json.write_text(json.dumps({"parameters": parameters, "ratio": ratio, **results}, indent=2))
    complete = all(r["completed"] == args.videos for found in results.values() for r in found)
    return 0 if complete and ratio <= args.limit else 1


def _show(results: dict[str, list[dict[str, Any]]], medians: dict[str, float], ratio: float) -> None:
    table = Table(title=f"Seconds for all videos at once; median of here / base: {ratio:.3f}")
    for name in ("", "base", "here", "base CPU s a video", "here CPU s a video"):
        table.add_column(name, justify="right")
    for number, pair in enumerate(zip(results["base"], results["here"], strict=True), start=1):
        walls = [f"{each['wall_seconds']:.2f}" for each in pair]
        table.add_row(str(number), *walls, *(f"{each['cpu_seconds_per_video']:.3f}" for each in pair))
    table.add_row("median", *(f"{medians[name]:.2f}" for name in ("base", "here")), "", "")
    Console(width=110).print(table)


def _commit(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
