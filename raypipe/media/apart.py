"""Decoding what strangers send in a process of its own: what goes wrong there, or never ends, does so there alone."""

import subprocess
import sys
from pathlib import Path

from raypipe.errors import MediaError

#: bytes of memory that decoding may take; the largest picture that is let through takes a quarter of it
MEMORY = 2**30
#: seconds of CPU that decoding may take, and seconds in all, which pass where others keep all CPUs busy
CPU_SECONDS, SECONDS = 20, 300.0
_DECODER = Path(__file__).with_name("decoder.py")


def normalise_apart(data: bytes, formats: tuple[str, ...]) -> bytes:
    """Decode a picture in a process of its own, and return it as `decoder.normalised` gives it.

    Args:
        data: The picture, of whose size somebody has seen that it can be borne.
        formats: Pillow's names of the formats that it may have.

    Raises:
        MediaError: It cannot be decoded within the bounds.
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
        raise MediaError("the picture cannot be read: that takes too long") from error
    if ran.returncode < 0:
        raise MediaError("the picture cannot be read: that takes too much memory or time")
    if ran.returncode:
        said = ran.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise MediaError(f"the picture cannot be read: {said:.300}")
    return ran.stdout
