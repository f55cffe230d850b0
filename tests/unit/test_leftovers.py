"""What a Ray of our own has left is ended by the mark it carries, and nothing else is."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from raypipe import leftovers
from raypipe.leftovers import MARK, Guard, end_marked
from tests.patience import patience

_SLEEPER = [sys.executable, "-c", "print('ready', flush=True); import time; time.sleep(3_600)"]
#: starts a guard and something that is guarded, and waits to be killed
_GUARDED = f"""
import os, subprocess, sys, time
from raypipe.leftovers import MARK, Guard
guard = Guard("the mark")
print("guarded", flush=True)
process = subprocess.Popen({_SLEEPER!r}, env={{**os.environ, MARK: "the mark"}}, start_new_session=True)
time.sleep(3_600)
"""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[str]"]]:
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.communicate()


def sleeper(mark: str | None) -> "subprocess.Popen[str]":
    environment = {**os.environ, **({} if mark is None else {MARK: mark})}
    process = subprocess.Popen(_SLEEPER, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_only_what_carries_the_mark_is_ended(started: list["subprocess.Popen[str]"]) -> None:
    ours, anothers, unmarked = sleeper("a" * 32), sleeper("a" * 31), sleeper(None)
    started += [ours, anothers, unmarked]
    assert end_marked("a" * 32)
    assert ours.wait(60) == -signal.SIGKILL
    assert (anothers.poll(), unmarked.poll()) == (None, None)


def test_the_guard_ends_what_is_left_of_a_process_that_was_killed(
    started: list["subprocess.Popen[str]"],
) -> None:
    process = subprocess.Popen([sys.executable, "-c", _GUARDED], stdout=subprocess.PIPE, text=True)
    started.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() + process.stdout.readline() == "guarded\nready\n"
    process.kill()
    # what is left holds the same pipe, which is at its end when both have ended
    readable, _, _ = select.select([process.stdout], [], [], 120)
    assert readable
    assert process.stdout.read() == ""


def test_a_guard_that_is_dismissed_ends(started: list["subprocess.Popen[str]"]) -> None:
    guard = Guard("b" * 32)
    guard.dismiss()
    assert guard._process.returncode == 0


def end_nothing(monkeypatch: pytest.MonkeyPatch, within: float) -> bool:
    """End what carries a mark that nothing carries; what has no environment counts as being started for ever."""
    monkeypatch.setattr(leftovers, "START_SECONDS", float("inf"))
    monkeypatch.setattr(leftovers, "END_SECONDS", within)
    return end_marked("c" * 32)


def test_a_strangers_process_without_an_environment_is_not_waited_for(
    started: list["subprocess.Popen[str]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = ["sh", "-c", "env -i sleep 3600 & echo $!; wait"]
    started.append(subprocess.Popen(shell, stdout=subprocess.PIPE, text=True))
    assert started[-1].stdout is not None
    stranger = int(started[-1].stdout.readline())
    try:
        assert end_nothing(monkeypatch, within=patience(10))
    finally:
        os.kill(stranger, signal.SIGKILL)


def test_a_child_without_an_environment_may_be_one_that_is_being_started(
    started: list["subprocess.Popen[str]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    started.append(subprocess.Popen(["sleep", "3600"], env={}, text=True))
    assert not end_nothing(monkeypatch, within=2 * leftovers.GRACE_SECONDS)
