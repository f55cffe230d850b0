"""Ending what a Ray of raypipe's own has left: processes that carry its mark, whoever started them, and no others.

Run as a program it is the guard: it waits until the process that holds its standard input ends, however it ends, and
then ends what that process has left. It needs nothing but the standard library.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

#: variable of the environment that holds the mark; whatever a marked process starts inherits it
MARK = "RAYPIPE_RAY_MARK"
#: seconds that marked processes get to end by themselves, once who started them is gone
LEAVE_SECONDS = 2.0
#: seconds after which the guard gives up on processes that do not end although they are killed
END_SECONDS = 60.0
#: seconds between two looks at what is left
LOOK_SECONDS = 0.05


class Guard:
    """Has a process of its own watch this one, and end all that carries a mark once this one has ended."""

    def __init__(self, mark: str) -> None:
        # a session of its own: what a terminal sends to this process and its children is not for the guard
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-I", "-S", __file__, mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def dismiss(self) -> None:
        """End the guard, and what carries the mark."""
        self._process.communicate()


def end_marked(mark: str, leave_seconds: float = 0.0) -> bool:
    """End all processes that carry a mark, and tell whether all of them have ended.

    Args:
        mark: Which.
        leave_seconds: How long they may take to end by themselves.
    """
    began = time.monotonic()
    while marked := list(_marked(mark)):
        if time.monotonic() - began > leave_seconds + END_SECONDS:
            return False
        if time.monotonic() - began >= leave_seconds:
            for process in marked:
                _kill(process, mark)
        time.sleep(LOOK_SECONDS)
    return True


def _marked(mark: str) -> Iterator[int]:
    """Return the ids of the processes that carry a mark and run."""
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) != os.getpid() and _carries(int(folder.name), mark):
            yield int(folder.name)


def _carries(process: int, mark: str) -> bool:
    try:
        # of a process that has ended and is not waited for yet it is empty
        environment = Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return False  # it ended, or is another user's
    return f"{MARK}={mark}".encode() in environment.split(b"\0")


def _kill(process: int, mark: str) -> None:
    """Kill a process if it still carries the mark: its id may be another's by now, a descriptor of it may not."""
    try:
        descriptor = os.pidfd_open(process)
    except OSError:
        return  # it ended
    try:
        if _carries(process, mark):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


def main() -> None:
    """Guard the mark that is the argument."""
    sys.stdin.buffer.read()
    end_marked(sys.argv[1], LEAVE_SECONDS)


if __name__ == "__main__":
    main()
