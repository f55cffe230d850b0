"""Content-addressed store: bytes are named by their sha256, written whole or not at all."""

import asyncio
import hashlib
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import ObjectStore, from_url

from raypipe.errors import (
    ArtifactMissing,
    ArtifactStoreUnavailable,
    DiskFull,
    FileNotWritten,
    OutputExists,
    is_disk_full,
)
from raypipe.models import Artifact

#: artifacts up to this many bytes are read and written on the event loop: a thread would take longer
SMALL = 64 * 2**10
#: how long an object store that does not answer is asked again before it counts as unavailable
_RETRY_SECONDS, _RETRIES = 20, 3


class _Backend(Protocol):
    def write(self, key: str, data: bytes) -> None: ...
    async def write_async(self, key: str, data: bytes) -> None: ...
    def take(self, key: str, path: Path) -> None: ...
    def read(self, key: str) -> bytes: ...


class _File(NamedTuple):
    """A new file: written, not yet on the disk, and not yet under its name."""

    descriptor: int
    path: str
    name: str


class _Folder:
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
        path = os.path.join(self._root, key)  # noqa: PTH118 - hot path: pathlib costs more than the system calls
        if os.path.exists(path):  # noqa: PTH110
            return
        for problem in _finish([self._create(path, data)]).values():
            raise problem

    def take(self, key: str, path: Path) -> None:
        """Make a file an artifact."""
        name = os.path.join(self._root, key)  # noqa: PTH118
        _make_folder(Path(name).parent)
        file = _File(os.open(path, os.O_RDONLY | os.O_CLOEXEC), str(path), name)
        for problem in _finish([file]).values():
            raise problem

    async def write_async(self, key: str, data: bytes) -> None:
        """Write from an event loop: files that are written while others are finished are finished next, together."""
        path = os.path.join(self._root, key)  # noqa: PTH118
        if os.path.exists(path):  # noqa: PTH110
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
            file = os.open(new, _NEW_FILE, 0o666)
        except FileNotFoundError:
            _make_folder(Path(path).parent)
            file = os.open(new, _NEW_FILE, 0o666)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(file, rest) :]
        except BaseException:
            os.close(file)
            Path(new).unlink(missing_ok=True)
            raise
        return _File(file, new, path)

    def read(self, key: str) -> bytes:
        return Path(self._root, key).read_bytes()

    def holds(self, key: str) -> bool:
        return os.path.exists(os.path.join(self._root, key))  # noqa: PTH110, PTH118


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
        path.mkdir(exist_ok=True)
        _sync_folder(str(path.parent))


