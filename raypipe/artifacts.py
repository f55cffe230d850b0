"""Content-addressed store: bytes are named by their sha256, written whole or not at all."""

import hashlib
from pathlib import Path

import obstore
from obstore.store import LocalStore, ObjectStore, from_url

from raypipe.errors import ArtifactMissing
from raypipe.models import Artifact


class ArtifactStore:
    """Artifacts of one installation, on local disk or in an object store, chosen by URL.

    obstore writes to a temporary name and renames, so a key either holds all of its bytes or does not exist.
    """

    def __init__(self, url: str) -> None:
        self._root = Path(url.removeprefix("file://")) if url.startswith("file://") else None
        self._store: ObjectStore = LocalStore(self._root, mkdir=True) if self._root else from_url(url)

    def put(self, data: bytes, media_type: str) -> Artifact:
        """Store bytes and return their handle; bytes already held are not written again."""
        artifact = describe(data, media_type)
        if not self._holds(artifact):
            obstore.put(self._store, _key(artifact), data)
        return artifact

    async def put_async(self, data: bytes, media_type: str) -> Artifact:
        """As `put`, without blocking the event loop."""
        artifact = describe(data, media_type)
        if not self._holds(artifact):
            await obstore.put_async(self._store, _key(artifact), data)
        return artifact

    def get(self, artifact: Artifact) -> bytes:
        """Read an artifact.

        Raises:
            ArtifactMissing: The store does not hold it.
        """
        try:
            return bytes(obstore.get(self._store, _key(artifact)).bytes())
        except FileNotFoundError as error:
            raise _missing(artifact) from error

    async def get_async(self, artifact: Artifact) -> bytes:
        """As `get`, without blocking the event loop."""
        try:
            result = await obstore.get_async(self._store, _key(artifact))
            return bytes(await result.bytes_async())
        except FileNotFoundError as error:
            raise _missing(artifact) from error

    def path_of(self, artifact: Artifact, scratch: Path) -> Path:
        """Give a file that holds the artifact: the stored one if it is on this disk, else a copy in `scratch`.

        Raises:
            ArtifactMissing: The store does not hold it.
        """
        if self._root is None:
            copy = scratch / artifact.digest
            copy.write_bytes(self.get(artifact))
            return copy
        path = self._root / _key(artifact)
        if not path.is_file():
            raise _missing(artifact)
        return path

    def _holds(self, artifact: Artifact) -> bool:
        return self._root is not None and (self._root / _key(artifact)).is_file()


def describe(data: bytes, media_type: str) -> Artifact:
    """Name bytes by what they hold."""
    return Artifact(digest=hashlib.sha256(data).hexdigest(), size=len(data), media_type=media_type)


def _key(artifact: Artifact) -> str:
    return f"{artifact.digest[:2]}/{artifact.digest}"


def _missing(artifact: Artifact) -> ArtifactMissing:
    return ArtifactMissing(f"The artifact store does not hold {artifact.digest} ({artifact.media_type}).")
