"""The real command line at its edges: outputs, signals, what it prints and takes, what it cannot write."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from raypipe.media.video import probe
from tests.patience import patience

from .test_cli import (
    QUICK,
    RAYPIPE,
    SIMULATED,
    assert_no_process_is_left,
    environment,
    options,
    processes_of,
    raypipe,
)


def start(data: Path, *args: str, **more: Any) -> subprocess.Popen[str]:
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([RAYPIPE, *args], env=environment(data), cwd=data, **{**streams, **more})


def read_until(process: subprocess.Popen[str], said: str) -> str:
    assert process.stderr is not None
    read = ""
    for line in process.stderr:
        read += line
        if said in line:
            return read
    pytest.fail(f"nothing like {said!r} in {read}")


def test_a_film_can_be_sent_down_a_pipe_and_kept_when_nobody_takes_it(tmp_path: Path) -> None:
    (tmp_path / "logs").write_text("in the way")  # logs cannot be kept, and that is no reason to stop
    with subprocess.Popen(
        [RAYPIPE, *SIMULATED, *options(), "--duration", "5", "-o", "-"],
        env=environment(tmp_path), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        film, said = process.communicate(timeout=patience(90))
    assert process.returncode == 0, said
    assert probe(film).frames == 120
    assert b"Note: log messages are not kept" in said
    assert b"Traceback" not in said
    for args in (["-o", "-"], ["--step", "chunk/0", "-o", "-"]):
        with Path("/dev/full").open("wb") as full:
            command = [RAYPIPE, "show", "last", *args]
            ran = subprocess.run(
                command, env=environment(tmp_path), stdout=full, stderr=subprocess.PIPE, check=False
            )
        assert ran.returncode == 1
        assert b"No space left" in ran.stderr
        assert b"Traceback" not in ran.stderr


def test_a_full_output_disk_leaves_the_film_kept_and_says_how_to_get_it(
    tmp_path: Path, small_disk: Path
) -> None:
    (small_disk / "filling").write_bytes(bytes(2**20 - 8_000))
    ran = raypipe(tmp_path, *SIMULATED, *options(), "--duration", "10", "-o", str(small_disk / "film.mp4"))
    assert ran.returncode == 1
    error = ran.stderr.splitlines()[-1]
    assert "No space left" in error
    assert "The film is kept; get it with: raypipe show vid_" in error
    assert [path.name for path in small_disk.iterdir()] == ["filling"]
    video_id = error.split("raypipe show ")[1].split()[0]
    assert raypipe(tmp_path, "show", video_id, "-o", "film.mp4").returncode == 0
    assert probe(tmp_path / "film.mp4").frames == 240


def test_a_film_that_lacks_an_image_nobody_started_from_is_written_and_the_exit_code_says_so(
    tmp_path: Path,
) -> None:
    failing = options(fail={"image/1": "refused"})
    ran = raypipe(tmp_path, *SIMULATED, *failing, "--duration", "10", "-o", "film.mp4")
    assert ran.returncode == 1
    assert probe(tmp_path / "film.mp4").frames == 240
    assert "beat 1, phase storyboard" in ran.stderr
    assert "refused" in ran.stderr
    assert "film.mp4" in ran.stderr
    video = json.loads(raypipe(tmp_path, "show", "last", "--json").stdout)
    assert (video["state"], video["error_code"]) == ("partial", "provider_rejected")
    assert "2 beats and 1 storyboard image" in video["error_message"]
    # what raypipe prints, it takes
    (tmp_path / "video.json").write_text(json.dumps(video))
    (tmp_path / "spec.json").write_text(json.dumps(video["spec"]))
    plans = [raypipe(tmp_path, "plan", "--spec", name) for name in ("video.json", "spec.json")]
    assert [plan.returncode for plan in plans] == [0, 0], plans[0].stderr + plans[1].stderr
    assert json.loads(plans[0].stdout)["beats"][1]["prompt"] == video["spec"]["beats"][1]["prompt"]
    assert plans[0].stdout == plans[1].stdout
    piped = f"{RAYPIPE} plan --spec <(cat spec.json)"
    ran = subprocess.run(
        ["bash", "-c", piped],
        env=environment(tmp_path),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, plans[1].stdout), ran.stderr


@pytest.mark.parametrize("args", [["list"], ["list", "--json"], ["models"], ["plan", "A fox"]])
def test_what_cannot_be_printed_is_an_error_in_a_line(tmp_path: Path, args: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            [RAYPIPE, *args],
            env=environment(tmp_path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert ran.returncode == 1
    assert ran.stderr == "Error: standard output cannot be written: No space left on device\n"


@pytest.mark.parametrize("args", ["list", "models", "show last -o -", "generate x -o -"])
def test_an_output_that_the_shell_has_closed_makes_no_traceback(tmp_path: Path, args: str) -> None:
    closed = ["bash", "-c", f"{RAYPIPE} {args} >&-"]
    ran = subprocess.run(
        closed, env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in ran.stderr
    assert ran.returncode == {"show last -o -": 1, "generate x -o -": 2}.get(args, 0), ran.stderr


def test_a_data_directory_whose_name_is_too_long_is_an_error_in_a_line(tmp_path: Path) -> None:
    environs = {**environment(tmp_path), "RAYPIPE_DATA_DIR": f"/tmp/{'d' * 300}"}  # noqa: S108 - never made
    ran = subprocess.run([RAYPIPE, "list"], env=environs, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1), ran.stderr
    assert "File name too long" in ran.stderr


def test_the_service_starts_with_one_command_serves_and_stops(tmp_path: Path) -> None:
    import httpx

    from .conftest import _free_port

    port = str(_free_port())
    process = start(tmp_path, "serve", "--port", port, stdout=subprocess.DEVNULL)
    try:
        read_until(process, "Serving on")
        url = f"http://127.0.0.1:{port}"
        while (ready := httpx.get(f"{url}/readyz", timeout=60)).status_code != 200:
            assert ready.json()["error"]["code"] == "not_ready"
            time.sleep(0.2)
        assert listens_elsewhere(tmp_path) == set()
        sessions = sessions_of_ray(tmp_path)
        assert sessions
        assert all(is_in_a_private_folder(session) for session in sessions)
        assert httpx.get(f"{url}/healthz").json() == {"status": "ok"}
        made = {"prompt": "A keeper", "seconds": 5, "model": "simulated", "options": {"simulated": QUICK}}
        film = httpx.post(
            f"{url}/v1/videos", json=made, headers={"Prefer": "wait=60"}, timeout=patience(70)
        ).json()
        assert (film["state"], film["error"]) == ("completed", None)
        assert httpx.get(f"{url}/v1/videos/vid_0?key=secret").status_code == 404
        niceness = niceness_of_actors(tmp_path)
        assert niceness["Gateway"] == 15, "what makes videos gives way to what answers people"
        assert {niceness["ServeReplica:raypipe:Api"], niceness["ProxyActor"]} == {os.nice(0)}
        busy = raypipe(tmp_path, "serve", "--port", port)
        assert (busy.returncode, busy.stderr.count("\n")) == (2, 1)
        assert "nothing can listen" in busy.stderr
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=patience(60))
    assert process.returncode == 128 + signal.SIGTERM, said
    assert_no_process_is_left(tmp_path, within=60)
    assert "is completed" in said
    assert re.findall("Traceback|failed to shut down|Not ready: *$", said, re.MULTILINE) == []
    told = [line for line in said.splitlines() if " raypipe.api.access: " in line]
    assert [re.sub(".* INFO |, .*", "", line) for line in told] == [
        "raypipe.api.access: POST /v1/videos: 202",
        "raypipe.api.access: GET /v1/videos/vid_0: 404",
    ], "of what clients ask only what changes something or is refused"


def listens_elsewhere(data: Path) -> set[str]:
    """Return where processes listen that were started for a data directory, besides the loopback address."""
    ours = {link for number in processes_of(data) for link in sockets_of(number)}
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            address, state, inode = fields[1].partition(":")[0], fields[3], fields[9]
            # 127.0.0.1 ends in its first byte, as the kernel writes it; 0A is the state of listening
            if state == "0A" and f"socket:[{inode}]" in ours and not address.endswith("7F"):
                found.add(fields[1])
    return found


def sessions_of_ray(data: Path) -> set[Path]:
    """Return the folders in which Ray keeps what processes write that were started for a data directory."""
    found = set()
    for number in processes_of(data):
        with suppress(OSError):
            command = Path(f"/proc/{number}/cmdline").read_text()
            found |= {Path(name) for name in re.findall(r"(/[^\0=:]*/session_\d[^/\0]*)", command)}
    return found


def is_in_a_private_folder(path: Path) -> bool:
    return any(parent.stat().st_mode & 0o077 == 0 for parent in path.parents)


def sockets_of(process: int) -> set[str]:
    try:
        return {str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()}
    except OSError:
        return set()  # it has just ended


def test_a_service_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    from .conftest import _free_port

    process = start(tmp_path, "serve", "--port", str(_free_port()), stdout=subprocess.DEVNULL)
    read_until(process, "Serving on")
    process.kill()
    process.communicate(timeout=300)
    assert_no_process_is_left(tmp_path, within=60)


def niceness_of_actors(data: Path) -> dict[str, int]:
    """Return how far the actors of a Ray give way, by their names in the list of processes."""
    named = {number: re.match(r"ray::((?:\w+:)*\w+)", title) for number, title in processes_of(data).items()}
    return {name[1]: niceness_of_work(number) for number, name in named.items() if name}


def niceness_of_work(process: int) -> int:
    """Return how far the thread gives way that has worked the most, besides the main one, which imports."""
    threads = [
        int(each.name) for each in Path(f"/proc/{process}/task").iterdir() if each.name != str(process)
    ]
    return os.getpriority(os.PRIO_PROCESS, max(threads, key=lambda thread: time_of(process, thread)))


def time_of(process: int, thread: int) -> int:
    """Return for how many ticks a thread has run."""
    fields = Path(f"/proc/{process}/task/{thread}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


OUTPUTS = {
    "an existing file": "taken.mp4",
    "a read-only file": "read-only.mp4",
    "a link to a file": "link.mp4",
    "a GIF": "film.gif",
    "a WebM": "film.webm",
    "a QuickTime film": "film.mov",
    "no ending": "film",
    "a name of 300 characters": "x" * 300 + ".mp4",
    "a folder that is not there": "nowhere/film.mp4",
    "a device": "/dev/null",
    "a loop of links": "loop.mp4",
}


@pytest.mark.parametrize("output", OUTPUTS.values(), ids=OUTPUTS.keys())
def test_an_output_that_cannot_or_must_not_be_written_is_refused_before_any_work(
    tmp_path: Path, output: str
) -> None:
    for name in ("taken.mp4", "read-only.mp4"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "read-only.mp4").chmod(0o444)
    (tmp_path / "link.mp4").symlink_to("taken.mp4")
    (tmp_path / "loop.mp4").symlink_to("loop.mp4")
    before = sorted(tmp_path.iterdir())
    ran = raypipe(tmp_path, *SIMULATED, "-o", output)
    assert (ran.returncode, ran.stderr.count("\n")) == (2, 1), ran.stderr
    assert "--output" in ran.stderr
    assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "taken.mp4").read_text() == "mine"
    if output == "read-only.mp4":
        forced = raypipe(tmp_path, *SIMULATED, "--force", "-o", output)
        assert (forced.returncode, "read-only" in forced.stderr) == (2, True)
        assert stat.S_IMODE((tmp_path / output).stat().st_mode) == 0o444


def test_the_readmes_python_makes_a_film_and_hands_it_out(tmp_path: Path) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    snippet = readme.split("From Python:")[1].split("```python\n")[1].split("```")[0]
    # the embedded provider in little: what the README says is run as it stands, but for its size
    small = snippet.replace('storm")', 'storm", duration=5, size="160x90")')
    assert small != snippet
    ran = subprocess.run(
        [sys.executable, "-c", small], env=environment(tmp_path), cwd=tmp_path, capture_output=True, text=True,
        timeout=patience(120), check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2000:]
    films = list(tmp_path.glob("*.mp4"))
    assert len(films) == 1
    assert probe(films[0]).frames == 120
