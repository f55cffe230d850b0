"""No other user of the machine reads what an installation keeps; what is exported follows the user's own umask."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.journal import Journal
from raypipe.logs import logs_in_file
from raypipe.own_places import own_places
from raypipe.phases.plan import validate_and_fix_beat_count
from raypipe.private import close_to_others, own_folder_in
from raypipe.providers.simulated import _note


@pytest.fixture
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Return the modes of all that is in a folder, by their paths in it."""
    return {str(path.relative_to(folder)): path.stat().st_mode & 0o777 for path in folder.rglob("*")}


def test_what_an_installation_makes_is_read_by_its_user_alone(tmp_path: Path, usual_umask: None) -> None:
    settings = Settings(data_dir=tmp_path / "new" / "data")
    journal = Journal(settings.journal_url)
    journal.video_ids()
    store = ArtifactStore(settings.artifacts_url)
    store.put(b"clip", "video/mp4")
    with store.scratch() as scratch:
        (scratch / "film").write_bytes(b"film")
        store._backend.take("ab/" + "ab" * 32, scratch / "film")
        with logs_in_file(settings.log_dir):
            logging.getLogger("raypipe").warning("A warning")
        beats = [{"duration": 1.0} for _ in range(9)]
        validate_and_fix_beat_count({"duration": 5.0, "beats": beats}, log_dir=settings.log_dir)
        _note(settings.data_dir / "ledger", "token", "job")
        found = modes(tmp_path)
    journal.close()
    assert {"new/data/journal.db", "new/data/journal.db-wal", "new/data/journal.db-shm"} <= found.keys()
    assert {
        "new/data/logs/raypipe.log",
        "new/data/logs/beat_truncation.log",
        "new/data/ledger",
    } <= found.keys()
    assert any(path.startswith("new/data/artifacts/ab/") for path in found)
    inside = {
        path for path in found if "/parts/" in path
    }  # a folder that is closed, and gone after the block
    assert {path: mode for path, mode in found.items() if mode & 0o077 and path not in inside} == {}


def test_a_film_that_is_exported_follows_the_umask_of_who_exports_it(
    tmp_path: Path, usual_umask: None
) -> None:
    store = ArtifactStore(Settings(data_dir=tmp_path / "data").artifacts_url)
    artifact = store.put(b"film", "video/mp4")
    store.export(artifact, tmp_path / "film.mp4")
    assert modes(tmp_path)["film.mp4"] == 0o644


def test_what_an_older_raypipe_left_open_is_closed_and_what_somebody_chose_is_kept(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    for name, mode in {"logs": 0o755, "artifacts": 0o750, "previews": 0o775}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    (tmp_path / "journal.db").touch()
    (tmp_path / "journal.db").chmod(0o644)
    tmp_path.chmod(0o755)
    closed = close_to_others(own_places(settings))
    assert sorted(path.name for path in closed) == ["journal.db", "logs", "previews"]
    assert modes(tmp_path) == {"logs": 0o700, "artifacts": 0o750, "previews": 0o700, "journal.db": 0o600}
    assert tmp_path.stat().st_mode & 0o777 == 0o755, "a folder that was chosen is not raypipe's to close"


def test_what_an_older_raypipe_left_open_where_settings_say_is_closed(tmp_path: Path) -> None:
    data, journal, store = tmp_path / "data", tmp_path / "kept" / "videos.db", tmp_path / "store"
    folders = {data: 0o755, data / "downloads": 0o755, store: 0o755, journal.parent: 0o755}
    files = [
        data / "downloads" / "film",
        *(journal.with_name(f"videos.db{more}") for more in ("", "-wal", "-shm")),
    ]
    for folder, mode in folders.items():
        folder.mkdir()
        folder.chmod(mode)
    for file in files:
        file.touch()
        file.chmod(0o644)
    settings = Settings(data_dir=data, journal=f"sqlite:///{journal}", artifacts=str(store))
    closed = close_to_others(own_places(settings))
    assert sorted(closed) == sorted([*files, data / "downloads", store])
    assert modes(tmp_path) == {
        "data": 0o755,
        "data/downloads": 0o700,
        "data/downloads/film": 0o600,
        "kept": 0o755,
        "kept/videos.db": 0o600,
        "kept/videos.db-shm": 0o600,
        "kept/videos.db-wal": 0o600,
        "store": 0o700,
    }


def test_a_journal_and_a_store_that_are_no_files_are_nothing_to_close(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, journal="postgresql://host/videos", artifacts="s3://bucket/videos")
    assert own_places(settings) == [tmp_path / name for name in ("previews", "signing", "logs", "downloads")]


def test_a_folder_beside_those_of_others_is_this_users_alone(tmp_path: Path, usual_umask: None) -> None:
    folder = own_folder_in(tmp_path, "ray-")
    folder.chmod(0o777)
    assert own_folder_in(tmp_path, "ray-") == folder
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_whose_name_another_user_has_taken_is_made_under_another_name(
    tmp_path: Path, usual_umask: None
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / f"ray-{os.geteuid()}").symlink_to(elsewhere)
    folder = own_folder_in(tmp_path, "ray-")
    assert folder.resolve() != elsewhere
    assert folder.stat().st_mode & 0o777 == 0o700
