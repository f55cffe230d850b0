"""The coordinator: takes accepted videos from the journal and runs them, as many at once as it may."""

import asyncio
import logging
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import JournalUnavailable, RaypipeError, VideoNotReady, WorkerLost
from raypipe.gateway import Gateway, rehearse, relax_garbage_collection
from raypipe.intake import accept
from raypipe.journal import Journal, Recorder, VideoRecord
from raypipe.models import VideoRequest, VideoState
from raypipe.video_run import VideoRun
from raypipe.workers import Helpers, error_of

logger = logging.getLogger(__name__)

#: seconds between looks for queued videos, when nobody says that there is one
LOOK_INTERVAL = 0.5
#: seconds within which a gateway that lives answers
ANSWER_SECONDS = 10.0
#: seconds that a dead gateway may take to start again, and between the questions whether it has
RESTART_SECONDS, ASK_INTERVAL = 30.0, 1.0
#: seconds that a gateway gets to finish what it is writing, before it is killed
STOP_SECONDS = 2.0
#: calls that may wait on the gateway at once
GATEWAY_CALLS = 20_000


class Coordinator:
    """Runs videos in the process it lives in, which owns their refs. Needs a running Ray.

    Up to `settings.active_videos` run at once: each is a coroutine that waits for refs. Those beyond wait as rows.
    """

    def __init__(self, settings: Settings, helpers: int | None = None) -> None:
        """Open the journal and start the gateway and its helpers: so many, or as many as suit the cluster.

        Raises:
            JournalUnavailable: The journal cannot be opened.
            ArtifactStoreUnavailable: There can be no such store.
        """
        relax_garbage_collection()
        self.settings = settings
        self.journal = Journal(settings.journal_url)
        self.recorder = Recorder(self.journal)
        self.store = ArtifactStore(settings.artifacts_url)
        self.owner = f"{socket.gethostname()[:40]}/{os.getpid()}/{secrets.token_hex(4)}"
        self.helpers = Helpers.named(helpers)
        # the gateway first: nothing is made before it is there
        self.gateway = start_gateway(settings, self.helpers)
        self.helpers.start()
        self._runs: dict[str, tuple[VideoRun, asyncio.Task[VideoState]]] = {}
        self._ends: dict[str, asyncio.Future[VideoState]] = {}
        self._active = 0
        self._claiming = asyncio.Lock()
        self._background: set[asyncio.Task[Any]] = set()
        self._poked = asyncio.Event()
        self._own_claim: asyncio.Task[None] | None = None
        self._health_check: asyncio.Task[None] | None = None
        self._checked_at = 0.0
        self._closing = False
        self._claim_problem = ""

    async def ready(self, renders: bool = True) -> None:
        """Return when the gateway takes calls and helpers and, for renders, workers have loaded what they need.

        Raises:
            JournalUnavailable: The gateway cannot open the journal.
            ArtifactStoreUnavailable: There can be no such store.
        """
        await self.gateway.ready.remote()
        cpus = int(ray.cluster_resources().get("CPU", 1))
        warming = (_warm.remote() for _ in range(cpus if renders else 0))
        await asyncio.gather(self.helpers.ready(rehearse), *warming)

    async def check(self) -> None:
        """Return if the gateway answers.

        Raises:
            TimeoutError: It does not answer in time.
            RayError: Its process is gone, or it cannot open the journal or the artifact store.
        """
        async with asyncio.timeout(ANSWER_SECONDS):
            await self.gateway.ready.remote()

    async def submit(self, request: VideoRequest) -> str:
        """Accept a video and return its id at once; it starts now, or when fewer than `active_videos` run.

        Raises:
            InvalidRequest: The request cannot be made into a video; nothing is left behind.
        """
        # whoever stops waiting for the answer does not leave half a video behind
        accepting = asyncio.create_task(self._accept(request))
        self._background.add(accepting)
        accepting.add_done_callback(self._background.discard)
        return await asyncio.shield(accepting)

    async def _accept(self, request: VideoRequest) -> str:
        free = self._active < self.settings.active_videos
        self._active += free
        try:
            video, writes = await asyncio.to_thread(
                accept, request, self.settings, self.journal, self.store, self.owner, free
            )
            await self.recorder.record(*writes)
        except BaseException:
            self._active -= free
            self._claim_own()
            raise
        self._ends[video.id] = asyncio.get_running_loop().create_future()
        if free:
            self._start(video)
        else:
            self._claim_own()
        return video.id

    async def wait(self, video_id: str) -> VideoState:
        """Wait for the end of a video that was submitted or claimed here; of any other, return how it stands.

        Whoever stops waiting stops nothing else.

        Raises:
            VideoNotFound: There is no such video.
            JournalUnavailable: Its end could not be written.
        """
        ended = self._ends.get(video_id)
        return await asyncio.shield(ended) if ended is not None else self.journal.video(video_id).state

    async def save(self, video_id: str, path: str | Path, replace: bool = False) -> Path:
        """Write a finished video's MP4 to a file, which is there whole or not at all.

        Raises:
            VideoNotFound: There is no such video.
            VideoNotReady: It has no film, or none yet.
            FileNotWritten: There is no room or no permission, or the file is there and `replace` is false.
        """
        video = await asyncio.to_thread(self.journal.video, video_id)
        if video.result is None:
            reason = f": {video.error_message}" if video.error_message else ""
            raise VideoNotReady(f"Video {video_id} is {video.state}, there is no film of it{reason}")
        await asyncio.to_thread(self.store.export, video.result, Path(path), replace)
        return Path(path)

    async def serve(self) -> None:
        """Claim and run whatever is queued, up to the number of active videos, until cancelled."""
        while True:
            if not await self._claim():
                await self._wait_for_work()

    def poke(self) -> None:
        """Say that a video may be queued, so that it need not wait for the next look."""
        self._poked.set()

    async def close(self) -> None:
        """Stop running videos where they stand, and say so in the journal; what is finished is kept."""
        self._closing = True
        await asyncio.gather(*self._background, return_exceptions=True)
        running = list(self._runs.values())
        waiting = self._ends.keys() - self._runs.keys()
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)
        await self._stop_gateway()
        self.helpers.kill()
        stopped = {run.video.id: run for run, task in running if task.cancelled()}
        stopped |= {run.video.id: run for run in map(self._never_begun, waiting) if run is not None}
        ends = await asyncio.gather(*(run.interrupt() for run in stopped.values()), return_exceptions=True)
        for video_id, state in zip(stopped, ends, strict=True):
            if isinstance(state, BaseException):
                logger.error("The end of video %s could not be written: %s", video_id, state)
                state = VideoState.CANCELLED
            self._ends.pop(video_id).set_result(state)
        self.journal.close()

    async def _stop_gateway(self) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.gateway.stop.remote()
        except (RayError, TimeoutError) as error:
            logger.info("The gateway did not stop by itself and is killed: %s", error)
        ray.kill(self.gateway)

    def _never_begun(self, video_id: str) -> VideoRun | None:
        try:
            return self._run_of(self.journal.video(video_id))
        except RaypipeError as error:
            logger.error("Video %s cannot be read: %s", video_id, error)
            self._ends.pop(video_id).set_result(VideoState.CANCELLED)
            return None

    async def _claim(self, own_only: bool = False) -> bool:
        async with self._claiming:
            free = self.settings.active_videos - self._active
            if free <= 0 or self._closing:
                return False
            try:
                claimed = await asyncio.wrap_future(self.journal.claim(self.owner, free, own_only))
            except JournalUnavailable as error:
                if str(error) != self._claim_problem:
                    logger.warning("No videos can be claimed for now: %s", error)
                self._claim_problem = str(error)
                return False
            self._claim_problem = ""
            if self._closing:  # meanwhile: nobody would make them
                ends = (self._run_of(video).interrupt() for video in claimed)
                await asyncio.gather(*ends, return_exceptions=True)
                return False
            self._active += len(claimed)
            for video in claimed:
                self._start(video)
            return bool(claimed)

    def _claim_own(self) -> None:
        """See to it that videos of our own that wait for a place get one that is free."""
        nobody_waits = not self._ends.keys() - self._runs.keys()
        if nobody_waits or self._closing:
            return
        if self._own_claim is None or self._own_claim.done():
            self._own_claim = asyncio.create_task(self._until_own_are_claimed())
            self._background.add(self._own_claim)
            self._own_claim.add_done_callback(self._background.discard)

    async def _until_own_are_claimed(self) -> None:
        while self._ends.keys() - self._runs.keys() and self._active < self.settings.active_videos:
            if self._closing:
                return
            if not await self._claim(own_only=True):
                await asyncio.sleep(LOOK_INTERVAL)

    async def _wait_for_work(self) -> None:
        try:
            await asyncio.wait_for(self._poked.wait(), LOOK_INTERVAL)
        except TimeoutError:
            return
        self._poked.clear()

    def _start(self, video: VideoRecord) -> None:
        run = self._run_of(video)
        task = asyncio.create_task(run.run(self._gateway_up), name=video.id)
        self._runs[video.id] = run, task
        self._ends.setdefault(video.id, asyncio.get_running_loop().create_future())
        task.add_done_callback(self._ended)

    def _run_of(self, video: VideoRecord) -> VideoRun:
        return VideoRun(self.journal, self.recorder, self.gateway, self.helpers, video)

    async def _gateway_up(self) -> None:
        """Wait for the gateway, should it just be starting again; it is asked once a second at most."""
        now = time.monotonic()
        if self._health_check is None or (
            self._health_check.done() and now - self._checked_at > ASK_INTERVAL
        ):
            self._checked_at = now
            self._health_check = asyncio.create_task(self._until_it_answers())
        await asyncio.shield(self._health_check)

    async def _until_it_answers(self) -> None:
        deadline = time.monotonic() + RESTART_SECONDS
        while True:
            try:
                return await self.check()
            except (RayError, TimeoutError) as error:
                if isinstance(error, RayTaskError):  # it does answer, and says what keeps it from working
                    raise error_of(error) from error
                if time.monotonic() > deadline:
                    raise WorkerLost(f"the gateway does not answer: {error}") from error
                await asyncio.sleep(ASK_INTERVAL / 4)

    def _ended(self, task: asyncio.Task[VideoState]) -> None:
        video_id = task.get_name()
        del self._runs[video_id]
        self._active -= 1
        if not task.cancelled():  # else `close` writes its end
            _resolve(self._ends.pop(video_id), task)
        self._claim_own()


def _resolve(end: asyncio.Future[VideoState], task: asyncio.Task[VideoState]) -> None:
    if (error := task.exception()) is not None:
        logger.error("The end of video %s could not be written: %s", task.get_name(), error)
        end.set_exception(error)
        end.exception()  # it is logged: nobody has to wait for it
    else:
        end.set_result(task.result())


def start_gateway(settings: Settings, helpers: Helpers) -> Any:
    """Start a gateway on this node, where the journal is; Ray starts it again when its process dies.

    Calls it was working on then fail: sent again they could pay twice.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "max_concurrency": GATEWAY_CALLS, "max_restarts": -1, "max_task_retries": 0}
    return ray.remote(Gateway).options(**options, scheduling_strategy=here).remote(settings, helpers)


@ray.remote
def _warm() -> None:
    """Load what renders import, so that the first of them need not."""
    import raypipe.media.video
    import raypipe.providers.local  # noqa: F401
