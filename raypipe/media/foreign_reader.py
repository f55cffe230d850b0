"""The program that reads deliveries for `raypipe.media.foreign`.

Each line that comes in is a question, and each that goes out an answer, as JSON.
"""

import json
import logging
import os
import queue
import resource
import signal
import sys
import threading
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


def main() -> None:
    """Answer questions until there are no more."""
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
        answered = answer(json.loads(questions.get()))
        print(json.dumps(answered | {"warnings": warnings.lines}), file=answers, flush=True)


if __name__ == "__main__":
    main()
