"""Ending what a Ray of raypipe's own has left: processes that carry its mark, whoever started them, and no others.

Run as a program it is the guard: it waits until the process that holds its standard input ends, however it ends, and
then ends what that process has left. A process that does not end although a signal asked it to, it ends itself. It
needs nothing but the standard library.
"""

import os
import select
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
#: looks, one after the other, at which nothing must be left
QUIET_LOOKS = 2
#: seconds for which a process without an environment may be one that is being started, and not one that has none
START_SECONDS = 5.0
#: seconds for which it may be one though nobody knows whose: its parent may have ended, or it is a stranger's
GRACE_SECONDS = 0.5
#: seconds for which the guard looks at least: what was about to be started carries no mark yet
WATCH_SECONDS = 2.0
#: seconds within which a process ends that a signal has asked to, while it starts Ray
GIVE_UP_SECONDS = 30.0
#: what the guard is told where everything has ended in an orderly way
_DISMISSED = b"dismissed"
#: descriptors of the guard's standard input, and of nothing
_INPUT = 0
NO_SIGNALS = -1
#: flag of a process that is a part of the kernel
_OF_THE_KERNEL = 0x00200000


class Guard:
    """Has a process of its own watch this one, and end all that carries a mark once this one has ended.

    Args:
        mark: Which.
        signals: Descriptor to read from; what comes there is a signal that asks this process to end, which it may not
            hear itself.
    """

    def __init__(self, mark: str, signals: int = NO_SIGNALS) -> None:
        about = [mark, str(os.getpid()), str(signals), str(GIVE_UP_SECONDS)]
        # a session of its own: what a terminal sends to this process and its children is not for the guard
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            [sys.executable, "-I", "-S", __file__, *about],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
            pass_fds=() if signals == NO_SIGNALS else (signals,),
        )

    def dismiss(self) -> None:
        """End the guard, and what carries the mark."""
        self._process.communicate(_DISMISSED)


def end_marked(mark: str, leave_seconds: float = 0.0, watch_seconds: float = 0.0) -> bool:
    """End all processes that carry a mark, and tell whether all of them have ended.

    Args:
        mark: Which.
        leave_seconds: How long they may take to end by themselves.
        watch_seconds: How long to look at least, for such as are not there yet.
    """
    began, quiet_looks, family = time.monotonic(), 0, {os.getpid()}
    while quiet_looks < QUIET_LOOKS or time.monotonic() - began < watch_seconds:
        waited = time.monotonic() - began
        marked = {process for process in _processes() if _carries(process, mark)}
        family |= marked
        starting = set(_being_started(None if waited < GRACE_SECONDS else family)) - marked
        if waited >= GRACE_SECONDS:
            family |= starting
        quiet_looks = 0 if marked or starting else quiet_looks + 1
        if waited > leave_seconds + END_SECONDS:
            return False
        if waited >= leave_seconds:
            for process in marked:
                _kill(process, mark)
        time.sleep(LOOK_SECONDS)
    return True


def _processes() -> Iterator[int]:
    """Return the ids of all processes but this one."""
    here = os.getpid()
    yield from (process for path in Path("/proc").glob("[0-9]*") if (process := int(path.name)) != here)


def _environment(process: int) -> bytes | None:
    """Return the environment of a process; None if it ended, or is another user's."""
    try:
        return Path(f"/proc/{process}/environ").read_bytes()
    except OSError:
        return None


def _carries(process: int, mark: str) -> bool:
    return f"{MARK}={mark}".encode() in (_environment(process) or b"").split(b"\0")


def _being_started(family: set[int] | None) -> Iterator[int]:
    """Return the processes that are about to become other programs: for a moment they have no environment.

    Args:
        family: Those, and the children of those, that count; None: all do, also such as will never have one.
    """
    for process in _processes():
        if _environment(process) == b"" and _is_being_started(process, family):
            yield process


def _is_being_started(process: int, family: set[int] | None) -> bool:
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return False  # it ended
    state, parent, flags = fields[0], int(fields[1]), int(fields[6])
    if state in (b"Z", b"X") or flags & _OF_THE_KERNEL:
        return False
    counts = family is None or not family.isdisjoint((process, parent))
    return counts and _has_just_begun(float(fields[19]))


def _has_just_begun(ticks: float) -> bool:
    """Tell whether a process that began so many ticks after the machine may still be being started."""
    up_seconds = float(Path("/proc/uptime").read_text().split()[0])
    return up_seconds - ticks / os.sysconf("SC_CLK_TCK") < START_SECONDS


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
    """Guard the mark that is the first argument, and the process that is the second."""
    mark, guarded, signals, seconds = sys.argv[1:]
    dismissed = _await_end(int(guarded), int(signals), float(seconds)) == _DISMISSED
    end_marked(mark, LEAVE_SECONDS, 0.0 if dismissed else WATCH_SECONDS)


def _await_end(guarded: int, signals: int, seconds: float) -> bytes:
    """Wait until the process that is guarded ends, or says that all has, and return what it has said.

    It is killed if it does not end within so many seconds after a signal: code of Ray's that does not return may keep
    Python from hearing it.
    """
    said, waiting, deadline = b"", [_INPUT] if signals == NO_SIGNALS else [_INPUT, signals], float("inf")
    while True:
        rest = None if deadline == float("inf") else max(0.0, deadline - time.monotonic())
        readable, _, _ = select.select(waiting, [], [], rest)
        if _INPUT in readable:
            part = os.read(_INPUT, 64)
            if not part:
                return said
            said += part
        elif readable:
            waiting = [_INPUT]
            if os.read(signals, 1):
                deadline = time.monotonic() + seconds
        else:
            deadline = float("inf")
            _kill_parent(guarded)


def _kill_parent(process: int) -> None:
    """Kill the process that has started this one, if that is still there."""
    try:
        descriptor = os.pidfd_open(process)
    except OSError:
        return  # it ended
    try:
        if os.getppid() == process:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main()
