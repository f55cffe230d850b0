"""The suite's report is there whatever ends the suite, and says what was done up to then."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from argparse import Namespace
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tests.chaos.__main__ import disturbed
from tests.chaos.report import Report, conclude
from tests.chaos.rig import ROOT


def read(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_a_report_is_in_its_file_at_every_step_and_is_well_only_when_the_run_is_over(tmp_path: Path) -> None:
    file = tmp_path / "new" / "report.json"
    report = Report(file, {"seed": 1})
    report.begin()
    assert read(file)["over"] is False
    report.killed({"kind": "gateway", "at": 1.0, "what": "process 7"})
    report.ended("completed")
    report.incident("a node could not be started, another is tried")
    assert read(file)["kills by kind"] == {"gateway": 1}
    assert read(file)["users' videos"] == {"completed": 1}
    assert read(file)["incidents"] == ["a node could not be started, another is tried"]
    assert not report.well
    report.over()
    assert report.well
    assert read(file)["over"] is True
    assert list(file.parent.iterdir()) == [file]


def test_the_same_problem_is_noted_once_with_its_number(tmp_path: Path) -> None:
    report = Report(tmp_path / "report.json", {})
    for _ in range(3):
        report.problem("GET /v1/videos/ID was answered 500")
    report.over()
    assert read(tmp_path / "report.json")["problems"] == ["GET /v1/videos/ID was answered 500 (3 times)"]
    assert not report.well


def test_an_exception_in_one_stage_is_a_problem_and_the_next_stage_is_gone_through(tmp_path: Path) -> None:
    report = Report(tmp_path / "report.json", {})
    with report.during("stopping"):
        raise KeyError("what nobody foresaw")
    with report.during("judging"):
        report.facts["creates"] = 7
    report.over()
    found = read(tmp_path / "report.json")
    assert found["creates"] == 7
    assert found["problems"][0].startswith("stopping: KeyError('what nobody foresaw')")
    assert not report.well


def test_an_exception_that_ends_a_thread_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    report = Report(tmp_path / "report.json", {})
    report.heed_threads()
    thread = threading.Thread(target=lambda: 1 / 0, name="a reader")
    thread.start()
    thread.join()
    assert read(tmp_path / "report.json")["problems"][0].startswith("a thread, a reader: ZeroDivisionError")


def test_a_report_that_cannot_be_written_for_a_while_ends_no_run(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    report = Report(folder / "report.json", {})
    report.begin()
    folder.rename(tmp_path / "elsewhere")
    report.problem("noted while the folder is away")
    (tmp_path / "elsewhere").rename(folder)
    report.ended("completed")
    assert read(folder / "report.json")["problems"] == ["noted while the folder is away"]


def test_a_run_whose_last_report_cannot_be_written_is_not_well(tmp_path: Path) -> None:
    report = Report(tmp_path / "folder" / "report.json", {})
    report.begin()
    (tmp_path / "folder").rename(tmp_path / "elsewhere")
    report.over()
    assert not report.well


def test_who_started_a_run_that_was_killed_notes_that(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    report = Report(file, {"seed": 1})
    report.begin()
    report.ended("completed")
    assert conclude(file, -9) == -9
    assert conclude(file, 0) == 1
    assert read(file)["users' videos"] == {"completed": 1}
    assert "the run ended with the code -9 before it was over" in read(file)["problems"][0]
    file.write_text('{"half of')
    assert conclude(file, 0) == 1
    assert "cannot be read" in read(file)["problems"][0]
    report.over()
    assert conclude(file, 0) == 0
    assert conclude(None, 3) == 3


class Quiet:
    """An installation of which nothing is to be seen."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.looked = 0

    def look_after_coordinator(self) -> None:
        self.looked += 1
        raise RuntimeError("the log is gone")


def test_an_exception_of_a_kill_of_a_user_or_of_a_look_is_reported_and_ends_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def kill(kind: str, installation: Any, chosen: random.Random) -> Any:
        if kind == "node":
            raise RuntimeError("the raylet died")
        return SimpleNamespace(
            what="process 7", _asdict=lambda: {"kind": kind, "at": 0.0, "what": "process 7"}
        )

    monkeypatch.setattr("tests.chaos.kills.kill", kill)
    monkeypatch.setattr("tests.chaos.kills.schedule", lambda *_: iter(["node", "gateway", "node", "gateway"]))
    monkeypatch.setattr("tests.chaos.__main__.BETWEEN", (0.0, 0.0))
    monkeypatch.setattr("tests.chaos.__main__.FIRST", 0.0)
    monkeypatch.setattr(Report, "heed_signals", lambda _: None)
    lives: list[int] = []

    async def live(self: Any, number: int) -> str:
        lives.append(number)
        await asyncio.sleep(0)
        if number == 2:
            raise KeyError("id")
        return "completed"

    async def listen(self: Any) -> None:
        """Nobody is there to be told."""

    monkeypatch.setattr("tests.chaos.users.User.live", live)
    monkeypatch.setattr("tests.chaos.users.User.listen", listen)
    report = Report(tmp_path / "report.json", {})
    installation: Any = Quiet(report)
    installation.url = "http://127.0.0.1:1"
    args = Namespace(videos=10, kills=2, seed=1, only=None)
    asyncio.run(disturbed(args, installation, report))
    assert len(report.kills) == 2
    assert lives[:10] == list(range(10))
    assert report.ends["unknown"] == 1
    assert report.ends["completed"] >= 9
    problems = "\n".join(report.problems)
    assert "user 2: KeyError('id')" in problems
    assert "the kill 'node': RuntimeError('the raylet died')" in problems
    assert "a look at what is done: RuntimeError('the log is gone')" in problems


def start(report: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "tests.chaos", "--videos", "1", "--kills", "1", "--report", str(report)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def first_inside(process: "subprocess.Popen[str]") -> psutil.Process:
    """Return the first process of the enclosure, once it is Python."""
    while True:
        assert process.poll() is None, process.communicate()
        for inside in psutil.Process(process.pid).children(recursive=True):
            with suppress(psutil.Error):
                above = inside.parent()
                if above is not None and above.name() == "unshare" and inside.name().startswith("python"):
                    return inside
        time.sleep(0.02)


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["as soon as it is there", "while the installation starts"])
def test_a_run_that_is_ended_by_a_signal_leaves_its_report(
    tmp_path: Path, number: signal.Signals, moment: str
) -> None:
    file = tmp_path / "report.json"
    process = start(file)
    inside = first_inside(process)
    while moment != "as soon as it is there" and read(file)["stage"] != "starting":
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    assert process.returncode > 0, said
    report = read(file)
    assert report["over"] is False
    assert report["parameters"] == {"videos": 1, "kills": 1, "seed": 1, "only": None}
    assert report["problems"] != []
    if moment != "as soon as it is there":
        assert f"ended by {number.name}, while it was at: starting" in report["problems"][0], said
    assert not inside.is_running()


@pytest.mark.timeout(120)
@pytest.mark.usefixtures("namespaces")
def test_a_run_that_is_killed_inside_leaves_its_report(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    process = start(file)
    os.kill(first_inside(process).pid, signal.SIGKILL)
    _, said = process.communicate(timeout=100)
    assert process.returncode > 0, said
    assert "before it was over" in read(file)["problems"][-1]


@pytest.mark.usefixtures("namespaces")
def test_there_is_no_run_where_its_report_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    process = start(tmp_path / "file" / "report.json")
    _, said = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "the report cannot be written" in said
