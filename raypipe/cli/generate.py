"""Making one video in this process: start Ray, run a coordinator, watch, and stop cleanly."""

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rich.console import Console

from raypipe.cli.watch import live, say, watching
from raypipe.config import Settings
from raypipe.errors import RayUnavailable
from raypipe.journal import Event, Journal
from raypipe.models import VideoRequest, VideoState

_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CLOSE_SECONDS = 1.0
_CONNECT_SECONDS = 5.0
#: error code of a video whose making was stopped from outside
INTERRUPTED = "interrupted"


class Made(NamedTuple):
    """How making a video came to its end."""

    #: None if it was interrupted before there was a video
    video_id: str | None
    #: seconds that starting Ray took, and all of it
    ray_seconds: float
    wall_seconds: float


def make(request: VideoRequest, settings: Settings, journal: Journal, console: Console) -> Made:
    """Make a video and show how it comes about.

    Raises:
        RayUnavailable: There is no Ray to make it with.
    """
    began, ray_seconds, video_id = time.monotonic(), 0.0, None
    try:
        with _waiting(console, "Starting Ray, which takes some seconds ..."):
            start_ray(settings)
        ray_seconds = time.monotonic() - began
        video_id = asyncio.run(_make(request, settings, journal, console))
    except KeyboardInterrupt:
        pass  # before there was a video
    finally:
        wall_seconds = time.monotonic() - began
        _stop_ray()
    return Made(video_id, ray_seconds, wall_seconds)


def start_ray(settings: Settings) -> None:
    """Connect to the cluster of the settings, or start Ray on this machine.

    Raises:
        RayUnavailable: It does not work.
    """
    import ray

    local = settings.ray_address == "local"
    try:
        _check_reachable(settings.ray_address)
        ray.init(
            address=settings.ray_address,
            num_cpus=os.cpu_count() if local else None,
            include_dashboard=False if local else None,
            log_to_driver=False,
            logging_level=logging.CRITICAL,
        )
    except (OSError, RuntimeError, ValueError) as error:
        where = (
            "Ray cannot be started" if local else f"The Ray cluster {settings.ray_address} cannot be reached"
        )
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise RayUnavailable(f"{where}: {reason}") from error


def _check_reachable(address: str) -> None:
    """Fail at once where nobody listens: Ray itself would go on trying for many minutes."""
    host, separator, port = address.rpartition(":")
    if separator and host and "/" not in host and port.isdecimal():
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()


def _stop_ray() -> None:
    import ray

    _ignore_signals()
    ray.shutdown()


def _ignore_signals() -> None:
    """Whoever presses Ctrl-C again must not tear the clean-up apart."""
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def _make(request: VideoRequest, settings: Settings, journal: Journal, console: Console) -> str | None:
    from raypipe.coordinator import Coordinator

    coordinator = Coordinator(settings)
    stopping = _cancelled_by_signals()
    try:
        video_id = await coordinator.submit(request)
        with watching(console, journal, video_id):
            try:
                await coordinator.wait(video_id)
            finally:
                _end_unfinished(journal, coordinator.owner)
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    finally:
        await _close(coordinator)
    return _end_unfinished(journal, coordinator.owner)


def _cancelled_by_signals() -> asyncio.Event:
    """Have Ctrl-C and its like cancel the current task once; the event says that they did.

    These are plain signal handlers: the event loop's own give way to Python's default when they are removed, and a
    second Ctrl-C at that moment would tear the clean-up apart.
    """
    loop, task, stopping = asyncio.get_running_loop(), asyncio.current_task(), asyncio.Event()

    def stop() -> None:
        stopping.set()
        if task is not None:
            task.cancel()

    def handle(_number: int, _frame: object) -> None:
        _ignore_signals()
        loop.call_soon_threadsafe(stop)

    for number in _STOP_SIGNALS:
        signal.signal(number, handle)
    return stopping


async def _close(coordinator: object) -> None:
    try:
        await asyncio.wait_for(coordinator.close(), _CLOSE_SECONDS)  # type: ignore[attr-defined]
    except TimeoutError:
        logging.getLogger(__name__).warning("The coordinator did not close in time")


def _end_unfinished(journal: Journal, owner: str) -> str | None:
    """Find the video of this process; if it is not over, its row says from now on that it was interrupted."""
    video = next((each for each in journal.videos(limit=10) if each.lease_owner == owner), None)
    if video is None:
        return None
    if video.state.terminal:
        return video.id
    said = "interrupted; what was finished is kept"
    cost = sum(step.cost for step in journal.steps(video.id))
    finish = journal.finish(
        video.id, VideoState.CANCELLED, cost=cost, error_code=INTERRUPTED, error_message=said
    )
    ended = Event(video_id=video.id, kind="video.cancelled", data={"error": said})
    journal.record(finish, journal.event(ended)).result(timeout=5)
    return video.id


@contextmanager
def _waiting(console: Console, message: str) -> Iterator[None]:
    if not live(console):
        say(console, message)
        yield
        return
    with console.status(message):
        yield
