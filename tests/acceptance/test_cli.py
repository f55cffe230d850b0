"""The real command line in processes of its own, with Ray where a video is made."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from raypipe.media.video import probe, write_png
from tests.patience import patience

RAYPIPE = str(Path(sys.executable).with_name("raypipe"))
QUICK = {"image": 0.05, "clip": [0.3, 0.2], "music": 0.05}
SIMULATED = ("generate", "A lighthouse keeper in a storm", "--model", "simulated")
ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x9b]")


def environment(data: Path) -> dict[str, str]:
    return {**os.environ, "RAYPIPE_DATA_DIR": str(data), "TERM": "xterm-256color", "COLUMNS": "100"}


def raypipe(data: Path, *args: str) -> subprocess.CompletedProcess[str]:
    command = [RAYPIPE, *args]
    return subprocess.run(
        command, env=environment(data), cwd=data, capture_output=True, text=True, timeout=patience(90)
    )


def options(**more: Any) -> tuple[str, str]:
    return "--options", json.dumps({"simulated": {**QUICK, **more}})


def processes_of(data: Path) -> dict[int, str]:
    """Processes that were started for this data directory and are alive, by their ids, with their commands."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            started_for = f"RAYPIPE_DATA_DIR={data}\0".encode() in (process / "environ").read_bytes()
            if started_for and "\nState:\tZ" not in (process / "status").read_text():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")[:200]
        except OSError:
            continue  # it ended, or is not ours to look at
    return found


def assert_no_process_is_left(data: Path, within: float = 10) -> None:
    deadline = time.monotonic() + patience(within)
    while (left := processes_of(data)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli")


@pytest.fixture(scope="module")
def made(data: Path) -> subprocess.CompletedProcess[str]:
    """A finished video of six beats."""
    return raypipe(data, *SIMULATED, *options(price=0.5), "--duration", "30", "-o", "storm.mp4")


def test_a_prompt_becomes_a_video_and_lines_without_control_characters_tell_how(
    made: subprocess.CompletedProcess[str], data: Path
) -> None:
    assert made.returncode == 0, made.stderr
    clip = probe(data / "storm.mp4")
    assert (clip.frames, clip.fps) == (30 * 24, 24)
    assert not ESCAPES.search(made.stdout + made.stderr)
    assert "storm.mp4" in made.stdout
    assert "raypipe timeline vid_" in made.stdout
    note, *lines = made.stderr.splitlines()
    assert note == "Note: It is estimated to cost $6.50 (images $3.00, clips $3.00, music $0.50)."
    assert all(re.match(r"\d\d:\d\d:\d\d  ", line) for line in lines), made.stderr
    for said in ("Starting Ray", "image 0 done in", "chunk 0 started from its image", "stitch done"):
        assert any(said in line for line in lines)
    assert any("chunk 1 started from the last frame of chunk 0" in line for line in lines)
    percents = [int(found[1]) for line in lines if (found := re.search(r"  +(\d+) %  ", line))]
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert_no_process_is_left(data)
    assert [path.name for path in data.iterdir() if path.suffix in (".mp4", ".part")] == ["storm.mp4"]


def test_list_and_show_tell_of_it(made: subprocess.CompletedProcess[str], data: Path) -> None:
    listed = json.loads(raypipe(data, "list", "--json").stdout)
    assert [(each["state"], each["progress"], each["beats"]) for each in listed] == [("completed", 100, 6)]
    video_id = listed[0]["id"]
    assert video_id[:16] in raypipe(data, "list").stdout
    for handle in (video_id, video_id[:16], video_id[4:16], "last"):
        assert video_id in raypipe(data, "show", handle).stdout
    shown = json.loads(raypipe(data, "show", "last", "--json").stdout)
    assert {phase["phase"] for phase in shown["phases"]} == {
        "plan", "storyboard", "references", "chunks", "stitch", "music",
    }  # fmt: skip
    assert shown["cost"] == pytest.approx(13 * 0.5)
    assert all(Path(each["artifact"]["file"]).is_file() for each in shown["steps"])
    assert Path(shown["result"]["file"]).read_bytes() == (data / "storm.mp4").read_bytes()


def test_what_was_made_can_be_exported(made: subprocess.CompletedProcess[str], data: Path) -> None:
    for args, name in (
        ([], "again.mp4"),
        (["--step", "chunk/3"], "chunk.mp4"),
        (["--step", "image/0"], "image.png"),
    ):
        assert raypipe(data, "show", "last", *args, "-o", name).returncode == 0
        assert (data / name).stat().st_size > 0
    assert (data / "again.mp4").read_bytes() == (data / "storm.mp4").read_bytes()
    assert probe(data / "chunk.mp4").frames > 0
    wrong = raypipe(data, "show", "last", "--step", "chunk/99", "-o", "x")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_the_timeline_is_shown_as_bars_and_written_as_a_picture(
    made: subprocess.CompletedProcess[str], data: Path
) -> None:
    bars = raypipe(data, "timeline", "last").stdout
    assert not ESCAPES.search(bars)
    rows = [line.split("  ")[0] for line in bars.splitlines()[2:10]]
    assert rows == [*(f"beat {index}" for index in range(6)), "music", "stitch"]
    assert raypipe(data, "timeline", "last", "--svg", "storm.svg").stdout == "storm.svg\n"
    assert ElementTree.parse(data / "storm.svg").getroot().tag.endswith("svg")  # noqa: S314 - our own


def test_a_failing_step_is_named_with_beat_phase_provider_and_reason(data: Path) -> None:
    ran = raypipe(data, *SIMULATED, *options(fail={"chunk/2": "out of credit"}), "-o", "fail.mp4")
    assert ran.returncode == 1
    assert "beat 2, phase chunks: failed at provider 'simulated': out of credit" in ran.stderr
    assert "beat 3: not attempted" in ran.stderr
    assert "Chunks kept: 0-1, 4-5" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert ran.stdout == ""
    assert not (data / "fail.mp4").exists()
    kept = raypipe(data, "show", "last", "--step", "chunk/4", "-o", "kept.mp4")
    assert kept.returncode == 0
    missing = raypipe(data, "show", "last", "-o", "film.mp4")
    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)


