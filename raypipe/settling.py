"""Sees to it that nothing which an ended video has left under way is forgotten."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

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
#: videos whose steps are asked for at once; a provider that hangs keeps its places for minutes
VIDEOS_AT_ONCE = 32
#: ends after which jobs that are under way are not wanted any more; of other ends a retry fetches what they make
_UNWANTED = (VideoState.CANCELLED, VideoState.COMPLETED)


class Settling:
    """Has gateways ask what became of steps that ended videos have left under way, until it is known of each."""

    def __init__(self, journal: Journal, gateways: Callable[[], Awaitable[Gateways]]) -> None:
        self._journal, self._gateways = journal, gateways
        #: of each video that is asked for
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(VIDEOS_AT_ONCE)
        self._ended = False

    def add(self, video_id: str) -> None:
        """Say that a video has ended, and may have left steps under way."""
        if video_id not in self._tasks and not self._ended:
            task = self._tasks[video_id] = asyncio.create_task(self._settle(video_id))
            task.add_done_callback(lambda _: self._tasks.pop(video_id))

    async def run(self) -> None:
        """Settle what others have left, beside what is added, until cancelled."""
        try:
            while True:
                await self._look()
                await asyncio.sleep(LEFT_STEPS_LOOK_SECONDS)
        finally:
            self._ended = True
            for task in list(self._tasks.values()):
                task.cancel()

    async def _look(self) -> None:
        try:
            for video_id in await asyncio.to_thread(self._journal.left_videos):
                self.add(video_id)
        except RaypipeError as error:
            logger.warning("What ended videos have left under way cannot be read for now: %s", error)

    async def _settle(self, video_id: str) -> None:
        """Have a video's steps asked for, with growing pauses, until none is under way."""
        pause = FIRST_PAUSE_SECONDS
        while await self._is_left(video_id):
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _is_left(self, video_id: str) -> bool:
        async with self._places:
            try:
                return await self._steps_left(video_id) > 0
            except (RaypipeError, RayError) as error:
                logger.warning("What %s has left cannot be asked for now: %s", video_id, error)
            except Exception:  # one video that nobody foresaw is no reason to forget the others
                logger.exception("What %s has left cannot be asked for now", video_id)
        return True

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
