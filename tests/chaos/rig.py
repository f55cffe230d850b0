"""Videos handed in as the HTTP API does it, and processes to kill."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.intake import accept
from raypipe.journal import Journal
from raypipe.models import VideoRequest, VideoState
from tests.patience import patience

ROOT = Path(__file__).parents[2]
#: the seed's timeline at a tenth
OPTIONS = {"image": 0.2, "clip": [1.0, 0.5, 0.7, 0.5, 0.5, 0.7], "music": 0.2}


def six_beats(seed: int, model: str = "simulated", **options: Any) -> VideoRequest:
    """Return a request for a six-beat video; seeds make them differ."""
    prompt = f"A lighthouse keeper in storm number {seed}"
    return VideoRequest(
        prompt=prompt, duration=30, seed=seed, model=model, options={model: {**OPTIONS, **options}}
    )


async def hand_in(settings: Settings, journal: Journal, requests: Iterable[VideoRequest]) -> list[str]:
    """Have videos accepted, for any service, and return their ids."""
    store = ArtifactStore(settings.artifacts_url)
    accepted = [accept(request, settings, journal, store) for request in requests]
    await asyncio.gather(*(journal.writer.put(*rows) for _, rows in accepted))
    return [video.id for video, _ in accepted]


async def ended(journal: Journal, video_ids: list[str], seconds: float) -> list[VideoState]:
    """Return the states of videos when all have ended, or after so many seconds."""
    deadline = time.monotonic() + patience(seconds)
    while True:
        videos = await asyncio.to_thread(journal.videos, video_ids)
        states = [videos[video_id].state for video_id in video_ids]
        if all(state.terminal for state in states) or time.monotonic() > deadline:
            return states
        await asyncio.sleep(0.1)


async def all_completed(journal: Journal, video_ids: list[str], seconds: float) -> None:
    """Return when all videos are completed; fails with what went wrong where one is not, or not in so many seconds."""
    states = await ended(journal, video_ids, seconds)
    others = [
        each for each, state in zip(video_ids, states, strict=True) if state is not VideoState.COMPLETED
    ]
    assert not others, [
        (video_id, video.state, video.error_message, _errors(journal, video_id))
        for video_id, video in (await asyncio.to_thread(journal.videos, others)).items()
    ]


def _errors(journal: Journal, video_id: str) -> dict[str, str]:
    """Return what steps of a video failed with, by their names."""
    return {step.step: step.error_message for step in journal.steps(video_id) if step.error_message}


async def put_to_sleep(process: "subprocess.Popen[str]", settings: Settings) -> None:
    """SIGSTOP a process, but not in the middle of a commit: then it would hold SQLite's lock in its sleep."""
    while True:
        os.kill(process.pid, signal.SIGSTOP)
        with closing(
            sqlite3.connect(settings.data_dir / "journal.db", isolation_level=None, timeout=0.5)
        ) as other:
            try:
                other.execute("begin immediate")
                other.execute("rollback")
            except sqlite3.OperationalError:
                os.kill(process.pid, signal.SIGCONT)
                await asyncio.sleep(0.05)
            else:
                return


async def pid_of(gateway: Any) -> int:
    """Return the process id of an actor."""
    return int(await gateway.__ray_call__.remote(lambda _: os.getpid()))


async def kill_gateway(coordinator: Coordinator, number: int) -> int:
    """SIGKILL a gateway, by its process id."""
    gateways = await coordinator.gateways()
    pid = await pid_of(gateways._gateway(number))
    os.kill(pid, signal.SIGKILL)
    return pid


@contextmanager
def service(settings: Settings, address: str, log: Path, **more: str) -> Iterator[subprocess.Popen[str]]:
    """A coordinator in a process of its own; it is killed at the end, if it still lives."""
    environment = {
        **os.environ,
        "RAY_ADDRESS": address,
        "RAYPIPE_DATA_DIR": str(settings.data_dir),
        "RAYPIPE_SIMULATED_LEDGER": str(settings.simulated_ledger),
        **more,
    }
    if settings.gateways is not None:
        environment["RAYPIPE_GATEWAYS"] = str(settings.gateways)
    command = [sys.executable, "-m", "tests.chaos.service"]
    with log.open("a") as stderr:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=stderr, text=True
        )
    try:
        assert process.stdout is not None
        # Ray may have something to say before
        ready = any(line == "ready\n" for line in process.stdout)
        assert ready or process.wait() == -signal.SIGKILL, log.read_text()[-2_000:]
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
