import asyncio
import errno
import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from raypipe.artifacts import SMALL, ArtifactStore
from raypipe.errors import ArtifactMissing, ArtifactStoreUnavailable, DiskFull, FileNotWritten, OutputExists
from raypipe.models import Artifact
from tests.patience import patience


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


@pytest.mark.parametrize("way", ["at once", "from an event loop"])
def test_bytes_are_on_the_disk_before_they_have_their_name_and_then_the_name_is(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    happened: list[str] = []
    sync, sync_folder, replace = os.fdatasync, os.fsync, os.replace

    def noted_sync(file: int) -> None:
        happened.append(f"sync {os.fstat(file).st_size}")
        sync(file)

    def noted_sync_folder(folder: int) -> None:
        happened.append("folder")
        sync_folder(folder)

    def noted_replace(old: str, new: str) -> None:
        happened.append("name")
        replace(old, new)

    monkeypatch.setattr("os.fdatasync", noted_sync)
    monkeypatch.setattr("os.fsync", noted_sync_folder)
    monkeypatch.setattr("os.replace", noted_replace)
    if way == "at once":
        store.put(b"clip", "video/mp4")
    else:
        asyncio.run(store.put_async(b"clip", "video/mp4"))
    assert happened == ["folder", "folder", "sync 4", "name", "folder"], "the store, its folder, bytes, name"


def test_many_writes_of_an_event_loop_are_synced_together_and_one_that_is_given_up_leaves_nothing_half_written(
    store: ArtifactStore, tmp_path: Path
) -> None:
    async def write() -> list[Any]:
        writing = [asyncio.create_task(store.put_async(b"%d" % i, "video/mp4")) for i in range(50)]
        await asyncio.sleep(0)
        writing[7].cancel()
        return await asyncio.gather(*writing, return_exceptions=True)

    answers = asyncio.run(write())
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [i == 7 for i in range(50)]
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    whole = {hashlib.sha256(b"%d" % i).hexdigest() for i in range(50)}
    assert whole - {hashlib.sha256(b"7").hexdigest()} <= {path.name for path in files} <= whole


def test_a_loop_that_ends_while_bytes_are_synced_does_not_stop_the_next(store: ArtifactStore) -> None:
    async def leave() -> None:
        writing = asyncio.create_task(store.put_async(b"left", "video/mp4"))
        await asyncio.sleep(0)
        assert not writing.done()

    asyncio.run(leave())  # ends at once and cancels what is under way
    artifact = asyncio.run(asyncio.wait_for(store.put_async(b"next", "video/mp4"), patience(5)))
    assert store.get(artifact) == b"next"


class _Bucket(BaseHTTPRequestHandler):
    """As much of S3 as storing and getting an object takes."""

    objects: ClassVar[dict[str, bytes]] = {}

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["content-length"]))
        if not self.path.startswith("/bucket/"):
            self._answer(404, b"<Error><Code>NoSuchBucket</Code></Error>")
            return
        self.objects[self.path] = data
        self._answer(200, b"")

    def do_GET(self) -> None:
        found = self.objects.get(self.path)
        self._answer(404 if found is None else 200, found or b"<Error><Code>NoSuchKey</Code></Error>")

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        for name, value in {"content-length": len(body), "etag": '"x"', "last-modified": _WHEN}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be silent."""


_WHEN = "Tue, 24 Nov 2026 12:00:00 GMT"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A bucket behind plain HTTP, as MinIO has them, and the environment that names it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Bucket)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    values = {"ACCESS_KEY_ID": "id", "SECRET_ACCESS_KEY": "s", "REGION": "us-east-1", "ALLOW_HTTP": "true"}
    for name, value in {**values, "ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    yield "s3://bucket/raypipe"
    server.shutdown()
    server.server_close()


def test_a_bucket_holds_artifacts_and_says_what_it_does_not_hold(bucket: str) -> None:
    store = ArtifactStore(bucket)
    artifact = store.put(b"clip", "video/mp4")
    assert store.get(artifact) == b"clip"
    assert asyncio.run(store.get_async(artifact)) == b"clip"
    with pytest.raises(ArtifactMissing, match="0000"):
        store.get(Artifact(digest="0" * 64, size=3, media_type="image/png"))


def test_a_bucket_that_does_not_exist_is_no_missing_artifact(bucket: str) -> None:
    with pytest.raises(ArtifactStoreUnavailable, match="cannot be written to"):
        ArtifactStore(bucket.replace("bucket", "nowhere")).put(b"clip", "video/mp4")


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
    with pytest.raises(OutputExists, match="is there already"):
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
        except OutputExists:
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
