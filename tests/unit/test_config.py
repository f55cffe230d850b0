"""Settings as people write them."""

from pathlib import Path

import pytest

from raypipe.artifacts import ArtifactStore
from raypipe.cli.request import read_settings
from raypipe.config import Settings
from raypipe.errors import InvalidRequest
from raypipe.journal import Journal


@pytest.mark.parametrize("name", ["with spaces", "größe", "映画", "100%", "a%20b", "a?b=c", "a#b", "~x"])
def test_a_data_directory_may_have_any_name_and_all_is_kept_inside_it(tmp_path: Path, name: str) -> None:
    settings = Settings(data_dir=tmp_path / name)
    store = ArtifactStore(settings.artifacts_url)
    artifact = store.put(b"clip", "video/mp4")
    Journal(settings.journal_url).close()
    assert store.get(artifact) == b"clip"
    assert store.path_of(artifact, tmp_path).is_relative_to(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / "journal.db").is_file()


def test_an_empty_variable_says_nothing_and_a_tilde_means_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    for name in ("DATA_DIR", "ARTIFACTS", "JOURNAL", "ACTIVE_VIDEOS"):
        monkeypatch.setenv(f"RAYPIPE_{name}", "")
    assert Settings().data_dir.name == ".raypipe"
    assert Settings().active_videos == 500
    monkeypatch.setenv("RAYPIPE_DATA_DIR", "~/films")
    monkeypatch.setenv("RAYPIPE_ARTIFACTS", "~/clips and more")
    assert Settings().data_dir == Path("/home/somebody/films")
    assert Settings().artifacts_url == "file:///home/somebody/clips%20and%20more"


@pytest.mark.parametrize("name", ["RAYPIPE_DATA_DIR", "RAYPIPE_ARTIFACTS"])
def test_the_home_of_nobody_is_an_invalid_setting(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "~nobody-at-all/films")
    with pytest.raises(InvalidRequest, match=f"{name}: .*nobody's home"):
        read_settings()


def test_the_artifacts_may_be_named_by_a_plain_path(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, artifacts=str(tmp_path / "some where"))
    ArtifactStore(settings.artifacts_url).put(b"clip", "video/mp4")
    assert len([path for path in (tmp_path / "some where").rglob("*") if path.is_file()]) == 1
