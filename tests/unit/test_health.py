"""What a service says of itself: whether there is room, whether it can open files, and why it is not ready."""

import asyncio
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI

from raypipe.api import create_app
from raypipe.api import places as places_module
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings, read_secret
from raypipe.errors import (
    DiskFull,
    ProviderUnavailable,
    SecretsUnreadable,
    TooManyFiles,
    as_raypipe_error,
)
from raypipe.providers.base import Context
from raypipe.providers.fal import FalProvider


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Have this process use up all the descriptors that it may have."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 8
    with ExitStack() as held:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, before[1]))
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        while True:
            try:
                held.callback(os.close, os.open(os.devnull, os.O_RDONLY))
            except OSError:
                break
        yield


@pytest.fixture(autouse=True)
def looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places_module, "LOOK_SECONDS", 0.0)


async def get(app: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        return await client.get(path)


def asked(app: FastAPI, path: str) -> tuple[int, str | None]:
    answer = asyncio.run(get(app, path))
    return answer.status_code, answer.json().get("error", {}).get("code")


def test_health_is_507_while_the_disk_of_the_journal_is_full(small_disk: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=small_disk, artifacts=str(tmp_path / "artifacts"), min_free_mib=0)
    app = create_app(settings)
    assert asked(app, "/healthz") == (200, None)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filling").write_bytes(bytes(2**21))
    assert asked(app, "/healthz") == (507, "disk_full")
    assert asked(app, "/readyz") == (507, "disk_full")
    (small_disk / "filling").unlink()
    assert asked(app, "/healthz") == (200, None)


def test_health_is_507_while_less_is_free_than_new_videos_need(tmp_path: Path) -> None:
    assert asked(create_app(Settings(data_dir=tmp_path, min_free_mib=2**40)), "/healthz") == (
        507,
        "disk_full",
    )


def test_health_is_507_while_no_artifact_can_be_written(small_disk: Path, tmp_path: Path) -> None:
    (small_disk / "artifacts").mkdir()
    settings = Settings(data_dir=tmp_path, artifacts=str(small_disk / "artifacts"), min_free_mib=0)
    app = create_app(settings)
    with pytest.raises(OSError, match="No space"):
        (small_disk / "filling").write_bytes(bytes(2**21))
    assert asked(app, "/healthz") == (507, "disk_full")


def test_asking_for_health_often_writes_hardly_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(places_module, "LOOK_SECONDS", 600.0)
    probes: list[Path] = []
    monkeypatch.setattr(places_module, "_probe", lambda folder, *_: probes.append(folder))
    app = create_app(Settings(data_dir=tmp_path, min_free_mib=0))
    for _ in range(20):
        assert asked(app, "/healthz") == (200, None)
    assert probes == [tmp_path]


def test_a_process_without_descriptors_says_so_and_that_it_can_be_tried_again(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, min_free_mib=0)
    places = places_module.Places(settings, ArtifactStore(settings.artifacts_url))
    with no_descriptors(), pytest.raises(TooManyFiles, match="ulimit -n") as raised:
        places.check()
    assert (raised.value.code, raised.value.retryable) == ("too_many_open_files", True)
    places.check()


def test_keys_that_cannot_be_read_for_want_of_descriptors_are_not_exposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAL_KEY", raising=False)
    settings = Settings(data_dir=tmp_path)
    settings.secrets_file.write_text("FAL_KEY=abc\n")
    settings.secrets_file.chmod(0o600)
    with no_descriptors(), pytest.raises(TooManyFiles) as raised:
        read_secret("FAL_KEY", settings)
    assert raised.value.retryable
    assert read_secret("FAL_KEY", settings) == "abc"


def test_a_provider_that_cannot_read_its_key_for_now_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAL_KEY", raising=False)
    settings = Settings(data_dir=tmp_path)
    settings.secrets_file.write_text("FAL_KEY=abc\n")
    settings.secrets_file.chmod(0o600)
    provider = FalProvider(Context(settings, ArtifactStore(settings.artifacts_url)))
    with no_descriptors(), pytest.raises(ProviderUnavailable):
        provider.check_key()
    provider.check_key()


def test_secrets_that_are_a_folder_are_unreadable_for_good(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    with pytest.raises(SecretsUnreadable, match="Is a directory") as raised:
        read_secret("NO_SUCH_KEY", Settings(data_dir=tmp_path))
    assert not raised.value.retryable


@pytest.mark.parametrize(
    ("number", "kind"), [(24, TooManyFiles), (23, TooManyFiles), (28, DiskFull), (122, DiskFull)]
)
def test_want_of_room_and_of_descriptors_are_no_bugs(number: int, kind: type) -> None:
    error = as_raypipe_error(OSError(number, os.strerror(number)), "fitting a clip")
    assert type(error) is kind
    assert error.retryable


def test_who_is_not_ready_says_why(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def why() -> str:
        return "gateway 0 is being started, for 3 s now"

    app = create_app(Settings(data_dir=tmp_path, min_free_mib=0), ready=why)
    assert asked(app, "/readyz") == (503, "not_ready")
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert record.getMessage() == "Not ready: gateway 0 is being started, for 3 s now"
    assert record.exc_info is None


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc"])
def test_no_page_of_ours_can_be_framed(tmp_path: Path, path: str) -> None:
    answer = asyncio.run(get(create_app(Settings(data_dir=tmp_path)), path))
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
