"""A short form of `python -m tests.chaos`, which does as much of it as it is told to."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos.kills import kinds, schedule
from tests.chaos.rig import ROOT


@pytest.mark.timeout(520)
@pytest.mark.usefixtures("namespaces")
def test_users_get_their_videos_while_everything_is_killed(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "tests.chaos", "--videos", "4", "--kills", "10", "--seed", "7"]
    ran = subprocess.run(
        [*command, "--report", str(report)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3_000:] + ran.stderr[-1_000:]
    found = json.loads(report.read_text())
    assert found["over"] is True
    assert len(found["kills"]) == 10
    assert found["ends"]["completed"] >= 3
    assert found["problems"] == []


def test_each_kind_comes_about_as_often_as_any_other() -> None:
    first, again = (list(schedule(3 * len(kinds()), random.Random(1))) for _ in range(2))
    assert first == again, "the seed chooses"
    assert {kind: first.count(kind) for kind in kinds()} == dict.fromkeys(kinds(), 3)
