"""Sees to it that nothing which an ended video has left under way is forgotten."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from ray.exceptions import RayError

from raypipe.errors import RaypipeError, VideoNotFound
from raypipe.gateways import Gateways
from raypipe.journal import Journal, VideoRecord
from raypipe.models import Job, VideoState
from raypipe.pipeline import works_of
from raypipe.providers.base import Work

logger = logging.getLogger(__name__)

#: seconds between two looks for what other coordinators have left
LEFT_STEPS_LOOK_SECONDS = 600.0
#: seconds before a video's steps are asked for again: at first, at most
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
#: videos whose steps are asked for at once
VIDEOS_AT_ONCE = 8
#: ends after which jobs that are under way are not wanted any more; of other ends a retry fetches what they make
_UNWANTED = (VideoState.CANCELLED, VideoState.COMPLETED)


class _Turn(NamedTuple):
    at: float
    pause: float


class Settling:
    """Has gateways ask what became of steps that ended videos have left under way, until it is known of each."""

    def __init__(self, journal: Journal, gateways: Callable[[], Awaitable[Gateways]]) -> None:
        self._journal, self._gateways = journal, gateways
        #: when each video is asked for next
        self._turns: dict[str, _Turn] = {}
        self._added = asyncio.Event()

    def add(self, video_id: str) -> None:
        """Say that a video has ended, and may have left steps under way."""
        self._turns.setdefault(video_id, _Turn(time.monotonic(), FIRST_PAUSE_SECONDS))
        self._added.set()

    async def run(self) -> None:
        """Settle what is left, and what is added, until cancelled."""
        look_at = time.monotonic()
        while True:
            if time.monotonic() >= look_at:
                await self._look()
                look_at = time.monotonic() + LEFT_STEPS_LOOK_SECONDS
            due = [video_id for video_id, turn in self._turns.items() if turn.at <= time.monotonic()]
            await asyncio.gather(*map(self._settle, due[:VIDEOS_AT_ONCE]))
            await self._wait(min([look_at, *(turn.at for turn in self._turns.values())]))

    async def _wait(self, until: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - time.monotonic())):
                await self._added.wait()
        self._added.clear()

    async def _look(self) -> None:
        try:
            for video_id in await asyncio.to_thread(self._journal.left_videos):
                self.add(video_id)
        except RaypipeError as error:
            logger.warning("What ended videos have left under way cannot be read for now: %s", error)

    async def _settle(self, video_id: str) -> None:
        try:
            left = await self._steps_left(video_id)
        except (RaypipeError, RayError) as error:
            logger.warning("What %s has left cannot be asked for now: %s", video_id, error)
            left = 1
        turn = self._turns.pop(video_id)
        if left:
            pause = min(2 * turn.pause, LONGEST_PAUSE_SECONDS)
            self._turns[video_id] = _Turn(time.monotonic() + turn.pause, pause)

    async def _steps_left(self, video_id: str) -> int:
        """Have a video's steps asked for once; returns how many are still under way."""
        try:
            video = await asyncio.to_thread(self._journal.video, video_id)
        except VideoNotFound:
            return 0
        if not video.state.terminal:
            return 0
        gateway = (await self._gateways()).of(video_id)
        job = Job.of(video_id, video.spec, video.epoch)
        left: int = await gateway.settle.remote(job, _works(job, video), video.state in _UNWANTED)
        return left


def _works(job: Job, video: VideoRecord) -> list[Work]:
    try:
        return works_of(job, video.spec)
    except RaypipeError as error:
        logger.warning("Models of %s are not known any more: %s", video.id, error)
        return []
