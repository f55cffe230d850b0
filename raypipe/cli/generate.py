"""Making one video in this process: start Ray, run a coordinator, watch, and stop cleanly."""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from rich.console import Console

from raypipe.cli.connection import RayConnection
from raypipe.cli.watch import live, say, watching
from raypipe.config import Settings
from raypipe.errors import JournalUnavailable, VideoBusy, VideoOver
from raypipe.journal import LEASE_SECONDS, Journal
from raypipe.models import VideoRequest

if TYPE_CHECKING:
    from raypipe.coordinator import Coordinator

_CLOSE_SECONDS = 8.0
#: seconds within which this process ends once it is asked to
_STOP_SECONDS = 20.0
_LOOK_SECONDS = 0.5

#: has a coordinator make a video, and gives its id
Begin = Callable[["Coordinator"], Awaitable[str]]

logger = logging.getLogger(__name__)


class Outcome(NamedTuple):
    """How making a video came to its end."""

    #: None if it was stopped before there was a video
    video_id: str | None
    #: the signal that stopped it
    stopped_by: int | None
    #: seconds that starting Ray took, and all of it
    ray_seconds: float
    wall_seconds: float


class StopRequest:
    """Whether a signal has asked this process to stop. Only the first counts: no second one tears the clean-up apart.

    A signal that is ignored already, as `nohup` has SIGHUP ignored, stays ignored.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._then: Callable[[], object] | None = None
        self._most = 0.0
        self._watchdog: threading.Timer | None = None
        numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        found = {number: signal.getsignal(number) for number in numbers}
        self._before = {number: handler for number, handler in found.items() if handler is not signal.SIG_IGN}

    def __enter__(self) -> "StopRequest":
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back: what comes after is stopped as any program is, unless it was asked to stop already."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler if self.signal is None else signal.SIG_IGN)

    def listen(self) -> None:
        """Take the signals; again once Ray has started, for it takes SIGTERM away."""
        for number in self._before:
            signal.signal(number, self._handle)

    def end_within(self, seconds: float) -> None:
        """Have this process end so many seconds after the request, whatever hangs: Ray may have died before it."""
        self._most = seconds
        if self.signal is not None:
            self._watch(self.signal)

    def _watch(self, number: int) -> None:
        self._watchdog = threading.Timer(self._most, _end_at_once, (number,))
        self._watchdog.daemon = True
        self._watchdog.start()

    def call(self, then: Callable[[], object] | None) -> None:
        """Have a function called when the request comes, at once if it has come; with None, nothing any more."""
        self._then = then
        if then is not None and self.signal is not None:
            then()

    def _handle(self, number: int, _frame: object) -> None:
        if self.signal is None:
            self.signal = number
            if self._most:
                self._watch(number)
            if self._then is not None:
                self._then()


def _end_at_once(number: int) -> None:
    """End this process: what is finished is in the journal, and `resume` goes on with the video."""
    said = "Ray does not answer any more, so this ends here. What was finished is kept: raypipe resume last goes on.\n"
    os.write(2, said.encode())
    os._exit(128 + number)


def make(begin: Begin, settings: Settings, journal: Journal, console: Console) -> Outcome:
    """Make a video and show how it comes about.

    Args:
        begin: Has a coordinator make it, and gives its id: `submitting`, `resuming` or `going_on`.
        settings: Where everything is.
        journal: To watch it in.
        console: Where to show it.

    Raises:
        RayUnavailable: There is no Ray to make it with.
    """
    began, video_id = time.monotonic(), None
    with StopRequest() as stop:
        connection = RayConnection(settings, stop)
        try:
            with _waiting(console, "Starting Ray, which takes some seconds ..."):
                connection.start()
            stop.end_within(_STOP_SECONDS)
            ray_seconds = time.monotonic() - began
            if stop.signal is None:
                video_id = asyncio.run(_make(begin, settings, journal, console, stop))
        finally:
            stop.call(None)  # the loop is gone
            wall_seconds = time.monotonic() - began
            connection.stop()
    return Outcome(video_id, stop.signal, ray_seconds, wall_seconds)


def submitting(request: VideoRequest) -> Begin:
    """Begin with a new video."""
    return lambda coordinator: coordinator.submit(request)


def resuming(video_id: str, console: Console) -> Begin:
    """Begin where another process left a video; one that was killed is waited for until its lease runs out."""

    async def begin(coordinator: "Coordinator") -> str:
        gone_at, waited = time.monotonic() + LEASE_SECONDS + 1, False
        while not await _resumed(coordinator, video_id, waited):
            if not waited:
                say(
                    console,
                    f"Another process has it; waiting {LEASE_SECONDS:g} s to see whether it is gone ...",
                )
            if time.monotonic() > gone_at:
                raise VideoBusy(f"Video {video_id} is being made by another process.")
            waited = True
            await asyncio.sleep(_LOOK_SECONDS)
        return video_id

    return begin


async def _resumed(coordinator: "Coordinator", video_id: str, waited: bool) -> bool:
    """Tell whether a video could be taken, or was ended by another process while it was waited for."""
    try:
        await coordinator.resume(video_id)
    except VideoBusy:
        return False
    except VideoOver:
        if not waited:
            raise
    return True


def going_on(video_id: str, change: Callable[["Coordinator"], Awaitable[None]]) -> Begin:
    """Begin with having a coordinator take up a video that nobody makes."""

    async def begin(coordinator: "Coordinator") -> str:
        await change(coordinator)
        return video_id

    return begin


async def _make(
    begin: Begin, settings: Settings, journal: Journal, console: Console, stop: StopRequest
) -> str | None:
    from raypipe.coordinator import Coordinator

    began = time.time()
    coordinator = Coordinator(settings, helpers=1)  # one video needs no more
    # what the first steps need is loaded while the video is planned and its first steps run
    warming = asyncio.create_task(coordinator.ready(renders=False, every=False))
    beginning = asyncio.ensure_future(begin(coordinator))

    async def made() -> None:
        video_id = await asyncio.shield(beginning)
        with watching(console, journal, video_id, began):
            try:
                await coordinator.wait(video_id)
            except JournalUnavailable as error:
                raise JournalUnavailable(
                    f"{error}. The video goes no further; what was finished is kept, and this goes on with it: "
                    f"raypipe resume {video_id[:16]}"
                ) from error
            finally:
                await _close(coordinator, warming, settings)

    # a signal cancels this task alone, and so never the closing below
    making, loop = asyncio.create_task(made()), asyncio.get_running_loop()
    stop.call(lambda: loop.call_soon_threadsafe(making.cancel))
    try:
        await making
    except asyncio.CancelledError:
        if stop.signal is None:
            raise
    finally:
        await _close(coordinator, warming, settings)
        stop.call(None)
    return beginning.result() if _succeeded(beginning) else None


def _succeeded(task: "asyncio.Future[str]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _close(coordinator: "Coordinator", warming: asyncio.Task[None], settings: Settings) -> None:
    warming.cancel()
    await asyncio.gather(warming, return_exceptions=True)
    try:
        await asyncio.wait_for(coordinator.close(settings.ray_address == "local"), _CLOSE_SECONDS)
    except TimeoutError:
        logger.warning("The coordinator did not close in time")


@contextmanager
def _waiting(console: Console, message: str) -> Iterator[None]:
    if not live(console):
        say(console, message)
        yield
        return
    with console.status(message):
        yield
