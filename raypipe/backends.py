"""Where artifacts are: files of a folder, or objects of a bucket, under keys that name their bytes."""

import asyncio
import itertools
import os
import re
import shutil
import threading
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple, Protocol

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore, from_url

from raypipe.errors import ArtifactStoreUnavailable
from raypipe.private import FILE_MODE, FOLDER_MODE

#: ends the name of a file that is about to be removed
ASIDE = "aside"
#: what a sweep may remove: artifacts, and what was left of writing or removing one
_OURS = re.compile(rf"[0-9a-f]{{2}}/[0-9a-f]{{64}}(\.{ASIDE}|\.\d+-\d+-\d+)?")
#: how long an object store that does not answer is asked again before it counts as unavailable
_RETRY_SECONDS, _RETRIES = 20, 3


class Swept(NamedTuple):
    """What was removed."""

    files: int
    bytes: int


class Backend(Protocol):
    """Keeps bytes by keys."""

    def write(self, key: str, data: bytes) -> None:
        """Keep bytes, whole or not at all; those that are there are not written again."""

    async def write_async(self, key: str, data: bytes) -> None:
        """As `write`, from an event loop."""

    def take(self, key: str, path: Path) -> None:
        """Keep what a file holds; the file may be gone afterwards."""

    def read(self, key: str) -> bytes:
        """Return the bytes of a key."""

    def sweep(self, named: set[str], before: float) -> Swept:
        """Remove what is not among the digests that are named, and was not written since a time (Unix seconds)."""


#: folder of a store's folder, in which files are made
PARTS = "parts"


class _File(NamedTuple):
    """A new file: written, not yet on the disk, and not yet under its name."""

    descriptor: int
    path: str
    name: str


class Folder:
    """Artifacts as files. A file appears under its name when all of its bytes are there, and on the disk.

    A name must not outlive a power cut that its bytes do not, nor a row of the journal one that the name does not: so
    the bytes are synced, then the file gets its name, then the folder is synced.
    """

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._numbers = itertools.count()
        #: new files to be finished, and who waits for it
        self._unfinished: list[tuple[_File, asyncio.Future[None]]] = []
        self._finishing: asyncio.Task[None] | None = None

    def write(self, key: str, data: bytes) -> None:
        """Keep bytes, whole or not at all; those that are there are not written again."""
        path = os.path.join(self._root, key)  # noqa: PTH118 - hot path: pathlib costs more than the system calls
        if _touched(path):
            return
        for problem in _finish([self._create(path, data)]).values():
            raise problem

    def take(self, key: str, path: Path) -> None:
        """Make a file an artifact."""
        name = os.path.join(self._root, key)  # noqa: PTH118
        _make_folder(Path(name).parent)
        path.chmod(FILE_MODE)  # whoever made it did so by the umask
        file = _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC), str(path), name)
        for problem in _finish([file]).values():
            raise problem

    async def write_async(self, key: str, data: bytes) -> None:
        """Write from an event loop: files that are written while others are finished are finished next, together."""
        path = os.path.join(self._root, key)  # noqa: PTH118
        if _touched(path):
            return
        finished = asyncio.get_running_loop().create_future()
        self._unfinished.append((self._create(path, data), finished))
        if self._finishing is None:
            self._finishing = asyncio.create_task(self._finish())
        await finished

    async def _finish(self) -> None:
        try:
            while self._unfinished:
                batch, self._unfinished = self._unfinished, []
                problems = await asyncio.to_thread(_finish, [file for file, _ in batch])
                for file, waiting in batch:
                    if waiting.done():
                        continue  # it was cancelled
                    if (problem := problems.get(file)) is not None:
                        waiting.set_exception(problem)
                    else:
                        waiting.set_result(None)
        finally:
            self._finishing = None  # also where an event loop ends in the middle: the next one starts anew

    def _create(self, path: str, data: bytes) -> _File:
        """Write a new file and leave it open."""
        new = f"{path}.{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        try:
            file = os.open(new, _NEW_FILE, FILE_MODE)
        except FileNotFoundError:
            _make_folder(Path(path).parent)
            file = os.open(new, _NEW_FILE, FILE_MODE)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        except BaseException:
            os.close(file)
            Path(new).unlink(missing_ok=True)
            raise
        return _File(file, new, path)

    def touch(self, key: str) -> bool:
        """Keep a file from being swept for a while; tells whether it is there."""
        path = os.path.join(self._root, key)  # noqa: PTH118
        return _touched(path) or (self.holds(key) and _touched(path))

    def read(self, key: str) -> bytes:
        """Return the bytes of a key."""
        path = self.path(key)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if not self.holds(key):
                raise
            return path.read_bytes()

    def sweep(self, named: set[str], before: float) -> Swept:
        """Remove files that are not named and were not written since; also what was left half written.

        Whoever writes the bytes of a file that is there touches it. So a file is set aside first: if it was touched up
        to then, it is put back, and whoever comes later finds it gone and writes it anew.
        """
        swept = Swept(0, 0)
        for file in sorted(Path(self._root).glob("??/*")):
            if _OURS.fullmatch(f"{file.parent.name}/{file.name}") is None:
                continue
            digest, _, rest = file.name.partition(".")
            with suppress(FileNotFoundError):
                about = file.stat()
                if about.st_mtime < before and (rest or digest not in named):
                    if rest not in ("", ASIDE):
                        file.unlink()  # half written
                    elif not _removed(file, digest in named, before):
                        continue
                    swept = Swept(swept.files + 1, swept.bytes + about.st_size)
        for folder in Path(self._root).glob(f"{PARTS}/*"):
            with suppress(FileNotFoundError):
                if max(each.stat().st_mtime for each in (folder, *folder.iterdir())) < before:
                    shutil.rmtree(folder, ignore_errors=True)
        return swept

    def path(self, key: str) -> Path:
        """Name the file of a key, there or not."""
        return Path(self._root, key)

    def holds(self, key: str) -> bool:
        """Tell whether a key is there; one that a sweep has set aside is put back, and left to the next sweep."""
        path = os.path.join(self._root, key)  # noqa: PTH118
        if not os.path.exists(path):  # noqa: PTH110
            with suppress(OSError):  # it is there by now, was never there, or nothing may be written here
                os.link(f"{path}.{ASIDE}", path)
        return os.path.exists(path)  # noqa: PTH110


