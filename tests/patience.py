"""How long tests wait for an event before they give it up: longer on a slow or busy machine.

A wait ends with its event; the bound only says when to stop hoping. So it is generous, and grows with how much slower
this machine is than the one that the bounds were written on. It is measured once a run: by whoever needs it first, and
by pytest's workers not again.
"""

import os
import subprocess
import sys
import time
from functools import cache

#: hands the factor on to pytest's workers and to tests' own processes
_VARIABLE = "RAYPIPE_TESTS_SLOWNESS"
_WORK = "sum(number * number for number in range(4_000_000))"
#: seconds that this work takes in two processes at once on two quiet cores
_USUAL_SECONDS = 0.5
#: what a machine may become slower by while the tests run
_MARGIN = 2.0


@cache
def slowness() -> float:
    """Return by how much longer than usual tests are to wait, at least `_MARGIN` times."""
    if _VARIABLE not in os.environ:
        os.environ[_VARIABLE] = f"{_MARGIN * max(1.0, _seconds_of_work() / _USUAL_SECONDS):.2f}"
    return float(os.environ[_VARIABLE])


def patience(seconds: float) -> float:
    """Return the bound of a wait that is given so many seconds on a quiet machine; of milliseconds likewise."""
    return seconds * slowness()


def _seconds_of_work() -> float:
    began = time.monotonic()
    running = [subprocess.Popen([sys.executable, "-c", _WORK]) for _ in range(2)]
    for process in running:
        process.wait()
    return time.monotonic() - began
