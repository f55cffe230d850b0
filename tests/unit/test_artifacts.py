import asyncio
import errno
import hashlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from raypipe.artifacts import SMALL, ArtifactStore
from raypipe.errors import ArtifactMissing, ArtifactStoreUnavailable, DiskFull, FileExists, FileNotWritten
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
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(DiskFull, match="disk is full"):
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


def test_bytes_are_on_the_disk_before_they_have_their_name(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    sync, replace = os.fdatasync, os.replace

    def noted_sync(file: int) -> None:
        happened.append(f"sync {os.fstat(file).st_size}")
        sync(file)

    def noted_replace(old: str, new: str) -> None:
        happened.append("name")
        replace(old, new)

    monkeypatch.setattr("os.fdatasync", noted_sync)
    monkeypatch.setattr("os.replace", noted_replace)
    store.put(b"clip", "video/mp4")
    assert happened == ["sync 4", "name"]


def test_a_full_disk_is_named_as_such_and_leaves_nothing_half_written(small_disk: Path) -> None:
    store = ArtifactStore((small_disk / "store").as_uri())
    kept = store.put(b"small", "video/mp4")
    with pytest.raises(DiskFull, match="disk is full") as raised:
        store.put(os.urandom(4 * 2**20), "video/mp4")
    assert raised.value.retryable
    assert store.get(kept) == b"small"
    assert len([path for path in small_disk.rglob("*") if path.is_file()]) == 1


def test_a_store_that_cannot_be_written_or_reached_says_so_and_may_be_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ArtifactStoreUnavailable, match="file"):
        ArtifactStore((tmp_path / "file" / "store").as_uri()).put(b"clip", "video/mp4")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        secrets = {"ACCESS_KEY_ID": "key-id", "SECRET_ACCESS_KEY": "very-secret", "REGION": "us-east-1"}
        for name, value in {**secrets, "ENDPOINT_URL": f"http://127.0.0.1:{taken.getsockname()[1]}"}.items():
            monkeypatch.setenv(f"AWS_{name}", value)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        store = ArtifactStore("s3://bucket/raypipe")
        with pytest.raises(
            ArtifactStoreUnavailable, match="s3://bucket/raypipe cannot be written to"
        ) as raised:
            store.put(b"clip", "video/mp4")
    assert "secret" not in str(raised.value)
    with pytest.raises(ArtifactStoreUnavailable, match="gopher"):
        ArtifactStore("gopher://bucket")


def test_an_exported_file_is_whole_and_never_replaces_another_unasked(
    store: ArtifactStore, tmp_path: Path
) -> None:
    artifact = store.put(b"film", "video/mp4")
    target = tmp_path / "film.mp4"
    store.export(artifact, target)
    assert target.read_bytes() == b"film"
    target.write_bytes(b"mine")
    with pytest.raises(FileExists, match="is there already"):
        store.export(artifact, target)
    assert target.read_bytes() == b"mine"
    store.export(artifact, target, replace=True)
    assert target.read_bytes() == b"film"
    assert {path.name for path in tmp_path.iterdir()} == {"store", "film.mp4"}


def test_of_many_exports_to_one_name_one_succeeds(store: ArtifactStore, tmp_path: Path) -> None:
    artifact = store.put(b"film", "video/mp4")

    def export(_: int) -> bool:
        try:
            store.export(artifact, tmp_path / "film.mp4")
        except FileExists:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(export, range(32))).count(True) == 1


def test_a_symbolic_link_is_written_through_and_stays(store: ArtifactStore, tmp_path: Path) -> None:
    (tmp_path / "real.mp4").write_bytes(b"old")
    (tmp_path / "link.mp4").symlink_to(tmp_path / "real.mp4")
    store.export(store.put(b"film", "video/mp4"), tmp_path / "link.mp4", replace=True)
    assert (tmp_path / "link.mp4").is_symlink()
    assert (tmp_path / "real.mp4").read_bytes() == b"film"


def test_an_export_to_a_full_disk_says_so_and_leaves_nothing(store: ArtifactStore, small_disk: Path) -> None:
    artifact = store.put(os.urandom(4 * 2**20), "video/mp4")
    with pytest.raises(FileNotWritten, match="No space left"):
        store.export(artifact, small_disk / "film.mp4")
    assert list(small_disk.iterdir()) == []
    with pytest.raises(FileNotWritten), Path("/dev/full").open("wb") as full:
        store.send(artifact, full)
