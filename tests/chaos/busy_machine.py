"""Whether films are made on a machine that is busy: `python -m tests.chaos.busy_machine --runs 10 --loops 4`.

Beside each run of `raypipe generate` so many loops count, each in a process session of its own, so that a kernel that
shares CPUs by sessions gives raypipe one share of several.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raypipe.media.video import probe
from tests.acceptance.test_cli import RAYPIPE, SIMULATED, environment, options, processes_of

#: seconds that a film and all of its processes may take
FILM_SECONDS, END_SECONDS = 900, 60


@contextmanager
def busy(loops: int) -> Iterator[None]:
    """Have so many processes count for ever meanwhile."""
    counting = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True)
        for _ in range(loops)
    ]
    try:
        yield
    finally:
        for process in counting:
            process.kill()
            process.wait()


def film(data: Path) -> str | None:
    """Make a film of four beats, and return what went wrong."""
    command = [RAYPIPE, *SIMULATED, *options(), "--duration", "20", "-o", "film.mp4"]
    try:
        ran = subprocess.run(
            command,
            env=environment(data),
            cwd=data,
            capture_output=True,
            text=True,
            timeout=FILM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"it was not made within {FILM_SECONDS} s"
    if ran.returncode:
        return f"it ended with {ran.returncode}: {ran.stderr[-2_000:]}"
    frames = probe(data / "film.mp4").frames
    return None if frames == 480 else f"it has {frames} frames"


def left(data: Path) -> str | None:
    """Wait until all processes of a film have ended, and return which have not."""
    deadline = time.monotonic() + END_SECONDS
    while (found := processes_of(data)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return f"processes are left: {found}" if found else None


def main() -> int:
    """Make films beside busy loops and return how many were not made."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--loops", type=int, default=4)
    options_ = parser.parse_args()
    failed = 0
    for number in range(1, options_.runs + 1):
        with tempfile.TemporaryDirectory() as folder, busy(options_.loops):
            began = time.monotonic()
            problem = film(Path(folder)) or left(Path(folder))
            load = os.getloadavg()[0]
            print(
                f"{number}: {problem or 'made'}, {time.monotonic() - began:.1f} s, load {load:.1f}",
                flush=True,
            )
            failed += problem is not None
    print(f"{options_.runs - failed} of {options_.runs} films were made")
    return failed


if __name__ == "__main__":
    sys.exit(main())
