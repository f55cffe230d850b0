"""Parsers given what a fuzzer finds; `python -m tests.fuzz --seconds 60` is the long form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="there is no Atheris for this platform")

from tests.fuzz.parsers import PARSERS

SECONDS = os.environ.get("RAYPIPE_FUZZ_SECONDS", "2")


@pytest.mark.parametrize("parser", PARSERS)
def test_a_parser_raises_nothing_but_what_it_says(parser: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", parser, "--seconds", SECONDS, "--keep", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert " inputs" in ran.stdout