def test_an_edited_plan_with_a_reference_image_is_made_offline(tmp_path: Path) -> None:
    planned = raypipe(
        tmp_path, "plan", "A fox in the snow", "--duration", "5", "--size", "160x90", "--model", "local"
    )
    plan = json.loads(planned.stdout)
    plan["title"] = "Ein Fuchs, im Schnee"
    plan["beats"][0] |= {"prompt": "a red fox", "reference_image": "fox.png"}
    picture = np.zeros((90, 160, 3), np.uint8)
    picture[:, :, 0] = 200
    (tmp_path / "fox.png").write_bytes(write_png(picture))
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    ran = raypipe(tmp_path, "generate", "--spec", "plan.json")
    assert ran.returncode == 0, ran.stderr
    clip = probe(tmp_path / "ein-fuchs-im-schnee.mp4")
    assert (clip.width, clip.height, clip.frames) == (160, 90, 5 * 24)
    spec = json.loads(raypipe(tmp_path, "show", "last", "--json").stdout)["spec"]
    assert spec["beats"][0]["prompt"] == "a red fox"
    assert spec["beats"][0]["reference_image"]["media_type"] == "image/png"


class Terminal:
    """The command line on a terminal of its own, typed at and read from as a person would."""

    def __init__(self, data: Path, *args: str) -> None:
        self.raw = b""
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            os.chdir(data)
            os.execve(RAYPIPE, [RAYPIPE, *args], environment(data))  # noqa: S606

    @property
    def screen(self) -> str:
        """All that was written, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.raw.decode(errors="replace"))

    def read_until(self, said: str | None, timeout: float = 60) -> None:
        """Read until something is said or, without it, until the end."""
        deadline = time.monotonic() + patience(timeout)
        while said is None or said not in self.screen:
            ready, _, _ = select.select([self.handle], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"nothing like {said!r} in {self.screen[-2000:]}"
            try:
                self.raw += os.read(self.handle, 65_536)
            except OSError:
                assert said is None, self.screen[-2000:]
                return

    def press_ctrl_c(self) -> None:
        os.write(self.handle, b"\x03")

    def exit_code(self) -> int:
        self.read_until(None)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        # a terminal that goes away hangs up on whoever still runs there
        os.close(self.handle)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Any]:
    opened: list[Terminal] = []

    def run(*args: str) -> Terminal:
        opened.append(Terminal(tmp_path, *args))
        return opened[-1]

    yield run
    for each in opened:
        each.close()


def test_ctrl_c_on_a_terminal_stops_soon_cleanly_and_keeps_what_is_finished(
    terminal: Any, tmp_path: Path
) -> None:
    running = terminal(*SIMULATED, *options(clip=[1.0, 60.0]), "--duration", "20")
    running.read_until("chunks 2/4")
    assert b"\x1b[" in running.raw, "a terminal gets a live display"
    pressed = time.monotonic()
    running.press_ctrl_c()
    running.press_ctrl_c()
    running.read_until("Interrupted")
    assert running.exit_code() == 130
    assert time.monotonic() - pressed < patience(5)
    assert "Traceback" not in running.screen
    assert "raypipe show vid_" in running.screen
    assert "2 of 4 chunks" in running.screen
    assert_no_process_is_left(tmp_path)
    video = json.loads(raypipe(tmp_path, "show", "last", "--json").stdout)
    assert (video["state"], video["error_code"]) == ("waiting", "interrupted")
    done = {each["step"] for each in video["steps"] if each["state"] == "done"}
    assert {"chunk/0", "chunk/2", "image/0"} <= done


def test_an_interrupt_ends_a_start_of_ray_that_would_never_end_and_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [RAYPIPE, *SIMULATED, *options()],
        env={**environment(tmp_path), "RAY_gcs_server_port_wait_time_s": "3600"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert "Starting Ray" in process.stderr.readline()
    os.kill(
        process_named("gcs_server", tmp_path, process), signal.SIGSTOP
    )  # nothing of Ray can start without it
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=patience(60))
    assert process.returncode == 130
    assert "Traceback" not in err
    assert out == ""
    assert_no_process_is_left(tmp_path, within=60)
    assert json.loads(raypipe(tmp_path, "list", "--json").stdout) == []


def process_named(name: str, data: Path, command: "subprocess.Popen[str]") -> int:
    """Return the id of a process that a command has started, once there is one of that name."""
    while command.poll() is None:
        for number, title in processes_of(data).items():
            if name in title:
                return number
    pytest.fail(f"{RAYPIPE} ended, and never started {name}")


#: holds Ray's agents back until there is a file
AGENTS_HELD = """
import os, sys, time
if any(name.endswith(("dashboard/agent.py", "runtime_env/agent/main.py")) for name in sys.orig_argv):
    while not os.path.exists(os.environ["RELEASE"]):
        time.sleep(0.1)
