"""What all kinds of tests share."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import patience

#: seconds after which a test is taken to hang, on a quiet machine
TEST_SECONDS = 180


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Give every test its time, before pytest-timeout asks for it."""
    os.environ.setdefault("PYTEST_TIMEOUT", str(patience(TEST_SECONDS)))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB; skips where none may be mounted."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
