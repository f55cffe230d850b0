"""Content-addressed store: bytes are named by their sha256, written whole or not at all."""

import asyncio
import hashlib
import itertools
import os
import threading
from pathlib import Path
from typing import Protocol

import obstore
from obstore.store import ObjectStore, from_url

from raypipe.errors import ArtifactMissing
from raypipe.models import Artifact

#: artifacts up to this many bytes are read and written on the event loop: a thread would take longer
SMALL = 64 * 2**10


class _Backend(Protocol):
    def write(self, key: str, data: bytes) -> None: ...
    def read(self, key: str) -> bytes: ...


class _Folder:
    """Artifacts as files. A file appears under its name when all of its bytes are there."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._numbers = itertools.count()

    def write(self, key: str, data: bytes) -> None:
        path = os.path.join(self._root, key)  # noqa: PTH118 - hot path: pathlib costs more than the system calls
        if os.path.exists(path):  # noqa: PTH110
            return
        new = f"{path}.{os.getpid()}-{threading.get_ident()}-{next(self._numbers)}"
        try:
            try:
                self._create(new, data)
            except FileNotFoundError:
                os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
                self._create(new, data)
            os.replace(new, path)  # noqa: PTH105
        except BaseException:
            Path(new).unlink(missing_ok=True)
            raise

    def _create(self, path: str, data: bytes) -> None:
        with open(path, "xb") as file:  # noqa: PTH123
            file.write(data)

    def read(self, key: str) -> bytes:
        return Path(self._root, key).read_bytes()


class _Bucket:
    """Artifacts as objects of a bucket; what an object store writes is there whole or not at all."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def write(self, key: str, data: bytes) -> None:
        obstore.put(self.store, key, data)

    def read(self, key: str) -> bytes:
        return bytes(obstore.get(self.store, key).bytes())


class ArtifactStore:
    """Artifacts of one installation, in a folder (`file://`) or an object store (`s3://`, `gs://`, `az://`)."""

    def __init__(self, url: str) -> None:
        self._root = Path(url.removeprefix("file://")) if url.startswith("file://") else None
        self._backend: _Backend = _Bucket(from_url(url)) if self._root is None else _Folder(self._root)

    def put(self, data: bytes, media_type: str) -> Artifact:
        """Store bytes and return their handle; bytes already held are not written again."""
        artifact = describe(data, media_type)
        self._backend.write(_key(artifact), data)
        return artifact

    async def put_async(self, data: bytes, media_type: str) -> Artifact:
        """As `put`, without blocking the event loop for long."""
        if self._at_hand(len(data)):
            return self.put(data, media_type)
        return await asyncio.to_thread(self.put, data, media_type)

    def get(self, artifact: Artifact) -> bytes:
        """Read an artifact.

        Raises:
            ArtifactMissing: The store does not hold it.
        """
        try:
            return self._backend.read(_key(artifact))
        except FileNotFoundError as error:
            raise _missing(artifact) from error

    async def get_async(self, artifact: Artifact) -> bytes:
        """As `get`, without blocking the event loop for long."""
        if self._at_hand(artifact.size):
            return self.get(artifact)
        return await asyncio.to_thread(self.get, artifact)

    def path_of(self, artifact: Artifact, scratch: Path) -> Path:
        """Give a file that holds the artifact: the stored one if it is on this disk, else a copy in `scratch`.

        Raises:
            ArtifactMissing: The store does not hold it.
        """
        if self._root is None:
            return self._copy(artifact, scratch)
        path = self._root / _key(artifact)
        if not path.is_file():
            raise _missing(artifact)
        return path

    def _copy(self, artifact: Artifact, scratch: Path) -> Path:
        copies = _Folder(scratch)
        if not (scratch / artifact.digest).exists():
            copies.write(artifact.digest, self.get(artifact))
        return scratch / artifact.digest

    def _at_hand(self, size: int) -> bool:
        return self._root is not None and size <= SMALL


def describe(data: bytes, media_type: str) -> Artifact:
    """Name bytes by what they hold."""
    return Artifact(digest=hashlib.sha256(data).hexdigest(), size=len(data), media_type=media_type)


def _key(artifact: Artifact) -> str:
    return f"{artifact.digest[:2]}/{artifact.digest}"


def _missing(artifact: Artifact) -> ArtifactMissing:
    return ArtifactMissing(f"The artifact store does not hold {artifact.digest} ({artifact.media_type}).")
