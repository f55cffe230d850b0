"""A label that people shall read is drawn with a font that has its characters, or refused before anything is made."""

import subprocess
import sys
import unicodedata
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import ttf_opensans
from PIL import ImageFont

from raypipe.cli.request import read_settings
from raypipe.config import Settings
from raypipe.errors import InvalidRequest, MediaError
from raypipe.film_label import FilmLabel, undrawable
from raypipe.media.label import labelled
from raypipe.media.video import Planes
from raypipe.models import Size

SIZE = Size(width=640, height=360)
#: a font that has ASCII alone
ASCII_FONT = ImageFont.load_default(16).font_bytes


@pytest.fixture
def ascii_font(tmp_path: Path) -> Path:
    path = tmp_path / "ascii.ttf"
    path.write_bytes(ASCII_FONT)
    return path


def letters(text: str, font: Path | None = None) -> bytes:
    black = (np.full((360 >> half, 640 >> half), 16, np.uint8) for half in (0, 1, 1))
    (frame,) = labelled([Planes(*black)], FilmLabel(text, font), SIZE)
    return frame.y.tobytes()


@pytest.mark.parametrize(
    "text",
    [
        "Made by AI", "Généré par IA", "Wygenerowane przez SI \N{EN DASH} źródło: ł", "Сделано ИИ",
        "Φτιαγμένο από μηχανή", "Tạo bởi trí tuệ", "Yapay zekâ ile üretildi: İ, ş, ğ", "„KI“ \N{EN DASH} «IA» … €",
        "© 2026\N{NO-BREAK SPACE}x\N{SOFT HYPHEN}y",
    ],
)  # fmt: skip
def test_a_label_in_latin_greek_or_cyrillic_is_drawn(text: str) -> None:
    assert undrawable(FilmLabel(text)) == ""
    assert Settings(film_label=text).film_label == text
    assert letters(text) != letters("")


def test_a_letter_of_a_label_looks_like_itself_and_no_other() -> None:
    characters = "éèełlŁИΩ\N{EN DASH}-ßş"
    assert len({letters(f"n{character}n") for character in characters}) == len(characters)


def test_accents_that_stand_for_themselves_are_joined_with_their_letters() -> None:
    text = unicodedata.normalize("NFD", "Généré")
    assert len(text) == 9
    assert Settings(film_label=f" {text} ").film_label == "Généré"


@pytest.mark.parametrize(
    ("text", "missing"),
    [("AI生成", "生成"), ("Made by AI 🎬🎬", "🎬"), ("نص", "نص"), ("AI → ✓ é", "→✓"), ("﷐", "﷐")],
)
def test_a_label_that_the_font_does_not_have_is_refused_naming_its_characters(
    monkeypatch: pytest.MonkeyPatch, text: str, missing: str
) -> None:
    monkeypatch.setenv("RAYPIPE_FILM_LABEL", text)
    with pytest.raises(InvalidRequest) as refused:
        read_settings()
    assert str(refused.value) == (
        f"RAYPIPE_FILM_LABEL: is written with {missing}, which its font does not have: name the file of one that does "
        "in RAYPIPE_LABEL_FONT."
    )


def test_another_font_is_used_where_one_is_named(monkeypatch: pytest.MonkeyPatch, ascii_font: Path) -> None:
    monkeypatch.setenv("RAYPIPE_LABEL_FONT", str(ascii_font))
    monkeypatch.setenv("RAYPIPE_FILM_LABEL", "Made by AI")
    label = read_settings().label
    assert label == FilmLabel("Made by AI", ascii_font)
    assert letters(*label) != letters("Made by AI")
    monkeypatch.setenv("RAYPIPE_FILM_LABEL", "Généré")
    with pytest.raises(InvalidRequest, match="RAYPIPE_FILM_LABEL: is written with é, which its font"):
        read_settings()
    bold = str(ttf_opensans.OPENSANS_BOLD.path)
    assert letters("Généré", Settings(label_font=bold, film_label="Généré").label_font) != letters("Généré")


@pytest.mark.parametrize("content", [None, b"", b"no font", ASCII_FONT[:500]])
def test_what_is_no_font_is_refused_naming_the_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "DejaVuSans.ttf"  # a font of this name may be elsewhere on the machine
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("RAYPIPE_LABEL_FONT", str(path))
    monkeypatch.setenv("RAYPIPE_FILM_LABEL", "AI生成")
    with pytest.raises(InvalidRequest, match=r"^RAYPIPE_LABEL_FONT: is no font .*DejaVuSans\.ttf\.$"):
        read_settings()


def test_a_machine_without_the_font_says_so(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match=r"RAYPIPE_LABEL_FONT names is no font .* on this machine"):
        letters("Made by AI", tmp_path / "gone.ttf")


def test_no_label_is_no_label() -> None:
    assert Settings().label is None
    assert Settings(film_label=" ").label is None


def test_the_command_line_refuses_a_label_before_it_starts_anything(tmp_path: Path) -> None:
    environment = {
        "RAYPIPE_DATA_DIR": str(tmp_path / "data"),
        "RAYPIPE_FILM_LABEL": "AI生成",
        "PYTHONUTF8": "1",
    }
    for command in (["generate", "A boat"], ["serve"]):
        ran = _run(command, environment)
        assert ran.returncode == 2
        assert ran.stderr.startswith("Error: RAYPIPE_FILM_LABEL: is written with 生成")
        assert "Traceback" not in ran.stderr
    assert not (tmp_path / "data").exists()


def _run(command: Iterable[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from raypipe.cli import main; main()", *command]
    return subprocess.run(program, env=environment, capture_output=True, encoding="utf-8", check=False)
