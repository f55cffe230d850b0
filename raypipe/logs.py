"""Where raypipe's log messages go: a file of their own, and notes on a terminal that shows something better."""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from typing import cast

from raypipe.private import make_folder, opener

LOG_FILE = "raypipe.log"
#: the same for machines: a JSON object a line, written by services alone
STRUCTURED_FILE = "raypipe.jsonl"
#: what a line says besides its message, where it is known
_FIELDS = (
    "video", "step", "take", "beat", "state", "provider", "model", "attempt", "seconds", "cost", "error",
)  # fmt: skip
_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

logger = logging.getLogger(__name__)


@contextmanager
def warnings_as_notes() -> Iterator[list[str]]:
    """Collect warnings, to be shown when there is a place for them."""
    notes = _Notes(logging.WARNING)
    with _only_to(notes):
        yield notes.messages


@contextmanager
def logs_in_file(folder: Path) -> Iterator[str | None]:
    """Append log messages to a file in a folder; gives why they are not kept, if they cannot be."""
    handler, problem = _file_handler(folder)
    with _only_to(handler):
        yield problem
    with suppress(OSError):
        handler.close()


def log_to_file_and_stderr(folder: Path) -> None:
    """Have a service's messages appended to a file in a folder and written to standard error, from now on."""
    root = logging.getLogger("raypipe")
    if root.handlers:
        return
    stderr = logging.StreamHandler(sys.stderr)
    stderr.setFormatter(logging.Formatter(_FORMAT))
    file, problem = _file_handler(folder)
    structured, _ = _file_handler(folder, STRUCTURED_FILE, _Structured())
    for handler in (stderr, file, structured):
        root.addHandler(handler)
    root.setLevel(logging.INFO)
    root.propagate = False
    if problem is not None:
        logger.warning("%s", problem)


def _file_handler(
    folder: Path, name: str = LOG_FILE, formatter: logging.Formatter | None = None
) -> tuple[logging.Handler, str | None]:
    path = folder / name
    try:
        make_folder(folder)
        handler: logging.Handler = _LogFile(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        return logging.NullHandler(), f"log messages are not kept: {path} cannot be written: {error.strerror}"
    handler.setFormatter(formatter or logging.Formatter(_FORMAT))
    return handler, None


class _Structured(logging.Formatter):
    """Writes a message as a JSON object, with the fields that its `extra` has."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: getattr(record, name) for name in _FIELDS if getattr(record, name, None) is not None}
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line)


@contextmanager
def _only_to(handler: logging.Handler) -> Iterator[None]:
    # asyncio's own: what became of calls that nobody waits for any more, once a video has failed
    loggers = [logging.getLogger(name) for name in ("raypipe", "asyncio")]
    before = [(each.level, each.propagate) for each in loggers]
    for each in loggers:
        each.propagate = False
        each.setLevel(logging.INFO)
        each.addHandler(handler)
    try:
        yield
    finally:
        for each, (level, propagate) in zip(loggers, before, strict=True):
            each.removeHandler(handler)
            each.setLevel(level)
            each.propagate = propagate


class _LogFile(logging.FileHandler):
    """A log file on a disk that may fill up: what cannot be written is not written, and nothing else happens."""

    def _open(self) -> TextIOWrapper:
        file = open(self.baseFilename, self.mode, encoding=self.encoding, errors=self.errors, opener=opener)  # noqa: SIM115
        return cast("TextIOWrapper", file)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is the standard library's
        """Say nothing: a log must not spoil what it tells of."""


class _Notes(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(" ".join(record.getMessage().split()))