def _sync_folder(path: str) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class _Bucket:
    """Artifacts as objects of a bucket; what an object store writes is there whole or not at all."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def write(self, key: str, data: bytes) -> None:
        obstore.put(self.store, key, data)

    async def write_async(self, key: str, data: bytes) -> None:
        await obstore.put_async(self.store, key, data)

    def take(self, key: str, path: Path) -> None:
        obstore.put(self.store, key, path)

    def read(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key).bytes())


class ArtifactStore:
    """Artifacts of one installation, in a folder (`file://`) or an object store (`s3://`, `gs://`, `az://`)."""

    def __init__(self, url: str) -> None:
        """Name the store; nothing is read or written yet.

        Raises:
            ArtifactStoreUnavailable: The URL names no kind of store there is.
        """
        self._url = url
        self._root = _path_of(url) if url.startswith("file://") else None
        self._backend: _Backend = _open_bucket(url) if self._root is None else _Folder(self._root)

    def put(self, data: bytes, media_type: str) -> Artifact:
        """Store bytes and return their handle; bytes already held are not written again.

        Raises:
            DiskFull: There is no room for them.
            ArtifactStoreUnavailable: The store cannot be written to.
        """
        artifact = handle_of(data, media_type)
        with self._named_errors(artifact, writing=True):
            self._backend.write(_key(artifact), data)
        return artifact

    async def put_async(self, data: bytes, media_type: str) -> Artifact:
        """As `put`, without blocking the event loop for long."""
        if len(data) > SMALL:
            return await asyncio.to_thread(self.put, data, media_type)
        artifact = handle_of(data, media_type)
        with self._named_errors(artifact, writing=True):
            await self._backend.write_async(_key(artifact), data)
        return artifact

    async def put_parts(self, parts: AsyncIterator[bytes], media_type: str) -> Artifact:
        """Store bytes that come part by part, of which one is held at a time, and return their handle.

        Raises:
            DiskFull: There is no room for them.
            ArtifactStoreUnavailable: The store cannot be written to.
        """
        digest, size = hashlib.sha256(), 0
        try:
            with tempfile.TemporaryDirectory(dir=self._part_folder()) as folder:
                path = Path(folder) / "part"
                with path.open("wb") as file:
                    async for part in parts:
                        digest.update(part)
                        size += len(part)
                        await asyncio.to_thread(file.write, part)
                artifact = Artifact(digest=digest.hexdigest(), size=size, media_type=media_type)
                with self._named_errors(artifact, writing=True):
                    await asyncio.to_thread(self._backend.take, _key(artifact), path)
                return artifact
        except OSError as error:
            if is_disk_full(error):
                raise DiskFull.because("what was delivered cannot be stored", error) from error
            raise ArtifactStoreUnavailable(
                f"What was delivered cannot be stored: {error.strerror}"
            ) from error

    def _part_folder(self) -> Path | None:
        """Return a folder on the store's own disk, so that a file need only be renamed; None for a bucket."""
        if self._root is None:
            return None
        folder = self._root / "parts"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def get(self, artifact: Artifact) -> bytes:
        """Read an artifact.

        Raises:
            ArtifactMissing: The store does not hold it.
            ArtifactStoreUnavailable: The store cannot be read.
        """
        with self._named_errors(artifact):
            return self._backend.read(_key(artifact))

    async def get_async(self, artifact: Artifact) -> bytes:
        """As `get`, without blocking the event loop for long."""
        if self._at_hand(artifact.size):
            return self.get(artifact)
        return await asyncio.to_thread(self.get, artifact)

    async def holds(self, artifact: Artifact) -> bool:
        """Tell whether an artifact is there.

        Raises:
            ArtifactStoreUnavailable: The store cannot be read.
        """
        if isinstance(self._backend, _Folder):
            return self._backend.holds(_key(artifact))
        with self._named_errors(artifact):
            try:
                await obstore.head_async(self._backend.store, _key(artifact))  # type: ignore[attr-defined]
            except (NotFoundError, FileNotFoundError):
                return False
        return True

    def path_of(self, artifact: Artifact, scratch: Path) -> Path:
        """Give a file that holds the artifact: the stored one if it is on this disk, else a copy in `scratch`.

        Raises:
            ArtifactMissing: The store does not hold it.
            ArtifactStoreUnavailable: The store cannot be read.
        """
        if self._root is None:
            return self._copy(artifact, scratch)
        path = self._root / _key(artifact)
        if not path.is_file():
            raise _missing(artifact)
        return path

    def export(self, artifact: Artifact, target: Path, replace: bool = False) -> None:
        """Copy an artifact to a file, which is there whole or not at all.

        Args:
            artifact: What to copy.
            target: The file; its folder must exist. If it is a symbolic link, what it points to is written.
            replace: Whether a file that is there may be replaced.

        Raises:
            ArtifactMissing: The store does not hold it.
            OutputExists: The file is there and may not be replaced.
            FileNotWritten: There is no room or no permission.
        """
        part = None
        try:
            target = target.resolve()
            part = target.with_name(f".raypipe-{os.getpid()}-{threading.get_ident()}.part")
            with tempfile.TemporaryDirectory() as scratch:
                shutil.copyfile(self.path_of(artifact, Path(scratch)), part)
            if replace:
                part.replace(target)
            else:
                _rename_to_new(part, target)
        except FileExistsError as error:
            raise OutputExists(f"{target} is there already.") from error
        except (OSError, RuntimeError) as error:  # a loop of symbolic links is a RuntimeError
            reason = getattr(error, "strerror", None) or error
            raise FileNotWritten(f"{target} cannot be written: {reason}.") from error
        finally:
            if part is not None:
                with suppress(OSError):
                    part.unlink()

    def send(self, artifact: Artifact, out: BinaryIO) -> None:
        """Write an artifact to a stream, such as standard output.

        Raises:
            ArtifactMissing: The store does not hold it.
            FileNotWritten: Whoever reads the stream went away, or there is no room.
        """
        try:
            with tempfile.TemporaryDirectory() as scratch:
                with self.path_of(artifact, Path(scratch)).open("rb") as data:
                    shutil.copyfileobj(data, out)
                out.flush()
        except OSError as error:
            raise FileNotWritten(f"The output cannot be written: {error.strerror}.") from error

    def _copy(self, artifact: Artifact, scratch: Path) -> Path:
        copies = _Folder(scratch)
        if not (scratch / artifact.digest).exists():
            copies.write(artifact.digest, self.get(artifact))
        return scratch / artifact.digest

    def _at_hand(self, size: int) -> bool:
        return self._root is not None and size <= SMALL

    @contextmanager
    def _named_errors(self, artifact: Artifact, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (OSError, BaseError) as error:
            if isinstance(error, FileNotFoundError | NotFoundError) and not writing:
                raise _missing(artifact) from error
            if is_disk_full(error):
                raise DiskFull.because(
                    f"an artifact of {artifact.size} bytes cannot be stored", error
                ) from error
            place = place_of(self._url)
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            what = "written to" if writing else "read"
            raise ArtifactStoreUnavailable(
                f"The artifact store {place} cannot be {what}: {reason}"
            ) from error


def _rename_to_new(part: Path, target: Path) -> None:
    """Give a file its name unless another file has it, also if that one comes at this very moment."""
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        target.open("xb").close()
        part.replace(target)


def handle_of(data: bytes, media_type: str) -> Artifact:
    """Name bytes by what they hold."""
    return Artifact(digest=hashlib.sha256(data).hexdigest(), size=len(data), media_type=media_type)


def place_of(url: str) -> str:
    """Return where a store is, as people write it: a folder's path, or a bucket's URL without its options."""
    return str(_path_of(url)) if url.startswith("file://") else urlsplit(url)._replace(query="").geturl()


def _path_of(url: str) -> Path:
    return Path(url2pathname(urlsplit(url, allow_fragments=False).path))


def _open_bucket(url: str) -> _Bucket:
    if url.startswith("memory:"):
        return _Bucket(from_url(url))
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
    return _Bucket(store)


def _key(artifact: Artifact) -> str:
    return f"{artifact.digest[:2]}/{artifact.digest}"


def _missing(artifact: Artifact) -> ArtifactMissing:
    return ArtifactMissing(f"The artifact store does not hold {artifact.digest} ({artifact.media_type}).")
