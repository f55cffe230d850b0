"""Whether there is room to write where an installation keeps its journal and its artifacts."""

import os
import tempfile
import threading
import time
from pathlib import Path

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import ArtifactStoreUnavailable, JournalUnavailable, RaypipeError, resource_error
from raypipe.intake import check_room
from raypipe.journal import database_file

#: seconds for which what was found holds: however often health is asked for, hardly anything is written
LOOK_SECONDS = 5.0
#: bytes that are written, and gone at once, to see that something can be
_PROBE_BYTES = 16 * 2**10


class Places:
    """Finds out, at most every few seconds, whether files can be written beside the journal and among the artifacts."""

    def __init__(self, settings: Settings, store: ArtifactStore) -> None:
        self._settings, self._store = settings, store
        journal = database_file(settings.journal_url)
        self._journal = None if journal is None else journal.parent
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._problem: RaypipeError | None = None

    def check(self) -> None:
        """Check that there is room.

        Raises:
            DiskFull: A disk is full, or there is less room than the settings want.
            TooManyFiles: No file can be opened for now.
            JournalUnavailable: Nothing can be written beside the journal.
            ArtifactStoreUnavailable: Nothing can be written among the artifacts.
        """
        with self._lock:
            if time.monotonic() - self._looked_at > LOOK_SECONDS:
                self._problem, self._looked_at = self._look(), time.monotonic()
        if self._problem is not None:
            raise self._problem.with_traceback(None)  # the same error, many times

    def _look(self) -> RaypipeError | None:
        try:
            if self._journal is not None:
                _probe(self._journal, JournalUnavailable, "nothing can be written beside the journal")
            check_room(self._store, self._settings)
            if self._store.folder is not None and self._store.folder.is_dir():
                _probe(self._store.folder, ArtifactStoreUnavailable, "no artifact can be written")
        except RaypipeError as error:
            return error
        return None


def _probe(folder: Path, kind: type[RaypipeError], what: str) -> None:
    """Write a little to a folder, under no name."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, _PROBE_BYTES)
    except OSError as error:
        raise resource_error(error, what) or kind(f"{what} in {folder}: {error.strerror}") from error
