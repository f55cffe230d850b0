"""Starting a Ray of our own: again where it does not start, and with the reason where it never does."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from raypipe import local_ray
from raypipe.cli.connection import RayConnection, _check_address
from raypipe.cli.generate import StopRequest
from raypipe.config import Settings
from raypipe.errors import RayUnavailable
from raypipe.leftovers import Guard
from raypipe.local_ray import START_TRIES, LocalRay, _await_listening
from tests.patience import patience

#: what a raylet writes that dies because its agents are slow
DIED = (
    "[2026-11-30 22:56:39,279 E 1 2] (raylet) agent_manager.cc:81: Something to complain about\n"
    "[2026-11-30 22:56:54,372 C 1 1] (raylet) node_manager.cc:3588:  An unexpected system state has occurred. Please "
    "report this issue. Check failed: statussetor3588.has_value() Timed out waiting for file /tmp/agent_port\n"
)


class Starts:
    """Stands for the starts of Ray, of which the first so many fail."""

    def __init__(self, failures: int, session: Path) -> None:
        self.failures, self.session, self.number = failures, session, 0

    def __call__(self, ray: LocalRay) -> None:
        self.number += 1
        ray._session = self.session
        if self.number <= self.failures:
            raise Exception("The current node timed out during startup.\nMore of it.")


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "logs").mkdir()
    monkeypatch.setattr(local_ray, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(local_ray, "prepare_local_ray", lambda _: None)
    return tmp_path


def starting(monkeypatch: pytest.MonkeyPatch, starts: Starts) -> LocalRay:
    monkeypatch.setattr(LocalRay, "_start_once", lambda ray: starts(ray))
    return LocalRay(loopback=True, metrics_port=None, shows_logs=False)


def test_ray_that_does_not_start_is_started_again(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = Starts(START_TRIES - 1, session)
    starting(monkeypatch, starts).start()
    assert starts.number == START_TRIES


def test_ray_that_never_starts_is_told_of_with_what_it_died_of_and_where_its_logs_are(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (session / "logs" / "raylet.err").write_text(DIED)
    monkeypatch.setattr(os, "getloadavg", lambda: (64.0, 0.0, 0.0))
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    with pytest.raises(RayUnavailable) as raised:
        starting(monkeypatch, Starts(START_TRIES, session)).start()
    assert str(raised.value) == (
        f"Ray cannot be started, tried {START_TRIES} times: raylet: Timed out waiting for file /tmp/agent_port; "
        f"64 processes want to run on 2 CPUs (Ray's logs: {session}/logs)"
    )


def test_where_rays_logs_say_nothing_its_error_does(session: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))
    with pytest.raises(
        RayUnavailable, match=r"times: The current node timed out during startup\. \(Ray's logs"
    ):
        starting(monkeypatch, Starts(START_TRIES, session)).start()


def test_a_start_that_nobody_waits_for_any_more_is_not_tried_again(
    session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = Starts(START_TRIES, session)
    ray = starting(monkeypatch, starts)
    ray.abandon()
    with pytest.raises(RayUnavailable):
        ray.start()
    assert starts.number == 1
    with pytest.raises(RayUnavailable, match="nobody waits"), ray._wanted():
        pytest.fail("no process is started any more")


def test_a_current_folder_that_was_deleted_is_the_reason(
    tmp_path: Path, session: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(RayUnavailable, match="the current folder was deleted"):
        starting(monkeypatch, Starts(0, session)).start()
    monkeypatch.chdir(tmp_path)


class HalfStarted:
    """Stands for a node of Ray's to which nobody can be connected, and which cannot be ended in order."""

    @property
    def gcs_address(self) -> str:
        raise Exception("Failed to start GCS.")

    def kill_all_processes(self, **_: bool) -> None:
        raise RuntimeError("Timed out")


@pytest.fixture
def guards(monkeypatch: pytest.MonkeyPatch) -> list[Guard]:
    """The guards that are made."""
    made: list[Guard] = []

    class Noted(Guard):
        def __init__(self, mark: str, signals: int) -> None:
            super().__init__(mark, signals)
            made.append(self)

    monkeypatch.setattr(local_ray, "Guard", Noted)
    return made


def connect_as_a_command() -> None:
    connection = RayConnection(Settings(ray_address="local"), StopRequest())
    try:
        connection.start()
    finally:
        connection.stop()


@pytest.mark.parametrize("half_started", [False, True])
def test_a_command_is_told_why_ray_cannot_be_started_and_no_guard_is_left(
    session: Path, guards: list[Guard], monkeypatch: pytest.MonkeyPatch, half_started: bool
) -> None:
    def start_node(*_: object) -> HalfStarted:
        if half_started:
            return HalfStarted()
        raise Exception("Failed to start GCS.")

    monkeypatch.setattr(local_ray, "_start_node", start_node)
    with pytest.raises(RayUnavailable, match=rf"tried {START_TRIES} times: Failed to start GCS\."):
        connect_as_a_command()
    assert [guard._process.returncode for guard in guards] == [0] * START_TRIES


#: starts Ray for a command, in code that keeps Python's global lock for good
KEEPS_THE_LOCK = """
import ctypes
from raypipe import leftovers, local_ray
from raypipe.cli.connection import RayConnection
from raypipe.cli.generate import StopRequest
from raypipe.config import Settings

def start_node(*_):
    print("starting", flush=True)
    ctypes.PyDLL(None).sleep(3_600)

leftovers.GIVE_UP_SECONDS = 0.5
local_ray._start_node = start_node
with StopRequest() as stop:
    RayConnection(Settings(ray_address="local"), stop).start()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_start_in_which_python_cannot_hear_it(tmp_path: Path, number: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KEEPS_THE_LOCK], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "starting\n"
        process.send_signal(number)
        assert process.wait(patience(30)) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()


def test_a_process_that_ends_before_it_listens_is_not_waited_for() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(RayUnavailable, match="its GCS ended with exit code 1"):
            _await_listening(address, lambda: 1, nullcontext)
        with pytest.raises(RayUnavailable, match="nobody waits"):
            _await_listening(address, lambda: None, abandoned()._wanted)


def abandoned() -> LocalRay:
    ray = LocalRay(loopback=True, metrics_port=None, shows_logs=False)
    ray.abandon()
    return ray


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8265", "https://ray.example.org", "tcp://1.2.3.4:6379"]
)
def test_addresses_of_another_kind_are_none_of_rays(address: str) -> None:
    with pytest.raises(RayUnavailable, match=r"is no address of a Ray cluster: give HOST:PORT"):
        _check_address(address)


@pytest.mark.parametrize("address", ["auto", "ray://127.0.0.1:10001", "somewhere"])
def test_addresses_that_only_ray_can_judge_are_left_to_it(address: str) -> None:
    _check_address(address)
