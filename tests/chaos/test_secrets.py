"""Keys stay where they are needed: they are not in what a run leaves behind, says or shows, nor where it crashed."""

import subprocess
import sys
from pathlib import Path

from tests.patience import patience

ROOT = Path(__file__).parents[2]


def test_no_key_is_in_what_a_crash_leaves_nor_in_what_ray_shows(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.chaos.leaks", "--data", str(tmp_path / "data")]
    ran = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=patience(170), check=False
    )
    assert ran.returncode == 0, ran.stdout[-1_000:] + ran.stderr[-1_000:]
    assert "searched: " in ran.stdout
