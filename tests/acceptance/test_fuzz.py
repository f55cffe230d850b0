"""Parsers given what a fuzzer finds; `python -m tests.fuzz --seconds 60` is the long form."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("atheris", reason="there is no Atheris for this platform")

SECONDS = os.environ.get("RAYPIPE_FUZZ_SECONDS", "8")


def test_parsers_raise_nothing_but_what_they_say(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tests.fuzz",
        "any_of_them",
        "--seconds",
        SECONDS,
        "--keep",
        str(tmp_path),
    ]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    assert int(ran.stdout.split()[1]) > 100
