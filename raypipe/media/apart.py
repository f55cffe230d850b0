"""Decoding what strangers send in a process of its own: what goes wrong there, or never ends, does so there alone."""

import signal
import subprocess
import sys
from pathlib import Path

from raypipe.errors import MediaError, WorkerLost, resource_error

#: bytes of memory that decoding may take; the largest picture that is let through takes a quarter of it
MEMORY = 2**30
#: seconds of CPU that decoding may take, and seconds in all, which pass where others keep all CPUs busy
CPU_SECONDS, SECONDS = 20, 300.0
#: signals that a process is ended by for what it does itself; by any other, somebody else ends it
FAULTS = frozenset(
    {
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGFPE,
        signal.SIGILL,
        signal.SIGSEGV,
        signal.SIGSYS,
        signal.SIGTRAP,
        signal.SIGXCPU,
    }
)
_DECODER = Path(__file__).with_name("picture_decoder.py")


def normalise_apart(data: bytes, formats: tuple[str, ...]) -> bytes:
    """Decode a picture in a process of its own, and return it as `picture_decoder.normalised` gives it.

    Args:
        data: The picture, of whose size somebody has seen that it can be borne.
        formats: Pillow's names of the formats that it may have.

    Raises:
        MediaError: It cannot be decoded within the bounds.
        WorkerLost: The process cannot be started, is ended by somebody else, or gets too little CPU.
    """
    command = [sys.executable, "-I", str(_DECODER), str(MEMORY), str(CPU_SECONDS), *formats]
    try:
        # nothing of our environment is its business
        ran = subprocess.run(  # noqa: S603 - the command is ours
            command,
            input=data,
            capture_output=True,
            env={},
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise WorkerLost(f"a picture was not read within {SECONDS:g} s") from error
    except OSError as error:
        what = "the process that reads a picture cannot be started"
        raise resource_error(error, what) or WorkerLost(f"{what}: {error}") from error
    if ran.returncode == -signal.SIGXCPU:
        raise MediaError(f"the picture cannot be read: that takes more than {CPU_SECONDS} s of CPU")
    if ran.returncode < 0 and -ran.returncode not in FAULTS:
        by = f"signal {-ran.returncode}"
        raise WorkerLost(f"the process that read a picture ended by {by}, which somebody else has sent")
    if ran.returncode < 0:
        raise MediaError(f"the picture cannot be read: that ends its process by signal {-ran.returncode}")
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise MediaError(f"the picture cannot be read: {said:.300}")
    return ran.stdout
