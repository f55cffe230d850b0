"""Fuzz parsers, each in a process of its own with bounded memory.

    python -m tests.fuzz --seconds 60
    python -m tests.fuzz --seconds 600 http_request spec

What breaks one is kept under `--keep`, and `--replay FILE` gives it to the parser once more.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .parsers import PARSERS, any_of_them

#: MiB that a process may take, and seconds that one input may take
MEMORY, EACH = 2_048, 25
_RUNS = re.compile(r"Done (\d+) runs")
#: what libFuzzer tells of its progress
_NOISE = re.compile(r"#\d+|INFO|WARNING: Failed to find")
_ROOT = str(Path(__file__).parents[2])


def main() -> int:
    """Fuzz, one after the other; 1 if a parser broke."""
    arguments = _arguments()
    names = arguments.parsers or list(PARSERS)
    if unknown := sorted(set(names) - {*PARSERS, any_of_them.__name__}):
        sys.exit(f"There is no parser {', '.join(unknown)}: choose of {', '.join(PARSERS)}.")
    if arguments.replay and not (arguments.replay.is_file() and len(names) == 1):
        sys.exit("--replay takes one file, and one parser.")
    arguments.keep.mkdir(parents=True, exist_ok=True)
    return int(sum(not _passes(name, arguments) for name in names) > 0)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parsers", nargs="*", metavar="PARSER", help="which (default: all)")
    parser.add_argument("--seconds", type=int, default=60, help="for each parser (default: 60)")
    parser.add_argument(
        "--keep", type=Path, default=Path("fuzz-findings"), help="folder for what breaks a parser"
    )
    parser.add_argument("--replay", type=Path, help="a file to give to one parser, instead of fuzzing it")
    return parser.parse_args()


def _passes(name: str, arguments: argparse.Namespace) -> bool:
    bounds = [
        f"-max_total_time={arguments.seconds}",
        f"-rss_limit_mb={MEMORY}",
        f"-timeout={EACH}",
        "-max_len=8192",
    ]
    what = [str(arguments.replay.resolve())] if arguments.replay else [*bounds, "corpus"]
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{name}-") as folder:
        (Path(folder) / "corpus").mkdir()
        prefix = f"-artifact_prefix={arguments.keep.resolve()}/{name}-"
        command = [sys.executable, "-m", "tests.fuzz.one", name, prefix, *what]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, os.environ.get("PYTHONPATH", "")])}
        ran = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
    runs = _RUNS.search(ran.stderr)
    if ran.returncode == 0 and (runs or arguments.replay):
        print(f"{name:20} {runs[1] if runs else 1:>9} inputs", flush=True)
        return True
    said = "\n".join(line for line in (ran.stdout + ran.stderr).splitlines() if not _NOISE.match(line))
    print(f"{name:20} broke:\n{said[-6_000:]}", flush=True)
    return False


if __name__ == "__main__":
    sys.exit(main())
