"""The program that reads deliveries for `raypipe.media.foreign`.

Each line that comes in is a question, and each that goes out an answer, as JSON.
"""

import json
import logging
import math
import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from raypipe.errors import MediaError, RaypipeError, as_raypipe_error
from raypipe.media import audio, door
from raypipe.models import Size

#: bytes of memory that reading may take; pictures of 8K take a third of it
MEMORY = 4 * 2**30


class _Warnings(logging.Handler):
    """Keeps what is warned of, for whoever asked."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one warning."""
        self.lines.append(record.getMessage())


def fit_clip(source: str, out: str, size: dict[str, int], **more: Any) -> dict[str, Any] | None:
    """Fit a clip."""
    fitted = door.fit_clip(Path(source), Path(out), Size(**size), **more)
    return None if fitted is None else fitted._asdict()


def fit_track(source: str, out: str, seconds: float) -> None:
    """Fit a track."""
    Path(out).write_bytes(audio.fit_track(Path(source), seconds))


_CALLS: dict[str, Callable[..., Any]] = {"fit_clip": fit_clip, "fit_track": fit_track}


def answer(question: dict[str, Any]) -> dict[str, Any]:
    """Answer a question; what goes wrong is an answer too."""
    call = question.pop("call")
    try:
        return {"result": _CALLS[call](**question)}
    except MemoryError:
        error: RaypipeError = MediaError("the delivery cannot be read: that takes too much memory")
    except Exception as problem:  # noqa: BLE001 - the boundary of the process
        error = as_raypipe_error(problem, call)
    return {"code": error.code, "message": str(error)}


def _listen(questions: "queue.SimpleQueue[str]") -> None:
    """Take questions as they come; who asks no more has ended, and nobody waits for what is being read."""
    for line in sys.stdin:
        questions.put(line)
    os._exit(0)


def bound_cpu(seconds: int) -> None:
    """Have this process ended by SIGXCPU when it has taken so many more seconds of CPU."""
    _, most = resource.getrlimit(resource.RLIMIT_CPU)
    bound = math.ceil(time.process_time()) + seconds
    resource.setrlimit(
        resource.RLIMIT_CPU, (bound if most == resource.RLIM_INFINITY else min(bound, most), most)
    )


def main(cpu_seconds: int) -> None:
    """Answer questions until there are no more, each in so many seconds of CPU."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who is interrupted ends us
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    warnings, questions = _Warnings(), queue.SimpleQueue[str]()
    logging.getLogger("raypipe").addHandler(warnings)
    threading.Thread(target=_listen, args=(questions,), daemon=True).start()
    print("ready", file=answers, flush=True)
    while True:
        warnings.lines = []
        question = json.loads(questions.get())
        bound_cpu(cpu_seconds)
        answered = answer(question)
        print(json.dumps(answered | {"warnings": warnings.lines}), file=answers, flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
