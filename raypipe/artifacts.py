"""Content-addressed store: bytes are named by their sha256, written whole or not at all."""

import asyncio
import hashlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit
from urllib.request import url2pathname

import obstore
from obstore.exceptions import BaseError, NotFoundError

from raypipe.backends import PARTS, Backend, Folder, Swept, open_bucket
from raypipe.errors import (
    ArtifactMissing,
    ArtifactStoreUnavailable,
    DiskFull,
    FileNotWritten,
    OutputExists,
    is_disk_full,
)
from raypipe.models import Artifact
from raypipe.private import make_folder

#: artifacts up to this many bytes are read and written on the event loop: a thread would take longer
SMALL = 64 * 2**10


class ArtifactStore:
    """Artifacts of one installation, in a folder (`file://`) or an object store (`s3://`, `gs://`, `az://`)."""

    def __init__(self, url: str) -> None:
        """Name the store; nothing is read or written yet.

        Raises:
            ArtifactStoreUnavailable: The URL names no kind of store there is.
        """
        self._url = url
        self._root = _path_of(url) if url.startswith("file://") else None
        self._backend: Backend = open_bucket(url) if self._root is None else Folder(self._root)

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
            with self.scratch() as folder:
                path = folder / "part"
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

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Give a folder for what is being made, which is gone after the block.

        It is on the store's own disk, where the store is a folder: what a killed process leaves there is swept.
        """
        parts = None
        if self._root is not None:
            parts = self._root / PARTS
            make_folder(parts)
        with tempfile.TemporaryDirectory(dir=parts) as folder:
            yield Path(folder)

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
        if isinstance(self._backend, Folder):
            return self._backend.holds(_key(artifact))
        with self._named_errors(artifact):
            try:
                await obstore.head_async(self._backend.store, _key(artifact))  # type: ignore[attr-defined]
            except (NotFoundError, FileNotFoundError):
                return False
        return True

    def sweep(self, named: set[str], grace: float) -> Swept:
        """Remove artifacts that are not among those named, and were not written or asked to be within `grace` seconds.

        Raises:
            ArtifactStoreUnavailable: The store cannot be read or written.
        """
        try:
            return self._backend.sweep(named, time.time() - grace)
        except (OSError, BaseError) as error:
            reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
            raise ArtifactStoreUnavailable(
                f"The artifact store {place_of(self._url)} cannot be swept: {reason}"
            ) from error

    @property
    def folder(self) -> Path | None:
        """The folder in which the store is; None for a bucket."""
        return self._root

    @property
    def free_bytes(self) -> int | None:
        """How much room is left on the store's disk; None for a bucket."""
        if self._root is None:
            return None
        there = next((each for each in (self._root, *self._root.parents) if each.is_dir()), Path("/"))
        return shutil.disk_usage(there).free

    async def keep(self, artifact: Artifact) -> bool:
        """Keep an artifact from being swept for a while; tells whether it is there.

        Raises:
            ArtifactStoreUnavailable: The store cannot be read.
        """
        if isinstance(self._backend, Folder):
            with self._named_errors(artifact):
                return self._backend.touch(_key(artifact))
        return await self.holds(artifact)

    def path_of(self, artifact: Artifact, scratch: Path) -> Path:
        """Give a file that holds the artifact: the stored one if it is on this disk, else a copy in `scratch`.

        Raises:
            ArtifactMissing: The store does not hold it.
            ArtifactStoreUnavailable: The store cannot be read.
        """
        if not isinstance(self._backend, Folder):
            return self._copy(artifact, scratch)
        if not self._backend.holds(_key(artifact)):
            raise _missing(artifact)
        return self._backend.path(_key(artifact))

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
        copies = Folder(scratch)
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


def _key(artifact: Artifact) -> str:
    return f"{artifact.digest[:2]}/{artifact.digest}"


def _missing(artifact: Artifact) -> ArtifactMissing:
    return ArtifactMissing(f"The artifact store does not hold {artifact.digest} ({artifact.media_type}).")