def _touched(path: str) -> bool:
    """Tell whether a file is there, and keep it from being swept for a while."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    return True


def _removed(file: Path, named: bool, before: float) -> bool:
    """Remove a file, or put it back if it was touched in the last moment; tells whether it is gone."""
    path = file.with_suffix("")
    aside = path.with_name(f"{path.name}.{ASIDE}")
    if file != aside:
        file.rename(aside)  # does nothing where somebody has put the same file back
    back = named or (path.exists() and path.samefile(aside)) or aside.stat().st_mtime >= before
    if back:
        with suppress(FileExistsError):  # it was written anew
            path.hardlink_to(aside)
    aside.unlink()
    return not back


_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def _finish(files: list[_File]) -> dict[_File, OSError]:
    """Bring files to the disk, give them their names and bring those to the disk; gives what went wrong with which."""
    problems: dict[_File, OSError] = {}
    for file in files:
        try:
            try:
                os.fdatasync(file.descriptor)
            finally:
                os.close(file.descriptor)
            os.replace(file.path, file.name)  # noqa: PTH105
        except OSError as error:
            problems[file] = error
            Path(file.path).unlink(missing_ok=True)
    named = [file for file in files if file not in problems]
    for folder in {os.path.dirname(file.name) for file in named}:  # noqa: PTH120
        try:
            _sync_folder(folder)
        except OSError as error:
            problems |= {file: error for file in named if file.name.startswith(folder)}
    return problems


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        _make_folder(path.parent)
        path.mkdir(FOLDER_MODE, exist_ok=True)
        _sync_folder(str(path.parent))


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Bucket:
    """Artifacts as objects of a bucket; what an object store writes is there whole or not at all."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def write(self, key: str, data: bytes) -> None:
        """Keep bytes, whole or not at all; those that are there are not written again."""
        obstore.put(self.store, key, data)

    async def write_async(self, key: str, data: bytes) -> None:
        """As `write`, from an event loop."""
        await obstore.put_async(self.store, key, data)

    def take(self, key: str, path: Path) -> None:
        """Keep what a file holds."""
        obstore.put(self.store, key, path)

    def read(self, key: str) -> bytes:
        """Return the bytes of a key."""
        return bytes(obstore.get(self.store, key).bytes())

    def sweep(self, named: set[str], before: float) -> Swept:
        """Remove objects that are not named and were not written since."""
        swept = Swept(0, 0)
        for page in obstore.list(self.store):
            for about in page:
                path = str(about["path"])
                if _OURS.fullmatch(path) is None or path.rpartition("/")[2] in named:
                    continue
                # asked anew: it may have been written again since it was listed
                if obstore.head(self.store, path)["last_modified"].timestamp() < before:
                    obstore.delete(self.store, path)
                    swept = Swept(swept.files + 1, swept.bytes + int(about["size"]))
        return swept


def open_bucket(url: str) -> Bucket:
    """Open a bucket by its URL.

    Raises:
        ArtifactStoreUnavailable: It names no kind of store there is.
    """
    if url.startswith("memory:"):
        return Bucket(from_url(url))
    try:
        store = from_url(
            url,
            retry_config={
                "max_retries": _RETRIES,
                "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
            },
        )
    except (BaseError, ValueError) as error:
        scheme = url.partition("://")[0]
        reason = str(error).partition("\n")[0]
        raise ArtifactStoreUnavailable(
            f"RAYPIPE_ARTIFACTS ({scheme}://…) names no artifact store: {reason}"
        ) from error
    return Bucket(store)
