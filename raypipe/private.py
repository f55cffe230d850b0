"""Files and folders of raypipe's own: no other user of the machine may read them."""

import logging
import os
import stat
import tempfile
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

FOLDER_MODE, FILE_MODE = 0o700, 0o600
#: modes of what an older raypipe made; any other mode is somebody's choice
_OLD_MODES = {True: (0o755, 0o775), False: (0o644, 0o664)}

#: held while a file is made and closed, so that no other thread has opened it meanwhile
_MAKING = threading.Lock()

logger = logging.getLogger(__name__)


def make_folder(path: Path) -> None:
    """Make a folder, and those that it is in, where they are missing."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(FOLDER_MODE, exist_ok=True)


def own_folder_in(shared: Path, prefix: str) -> Path:
    """Return this user's folder in one that others may write to; it is made if it is missing.

    Where another user has made something of its name there, a new one is made.
    """
    path = shared / f"{prefix}{os.geteuid()}"
    with suppress(FileExistsError):
        path.mkdir(FOLDER_MODE)
    about = path.lstat()
    if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.geteuid():
        return Path(tempfile.mkdtemp(prefix=prefix, dir=shared))
    path.chmod(FOLDER_MODE)
    return path


def opener(path: str, flags: int) -> int:
    """Open a file for `open`; if that makes it, it is private."""
    return os.open(path, flags | os.O_CLOEXEC, FILE_MODE)


def make_file(path: Path) -> None:
    """Make an empty file, if it is missing.

    One that is there is not even opened: to close it again would give up all locks that this process has on it, as
    SQLite's, and others would then take away what is being written.
    """
    with _MAKING, suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE))


def close_to_others(paths: Iterable[Path]) -> list[Path]:
    """Make private what an older raypipe left readable to others, and return what was.

    What is another user's, is missing, or has a mode that somebody chose, is left as it is.
    """
    return [path for path in paths if _closed(path)]


def _closed(path: Path) -> bool:
    with suppress(OSError):
        about = path.stat()
        old = about.st_mode & 0o7777 in _OLD_MODES[path.is_dir()]
        if old and about.st_uid == os.geteuid():
            path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)
            logger.info("Others can no longer read %s", path)
            return True
    return False
