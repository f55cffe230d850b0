"""Clips and tracks of vendors are read in a process of its own: what they do to a decoder they do to nobody else.

A fault in a decoder may write over memory, so that the process dies later, at something else, or what others do in it
becomes wrong. So one process beside this one reads one delivery after the other. It is replaced when it dies, takes too
long, or has read many. Files go in and out by their paths.

A delivery is refused for what its reader does, and never for what is done to that: who is short of memory, or of time,
or ends it by hand, leaves a delivery that is paid and can be read later.
"""

import atexit
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import IO, Any, cast

from raypipe.errors import DiskFull, InternalError, MediaError, RaypipeError, WorkerLost
from raypipe.media.apart import FAULTS
from raypipe.media.door import Fitted
from raypipe.models import Size

logger = logging.getLogger(__name__)

#: deliveries that one process reads
DELIVERIES = 50
#: seconds of CPU that reading one may take
CPU_SECONDS = 300
#: seconds in all, which pass where others keep all CPUs busy; less than a helper's call may take
DELIVERY_SECONDS = 480.0
#: how often a delivery is read whose reader dies: it may be the one before that has damaged the reader
_TRIES = 2
#: errors that come back as what they are
_ERRORS: dict[str, type[RaypipeError]] = {kind.code: kind for kind in (MediaError, DiskFull)}
_PROGRAM = "raypipe.media.foreign_reader"


def fit_clip(
    source: Path, out: Path, size: Size, fps: int, frames: int, skip_first: bool, encode: bool = True
) -> Fitted | None:
    """Have a clip fitted as `door.fit_clip` does, in the process for it.

    Raises:
        MediaError: It is no clip, or reading it breaks the process, or takes too much CPU.
        DiskFull: There is no room for what is made of it.
        WorkerLost: The process cannot be started, is ended by somebody else, or gets too little CPU.
    """
    fitted = _asked(
        "fit_clip",
        source=str(source),
        out=str(out),
        size=size.model_dump(),
        fps=fps,
        frames=frames,
        skip_first=skip_first,
        encode=encode,
    )
    return None if fitted is None else Fitted(**fitted)


def fit_track(source: Path, out: Path, seconds: float) -> None:
    """Have a track fitted as `audio.fit_track` does, in the process for it.

    Args:
        source: The encoded track.
        out: Where to write the MP4.
        seconds: Length of the result; above 0.

    Raises:
        MediaError: It is no track, or reading it breaks the process, or takes too much CPU.
        DiskFull: There is no room for what is made of it.
        WorkerLost: The process cannot be started, is ended by somebody else, or gets too little CPU.
    """
    _asked("fit_track", source=str(source), out=str(out), seconds=seconds)


class _ReaderBroken(Exception):
    """What the process has read has ended it before it had answered, or it is not to be relied on."""


class _Reader:
    """The process that reads, and how much it has read."""

    def __init__(self) -> None:
        # nothing of our environment is its business, but where raypipe and the folder for temporary files are
        paths = os.pathsep.join(str(Path(path).resolve()) for path in sys.path)
        environment = {"PYTHONPATH": paths, "TMPDIR": tempfile.gettempdir(), "OPENBLAS_NUM_THREADS": "1"}
        try:
            self.process = subprocess.Popen(  # noqa: S603 - the command is ours
                [sys.executable, "-P", "-m", _PROGRAM, str(CPU_SECONDS)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
            )
        except OSError as error:
            raise WorkerLost(f"the process that reads deliveries cannot be started: {error}") from error
        self._questions = cast(IO[str], self.process.stdin)
        self._answers = cast(IO[str], self.process.stdout)
        self.read, self._is_late = 0, False
        if not self._line():
            raise WorkerLost(f"the process that reads deliveries cannot be started: it {self.ending}")

    @property
    def is_used_up(self) -> bool:
        """Tell whether another process is to read the next delivery."""
        return self.read >= DELIVERIES or self.process.poll() is not None

    @property
    def ending(self) -> str:
        """Say how the process has ended."""
        code = self.process.wait()
        return f"ended by signal {-code}" if code < 0 else f"ended with {code}"

    @property
    def _is_ended_by_others(self) -> bool:
        code = self.process.wait()
        return code < 0 and -code not in FAULTS

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Have the process read a delivery.

        Raises:
            _ReaderBroken: It has ended meanwhile, or answers nonsense.
            MediaError: It took too much CPU.
            WorkerLost: Somebody else has ended it meanwhile, or it got too little CPU.
        """
        self.read += 1
        line = self._line(json.dumps(question) + "\n")
        if self._is_late:
            raise WorkerLost(f"the delivery was not read within {DELIVERY_SECONDS:g} s")
        if not line.endswith("\n"):
            raise self._why_ended()
        try:
            return cast(dict[str, Any], json.loads(line))
        except ValueError as error:
            raise _ReaderBroken("answered what is no answer") from error

    def _why_ended(self) -> Exception:
        if self._is_ended_by_others:
            return WorkerLost(f"the process that read a delivery {self.ending}, which somebody else has sent")
        if self.process.returncode == -signal.SIGXCPU:
            return MediaError(f"the delivery cannot be read: that takes more than {CPU_SECONDS} s of CPU")
        return _ReaderBroken(self.ending)

    def _line(self, question: str = "") -> str:
        """Read what the process says, to a question if there is one; nothing if it ends before, or is late."""
        bound = threading.Timer(DELIVERY_SECONDS, self._give_up)
        bound.daemon = True
        bound.start()
        try:
            self._questions.write(question)
            self._questions.flush()
            return self._answers.readline()
        except BrokenPipeError:
            return ""
        finally:
            bound.cancel()

    def _give_up(self) -> None:
        self._is_late = True
        self.process.kill()

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.communicate()


class _Readers:
    """The one reader of this process, whoever needs it, and those that follow it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reader: _Reader | None = None
        atexit.register(self.close)

    def answer(self, question: dict[str, Any]) -> dict[str, Any]:
        """Have a delivery read, again in a new process if the one that reads it breaks.

        Who asks tries again what somebody else has ended: later, as memory may be short now.

        Raises:
            MediaError: It breaks again, or takes too much CPU.
            WorkerLost: The process cannot be started, is ended by somebody else, or gets too little CPU.
        """
        with self._lock:
            for _ in range(_TRIES):
                try:
                    return self._running().answer(question)
                except _ReaderBroken as error:
                    self.close()
                    ending = str(error)
                    logger.warning("The process that reads deliveries %s at %s", ending, question["source"])
                except BaseException:
                    self.close()  # what it answers now, nobody waits for
                    raise
        raise MediaError(f"the delivery cannot be read: the process that reads it {ending}, each time")

    def _running(self) -> _Reader:
        if self._reader is not None and self._reader.is_used_up:
            self.close()
        if self._reader is None:
            self._reader = _Reader()
        return self._reader

    def close(self) -> None:
        """End the reader."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


_readers = _Readers()


def _asked(call: str, **arguments: Any) -> Any:
    answer = _readers.answer({"call": call, **arguments})
    for warning in answer["warnings"]:
        logger.warning("%s", warning)
    if "code" in answer:
        raise _ERRORS.get(answer["code"], InternalError)(answer["message"])
    return answer["result"]