"""


def test_a_film_is_made_while_rays_agents_have_not_started(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    (tmp_path / "held" / "sitecustomize.py").write_text(AGENTS_HELD)
    held = {"PYTHONPATH": str(tmp_path / "held"), "RELEASE": str(tmp_path / "release")}
    # what raypipe keeps is its own business: it needs no home that can be written to
    ran = subprocess.run(
        [RAYPIPE, *SIMULATED, *options(), "--duration", "5", "-o", "film.mp4"],
        env={**environment(tmp_path), **held, "HOME": "/proc/no home"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert ran.returncode == 0, ran.stderr
    assert probe(tmp_path / "film.mp4").frames == 120
    assert_no_process_is_left(tmp_path, within=60)


def test_a_folder_that_was_deleted_is_said_to_be_the_reason(tmp_path: Path) -> None:
    generate = f"{RAYPIPE} generate x --model simulated -o {tmp_path}/film.mp4"
    gone = f"mkdir gone && cd gone && rmdir ../gone && exec {generate}"
    ran = subprocess.run(
        ["bash", "-c", gone],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(
        "Error: Ray cannot be started: the current folder was deleted"
    )
    assert_no_process_is_left(tmp_path, within=60)


def test_an_address_that_is_no_address_of_rays_is_said_to_be_none(tmp_path: Path) -> None:
    ran = subprocess.run(
        [RAYPIPE, *SIMULATED],
        env={**environment(tmp_path), "RAY_ADDRESS": "http://127.0.0.1:8265"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1] == (
        "Error: RAY_ADDRESS=http://127.0.0.1:8265 is no address of a Ray cluster: give HOST:PORT, ray://HOST:PORT, "
        "auto or local."
    )


def test_a_cluster_that_is_not_there_is_said_to_be_so_at_once(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = subprocess.run(
            [RAYPIPE, *SIMULATED],
            env={**environment(tmp_path), "RAY_ADDRESS": address},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=patience(30),
        )
    assert ran.returncode == 1
    error = ran.stderr.splitlines()[-1]
    assert error.startswith(f"Error: The Ray cluster {address} cannot be reached: ")
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("args", [["--help"], ["generate", "--help"], ["--version"], ["list"]])
def test_help_is_quick_and_needs_neither_ray_nor_av(tmp_path: Path, args: list[str]) -> None:
    code = (
        "import sys; from raypipe.cli import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, *args],
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=patience(30),
    )
    assert ran.returncode == 0
    assert not {"ray", "av", "numpy"} & set(ran.stderr.split())


@pytest.mark.parametrize("args", [["generate"], ["generate", "x", "--duration", "0"], ["show", "nobody"]])
def test_bad_input_gets_one_sentence_and_no_traceback(tmp_path: Path, args: list[str]) -> None:
    ran = raypipe(tmp_path, *args)
    assert ran.returncode in (1, 2)
    assert ran.stdout == ""
    assert ran.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
