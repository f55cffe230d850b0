"""Where raypipe's log messages go while the terminal shows something better."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from raypipe.errors import FileNotWritten


@contextmanager
def warnings_as_notes() -> Iterator[list[str]]:
    """Collect warnings, to be shown when there is a place for them."""
    notes = _Notes(logging.WARNING)
    with _only_to(notes):
        yield notes.messages


@contextmanager
def logs_in_file(folder: Path) -> Iterator[None]:
    """Have log messages appended to a file in a folder.

    Raises:
        FileNotWritten: There can be no such folder.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FileNotWritten(f"{folder} cannot be made: {error.strerror}.") from error
    handler = logging.FileHandler(folder / "raypipe.log", encoding="utf-8", delay=True)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    with _only_to(handler):
        yield
    handler.close()


@contextmanager
def _only_to(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("raypipe")
    level, propagate = logger.level, logger.propagate
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


class _Notes(logging.Handler):
    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(" ".join(record.getMessage().split()))
