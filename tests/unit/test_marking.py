"""Films say by themselves that machines have made them; the library's own reader believes it."""

import multiprocessing
import stat
from pathlib import Path

import pytest

from raypipe.config import Settings
from raypipe.errors import InternalError, SecretsExposed
from raypipe.marking import COMPUTED, CREDENTIAL, TRAINED, mark
from raypipe.media.video import encode_clip, to_planes
from tests.films import marking, packets
from tests.unit.test_media_video import SIZE, picture


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(encode_clip([to_planes(picture(number)) for number in range(12)], SIZE, 24))
    return path


@pytest.mark.parametrize(
    ("models", "kind"),
    [
        (["fal/flux", "local"], TRAINED),
        (["replicate/a/b"], TRAINED),
        (["local"], COMPUTED),
        (["simulated"], COMPUTED),
    ],
)
def test_a_film_names_its_models_and_what_kind_of_source_they_are(
    tmp_path: Path, film: Path, models: list[str], kind: str
) -> None:
    out = tmp_path / "marked.mp4"
    mark(Settings(data_dir=tmp_path), film, out, models)
    found = marking(out.read_bytes())
    assert (found.state, found.signed_by) == ("Valid", "raypipe installation")
    assert (found.source_type, found.models) == (kind, sorted(models))
    assert packets(out.read_bytes()) == packets(film.read_bytes()), "pictures and sound are as they were"


def test_who_changes_a_film_breaks_the_mark(tmp_path: Path, film: Path) -> None:
    out = tmp_path / "marked.mp4"
    mark(Settings(data_dir=tmp_path), film, out, ["local"])
    data = bytearray(out.read_bytes())
    data[data.index(b"mdat") + 200] ^= 1
    out.write_bytes(data)
    assert marking(out.read_bytes()).state == "Invalid"


def _mark(folder: str, film: str, out: str) -> None:
    mark(Settings(data_dir=Path(folder)), Path(film), Path(out), ["local"])


def test_processes_that_make_the_key_together_make_one_and_nobody_else_may_read_it(
    tmp_path: Path, film: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    outs = [tmp_path / f"{number}.mp4" for number in range(4)]
    started = [spawn.Process(target=_mark, args=(str(tmp_path), str(film), str(out))) for out in outs]
    for process in started:
        process.start()
    for process in started:
        process.join()
    assert len({marking(out.read_bytes()).certificate for out in outs}) == 1
    key = tmp_path / "signing" / CREDENTIAL
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [file.name for file in key.parent.iterdir()] == [CREDENTIAL]
    key.chmod(0o644)
    with pytest.raises(SecretsExposed, match="chmod 600"):
        _mark(str(tmp_path), str(film), str(outs[0]))


def test_what_cannot_be_marked_is_said(tmp_path: Path, film: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    film.write_bytes(b"no film")
    with pytest.raises(InternalError, match="cannot be marked"):
        mark(settings, film, tmp_path / "out.mp4", ["local"])
    (tmp_path / "signing" / CREDENTIAL).write_bytes(b"no key")
    with pytest.raises(SecretsExposed, match="holds no key"):
        mark(settings, film, tmp_path / "out.mp4", ["local"])
