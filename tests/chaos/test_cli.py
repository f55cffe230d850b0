"""The command line under signals and with a log that cannot be written: nothing is lost, nothing is left behind."""

import json
import signal
import time
from pathlib import Path

import pytest

from raypipe.media.video import probe
from tests.acceptance.test_cli import SIMULATED, assert_no_process_is_left, options, raypipe
from tests.acceptance.test_cli_edges import read_until, start
from tests.patience import patience


def test_a_run_that_ignores_hang_ups_survives_one(tmp_path: Path) -> None:
    def ignore() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    slow = options(clip=[2.0, 1.0])
    process = start(tmp_path, *SIMULATED, *slow, "--duration", "10", "-o", "film.mp4", preexec_fn=ignore)
    read_until(process, "chunk 0 started")
    process.send_signal(signal.SIGHUP)
    _, said = process.communicate(timeout=patience(60))
    assert process.returncode == 0, said
    assert probe(tmp_path / "film.mp4").frames == 240


def test_a_log_that_cannot_be_written_costs_no_film(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "raypipe.log").symlink_to("/dev/full")
    ran = raypipe(tmp_path, *SIMULATED, *options(), "--duration", "5", "-o", "film.mp4")
    assert ran.returncode == 0, ran.stderr
    assert "rror" not in ran.stderr
    assert probe(tmp_path / "film.mp4").frames == 120


def test_a_signal_while_ray_stops_tears_nothing_apart(tmp_path: Path) -> None:
    process = start(tmp_path, *SIMULATED, *options(), "--duration", "5", "-o", "film.mp4")
    read_until(process, "video completed")
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, said = process.communicate(timeout=patience(30))
    assert "Traceback" not in said
    assert process.returncode in (0, 130)
    assert_no_process_is_left(tmp_path, within=20)
    video = json.loads(raypipe(tmp_path, "show", "last", "--json").stdout)
    assert video["state"] == "completed"


@pytest.mark.parametrize(
    ("number", "after"),
    [(signal.SIGINT, 0.3), (signal.SIGTERM, 2.5)],
)
def test_a_signal_while_ray_starts_is_heeded_with_a_word_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals, after: float
) -> None:
    process = start(tmp_path, *SIMULATED, *options())
    read_until(process, "Starting Ray")
    time.sleep(after)
    process.send_signal(number)
    out, said = process.communicate(timeout=patience(30))
    assert process.returncode == 128 + number, said
    assert "nterrupted" in said
    assert "Traceback" not in said
    # for some milliseconds of its start Ray's own handler comes first: it prints a stack, and then hands on to ours
    assert out == ""
    assert_no_process_is_left(tmp_path, within=20)
