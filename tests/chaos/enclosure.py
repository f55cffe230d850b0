"""A PID and mount namespace of one's own, with bounded memory and disk: what is killed in there is nobody else's."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil

#: says in the environment that this process is inside, and where its disk is
INSIDE = "RAYPIPE_CHAOS_DISK"
#: everything inside that is written lies here, on disks of its own; a short name, because Ray puts sockets there
ROOM = Path("/tmp/raypipe-chaos")  # noqa: S108 - nobody outside sees what is mounted there
#: seconds that an enclosure gets to end when it is asked to
ENDS_WITHIN = 60.0
_GROUPS = Path("/sys/fs/cgroup/memory")
_ENDS_WITH_US = ["setpriv", "--pdeathsig", "KILL"]
_APART = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]


def enter(module: str, disk_mib: int, memory_mib: int, like_a_container: bool = False) -> int:
    """Run a module with this process's arguments inside, and return its exit code.

    Its first process is 1, so that all others end with it. Its memory is bounded by a control group where one can be
    made; it says so where none can.

    Args:
        module: To run inside.
        disk_mib: Size of its disk.
        memory_mib: What all its processes may take together.
        like_a_container: Whether Ray is to see these bounds and that use in place of the machine's.
    """
    group = _group(memory_mib)
    if group is None:
        print("No control group can be made here: memory is not bounded.", flush=True)
    root, disk, scratch = ROOM, ROOM / "data", ROOM / "scratch"
    root.mkdir(exist_ok=True)
    joined = f"echo $$ > {group}/cgroup.procs; " if group else ""
    mounts = f"mount -t tmpfs -o size=2g chaos {root} && mkdir {disk} && "
    mounts += f"mount -t tmpfs -o size={disk_mib}m chaos {disk} && mkdir -p {scratch}/ray"
    if group and like_a_container:
        mounts += f" && mount --bind {group} {_GROUPS}"
    script = f'{joined}{mounts} && exec "$@"'
    inner = ["bash", "-c", script, "chaos", sys.executable, "-m", module, *sys.argv[1:]]
    environment = {
        **os.environ,
        INSIDE: str(disk),
        "TMPDIR": str(scratch),
        "RAYPIPE_CHAOS_MEMORY": str(memory_mib if group else 0),
    }
    try:
        return _run([*_ENDS_WITH_US, *_APART, *inner], environment)
    finally:
        if group is not None:
            group.rmdir()


def _run(command: list[str], environment: dict[str, str]) -> int:
    """Return the exit code of an enclosure; signals that are to end us are passed on to it, and we end behind it.

    They are sent again until its first process is there and heeds them: before, the kernel keeps them from it. An
    enclosure that does not end then is killed.
    """
    asked: list[int] = []
    handled = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, _: asked.append(number)) for number in handled}
    try:
        # a session of its own: a Ctrl-C reaches it once, from here
        process = subprocess.Popen(command, env=environment, start_new_session=True)
        while not asked:
            with suppress(subprocess.TimeoutExpired):
                return process.wait(0.2)
        return _ended(process, asked[0])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ended(process: "subprocess.Popen[bytes]", number: int) -> int:
    deadline = time.monotonic() + ENDS_WITHIN
    while time.monotonic() < deadline:
        with suppress(psutil.Error):  # `unshare`, which is between us and the first process, heeds no signals
            for first in psutil.Process(process.pid).children():
                first.send_signal(number)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(0.5)
    process.kill()  # and with it all that is inside
    return process.wait()


def disk() -> Path | None:
    """Return the enclosure's disk; None outside."""
    found = os.environ.get(INSIDE)
    return None if found is None else Path(found)


def bounds_memory() -> bool:
    """Tell whether who takes too much memory here is killed, and nobody else."""
    return os.environ.get("RAYPIPE_CHAOS_MEMORY", "0") != "0"


def _group(memory_mib: int) -> Path | None:
    group = _GROUPS / f"raypipe-chaos-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text(str(memory_mib * 2**20))
    except OSError:
        return None
    return group
