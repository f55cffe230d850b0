import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raypipe.artifacts import SMALL, ArtifactStore
from raypipe.errors import ArtifactMissing
from raypipe.models import Artifact


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore((tmp_path / "store").as_uri())


@pytest.mark.parametrize("data", [b"", b"clip", bytes(SMALL + 1)])
def test_what_is_put_in_comes_out_under_its_own_digest(store: ArtifactStore, data: bytes) -> None:
    artifact = store.put(data, "video/mp4")
    assert artifact.digest == hashlib.sha256(data).hexdigest()
    assert (artifact.size, artifact.media_type) == (len(data), "video/mp4")
    assert store.get(artifact) == data
    assert asyncio.run(store.get_async(artifact)) == data
    assert asyncio.run(store.put_async(data, "video/mp4")) == artifact


def test_equal_bytes_are_stored_once(store: ArtifactStore, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: store.put(b"same", "image/png"), range(64)))
    assert [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()] == [b"same"]


def test_nothing_half_written_is_left_when_writing_fails(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        store.put(b"clip", "video/mp4")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_bytes_that_are_not_there_are_named(store: ArtifactStore) -> None:
    missing = Artifact(digest="0" * 64, size=3, media_type="image/png")
    with pytest.raises(ArtifactMissing, match="0000"):
        store.get(missing)
    with pytest.raises(ArtifactMissing):
        store.path_of(missing, Path())


@pytest.mark.parametrize("digest", ["../../etc/passwd", "A" * 64, "a" * 63, ""])
def test_a_handle_cannot_name_anything_but_a_digest(digest: str) -> None:
    with pytest.raises(ValueError, match="digest"):
        Artifact(digest=digest, size=1, media_type="image/png")


def test_a_store_in_memory_speaks_the_same_language(tmp_path: Path) -> None:
    store = ArtifactStore("memory:///")
    artifact = store.put(b"clip", "video/mp4")
    assert store.get(artifact) == b"clip"
    assert store.path_of(artifact, tmp_path).read_bytes() == b"clip"
    with pytest.raises(ArtifactMissing):
        store.get(Artifact(digest="0" * 64, size=3, media_type="image/png"))
