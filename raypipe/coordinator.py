"""The coordinator: takes accepted videos from the journal and runs them, as many at once as it may."""

import asyncio
import logging
import secrets
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import JournalUnavailable, LeaseLost, RaypipeError, VideoBusy, VideoNotReady
from raypipe.gateway import relax_garbage_collection
from raypipe.gateways import GATEWAYS, Gateways
from raypipe.intake import accept, edit
from raypipe.journal import LEASE_SECONDS, LOCAL, SERVICE, Fence, Journal, Owner, VideoRecord
from raypipe.metrics import ServiceMetrics
from raypipe.models import BeatEdit, VideoRequest, VideoState
from raypipe.settling import Settling
from raypipe.video_run import VideoRun

logger = logging.getLogger(__name__)

#: seconds between looks for videos to take, when nobody says that there is one
LOOK_INTERVAL = 0.5
#: seconds after which a journal that cannot be written stops a local coordinator; a service waits for it
JOURNAL_SECONDS = 20.0
#: seconds after which a coordinator is taken to have survived a video over which others have died
SURVIVED_SECONDS = 1.0


class Coordinator:
    """Runs videos in the process it lives in, which owns their refs. Needs a running Ray.

    Up to `settings.active_videos` run at once: each is a coroutine that waits for refs. Those beyond wait as rows. Any
    number of coordinators share one journal: each holds a lease, and takes over the videos of one whose lease ran out.
    """

    def __init__(self, settings: Settings, runner: str = LOCAL, helpers: int | None = None) -> None:
        """Open the journal.

        Args:
            settings: Where the journal and the artifacts are, and what is allowed.
            runner: Which kind of coordinator this is: it takes videos of its kind alone.
            helpers: How many helpers to start if there are none; None for as many as suit the cluster.

        Raises:
            JournalUnavailable: The journal cannot be opened.
            ArtifactStoreUnavailable: There can be no such store.
        """
        relax_garbage_collection()
        self.settings = settings
        self.journal = Journal(settings.journal_url)
        self.store = ArtifactStore(settings.artifacts_url)
        self.owner = _new_owner(runner)
        self._number_of_helpers = helpers
        self._runs: dict[str, tuple[VideoRun, asyncio.Task[VideoState]]] = {}
        #: ends of the videos that run here, and of those submitted here that wait for a place
        self._ends: dict[str, asyncio.Future[VideoState]] = {}
        self._active = 0
        self._poked = asyncio.Event()
        self._serving = self._closed = False
        self._submitting: set[asyncio.Task[str]] = set()
        self._taking: asyncio.Task[None] | None = None
        self._lease: asyncio.Task[None] | None = None
        self._held: asyncio.Future[None] | None = None
        self._gateways: asyncio.Task[Gateways] | None = None
        self._background: list[asyncio.Task[Any]] = []
        #: videos over which coordinators have died, and when they were taken
        self._suspects: dict[str, float] = {}
        self._metrics = ServiceMetrics()
        self._settling = Settling(self.journal, self.gateways)

    async def ready(self, renders: bool = True, every: bool = True) -> None:
        """Return when gateways and helpers and, for renders, workers have loaded what they need.

        Args:
            renders: Whether workers for renders are to be ready too.
            every: Whether all gateways are, or only those that have something to do already.

        Raises:
            JournalUnavailable: A gateway cannot open the journal.
            ArtifactStoreUnavailable: There can be no such store.
        """
        gateways = await self.gateways()
        cpus = int(ray.cluster_resources().get("CPU", 1))
        warming = (_warm.remote() for _ in range(cpus if renders else 0))
        await asyncio.gather(gateways.ready(every), *warming)

    async def gateways(self) -> Gateways:
        """Return the gateways of the installation, once this coordinator holds a lease: then nobody ends them."""
        if self._gateways is None or _has_failed(self._gateways):
            self._gateways = asyncio.create_task(self._find_gateways())
        return await asyncio.shield(self._gateways)

    async def _find_gateways(self) -> Gateways:
        await self._hold_lease()
        cpus = int(ray.cluster_resources().get("CPU", 1))
        wanted = self.settings.gateways or min(GATEWAYS, max(1, cpus))
        installation, number = await self.journal.installation(wanted)
        found = Gateways(self.settings, installation, number, self._number_of_helpers)
        self._background += [
            asyncio.create_task(task) for task in (found.retire_older(), self._settling.run())
        ]
        return found

    async def check(self) -> None:
        """Return if the gateways answer or are being started; one that is silent is started again.

        Raises:
            GatewaySilent: One does not answer in time.
            RayError: The process of one is gone for good.
        """
        if self._gateways is not None and self._gateways.done():
            await (await self.gateways()).check()

    async def why_not_ready(self, seconds: float) -> str | None:
        """Say why no videos are made at the moment, after so many seconds at most; None if they are."""
        if self._gateways is None or not self._gateways.done():
            return "the coordinator is being started"
        try:
            async with asyncio.timeout(seconds):
                return await (await self.gateways()).why_not_ready(seconds / 2)
        except TimeoutError:
            return f"the coordinator has found no gateways within {seconds:g} s"
        except (RayError, RaypipeError) as error:
            return str(error).partition("\n")[0]

    async def submit(self, request: VideoRequest) -> str:
        """Accept a video and return its id at once; it starts now, or when fewer than `active_videos` run.

        Raises:
            InvalidRequest: The request cannot be made into a video; nothing is left behind.
        """
        # whoever stops waiting for the answer does not leave half a video behind
        submitting = asyncio.create_task(self._accept(request))
        self._submitting.add(submitting)
        submitting.add_done_callback(self._submitting.discard)
        return await asyncio.shield(submitting)

    async def _accept(self, request: VideoRequest) -> str:
        await self._hold_lease()
        free = self._active < self.settings.active_videos and not self._waiting_own
        self._active += free
        try:
            video, writes = await asyncio.to_thread(
                accept, request, self.settings, self.journal, self.store, self.owner, free
            )
            await self.journal.accept(video, writes, self.settings.daily_budget)
        except BaseException:
            self._active -= free
            self.poke()
            raise
        self._ends[video.id] = asyncio.get_running_loop().create_future()
        if free:
            self._start(video)
        else:
            self._take_videos()
        return video.id

    async def resume(self, video_id: str) -> None:
        """Go on with a video that is not over and that nobody makes: what is done is not done again.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It has ended.
            VideoBusy: A coordinator that lives has it; one that was killed counts as living for `LEASE_SECONDS`.
        """
        await self._hold_lease_for(video_id)
        self._run_again(await self.journal.resume(self.owner, video_id))

    async def retry(self, video_id: str, resubmit: bool = False) -> None:
        """Try the failed steps of a video again that ended as failed or partial; what is done is not done again.

        Args:
            video_id: Which.
            resubmit: Whether to send what a provider did not answer again, which may pay it twice.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: No step of it failed that may be tried again, or it has not ended.
        """
        await self._hold_lease_for(video_id)
        self._run_again(await self.journal.retry(self.owner, video_id, resubmit))

    async def continue_(self, video_id: str, budget: float | None = None) -> None:
        """Have the rest of a video made that waits; a storyboard that waits for approval is approved by that.

        Args:
            video_id: Which.
            budget: US dollars that it may cost from now on; None leaves that as it is.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It does not wait.
            VideoBusy: A coordinator that lives has it.
            InvalidRequest: The budget is none, or the video was begun without one.
            OverBudget: The budget has no room for what is to come.
        """
        await self._hold_lease_for(video_id)
        self._run_again(await self.journal.continue_(self.owner, video_id, budget=budget))

    async def edit(self, video_id: str, beat_index: int, change: BeatEdit) -> None:
        """Make a beat anew, changed, or go back to an earlier take; and so all that depends on it.

        What was made before is kept, so that going back to it makes and costs nothing.

        Raises:
            VideoNotFound: There is no such video.
            BeatNotFound: It has no such beat.
            InvalidRequest: The beat has no such take, the picture is unusable, or the budget has no room for it.
            VideoBusy: The video is being made.
        """
        await self._hold_lease_for(video_id)
        settings, journal, store = self.settings, self.journal, self.store
        self._run_again(await edit(self.owner, video_id, beat_index, change, settings, journal, store))

    async def allow_missing(self, video_id: str) -> None:
        """Make a film of the beats that a video has, which ended without some; what failed is not tried again.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It has not ended so.
            VideoBusy: A coordinator that lives has it.
        """
        await self._hold_lease_for(video_id)
        self._run_again(await self.journal.allow_missing(self.owner, video_id))

    async def cancel(self, video_id: str) -> None:
        """Cancel a video that is not over: nothing more is sent for it, what is finished is kept.

        Its end is written when its jobs at providers are cancelled; `wait` waits for that.

        Raises:
            VideoNotFound: There is no such video.
            VideoOver: It has ended.
        """
        await self._hold_lease()
        if (await self.journal.cancel(video_id)).terminal:
            self._lose(video_id)
        else:
            await self._take_cancelling([video_id])

    async def _take_cancelling(self, video_ids: list[str] | None) -> None:
        """Cancel videos that somebody has said are to be: those, or all of this kind."""
        for video in await self.journal.take_cancelling(self.owner, video_ids):
            if video.id in self._runs:
                await _cancel([self._runs[video.id][1]])
                await asyncio.sleep(0)  # its end is noted
            self._active += 1
            self._start(video)

    async def _hold_lease_for(self, video_id: str) -> None:
        if video_id in self._ends:
            raise VideoBusy(f"Video {video_id} is being made here.")
        await self._hold_lease()

    def _run_again(self, video: VideoRecord) -> None:
        self._active += 1
        self._start(video)

    async def wait(self, video_id: str) -> VideoState:
        """Wait for the end of a video that was submitted or taken here; of any other, return how it stands.

        Whoever stops waiting stops nothing else.

        Raises:
            VideoNotFound: There is no such video.
            JournalUnavailable: Its end could not be written.
        """
        ended = self._ends.get(video_id)
        if ended is not None:
            try:
                return await asyncio.shield(ended)
            except LeaseLost:
                return await self._wait_for_others(video_id)
        return (await asyncio.to_thread(self.journal.video, video_id)).state

    async def _wait_for_others(self, video_id: str) -> VideoState:
        """Wait for the end of a video that another coordinator makes."""
        while True:
            state = (await asyncio.to_thread(self.journal.video, video_id)).state
            if state not in (VideoState.QUEUED, VideoState.RUNNING, VideoState.CANCELLING):
                return state
            await asyncio.sleep(LOOK_INTERVAL)

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
        """Take and run whatever is queued or was left, up to the number of active videos, until cancelled."""
        self._serving = True
        self._take_videos()
        assert self._taking is not None  # noqa: S101 - the call before has started it
        await self._taking

    def poke(self) -> None:
        """Say that a video may be queued, so that it need not wait for the next look."""
        self._poked.set()

    async def close(self, ends_cluster: bool = False) -> None:
        """Stop running videos where they stand, and give up the lease; what is finished is kept.

        A service's videos are queued for the next service, others wait for `resume`. The last coordinator of an
        installation ends the gateways.

        Args:
            ends_cluster: Whether the Ray cluster ends next, and its gateways with it, whoever else there is elsewhere.
        """
        if self._closed:
            return
        self._closed = True
        self._fail_held(JournalUnavailable("The coordinator is closed."))
        await asyncio.gather(*self._submitting, return_exceptions=True)
        runs = [run for run, _ in self._runs.values()]
        tasks = [self._taking, *self._background, *(task for _, task in self._runs.values())]
        await _cancel([task for task in tasks if task is not None])
        await self._put_back(runs)
        await self._release(ends_cluster)
        self.journal.close()

    async def _put_back(self, stopped: list[VideoRun]) -> None:
        """Write of each video that has not ended here that nobody makes it any more."""
        state = VideoState.QUEUED if self.owner.runner == SERVICE else VideoState.WAITING
        left = {run.video.id: run.put_back(state) for run in stopped if run.video.id in self._ends}
        never_run = self._ends.keys() - left.keys()
        left |= {video_id: self._put_back_unrun(video_id, state) for video_id in never_run}
        found = await asyncio.gather(*left.values(), return_exceptions=True)
        for video_id, end in zip(left, found, strict=True):
            if isinstance(end, BaseException):
                logger.error("Video %s could not be put back: %s", video_id, end)
            self._ends.pop(video_id).set_result(state if isinstance(end, BaseException) else end)

    async def _put_back_unrun(self, video_id: str, state: VideoState) -> VideoState:
        await self.journal.writer.put(self.journal.put_back(video_id, state), fence=Fence(video_id, 0))
        return state

    async def _release(self, ends_cluster: bool) -> None:
        """Give up the lease, and end the gateways if no other coordinator needs them."""
        if self._lease is None:
            return
        await _cancel([self._lease])
        try:
            is_last = await self.journal.release(self.owner)
            if (is_last or ends_cluster) and self._gateways is not None:
                await (await self._gateways).end()
        except (RaypipeError, RayError) as error:
            logger.warning("The lease could not be given up, and runs out by itself: %s", error)

    async def _hold_lease(self) -> None:
        """Return when this coordinator holds a lease; it is renewed from then on."""
        if self._held is None or _has_failed(self._held):
            self._held = asyncio.get_running_loop().create_future()
            self._lease = asyncio.create_task(self._renew(self._held))
        await asyncio.shield(self._held)

    async def _renew(self, held: "asyncio.Future[None]") -> None:
        renewed = time.monotonic()
        while True:
            now = time.monotonic()
            survived = [each for each, since in self._suspects.items() if now - since > SURVIVED_SECONDS]
            try:
                await self._give_up_lost(await self.journal.renew(self.owner, survived, list(self._ends)))
            except JournalUnavailable as error:
                logger.warning("The lease could not be renewed: %s", error)
                if self.owner.runner == LOCAL and time.monotonic() - renewed > JOURNAL_SECONDS:
                    self._give_up(error)
                    renewed = time.monotonic()
            else:
                renewed = time.monotonic()
                for video_id in survived:
                    self._suspects.pop(video_id, None)
                if not held.done():
                    held.set_result(None)
            await asyncio.sleep(SURVIVED_SECONDS / 2 if self._suspects else LEASE_SECONDS / 4)

    async def _give_up_lost(self, video_ids: list[str]) -> None:
        """Stop running videos that others have taken over, or that are cancelled, and cancel those."""
        if not video_ids or self._closed:  # who closes gives all up, and writes that
            return
        for video_id in video_ids:
            self._lose(video_id)
        await self._take_cancelling(video_ids)

    def _lose(self, video_id: str) -> None:
        run, task = self._runs.get(video_id, (None, None))
        if run is not None and run.video.state is VideoState.CANCELLING:
            return  # it was taken here meanwhile, to be cancelled
        if video_id in self._ends:
            logger.warning("Video %s is no longer made here: it was taken over, or is cancelled", video_id)
            self._metrics.note_lost()
            if task is not None:
                task.cancel()
            end = self._ends.pop(video_id)
            end.set_exception(LeaseLost(video_id))
            end.exception()  # it is logged: nobody has to wait for it

    def _give_up(self, error: JournalUnavailable) -> None:
        """Stop everything: whoever waits in front of this should be told, and not wait for a journal for ever.

        The rows are left to a lease that runs out, and what is submitted next has another.
        """
        self._fail_held(error)
        self.owner = _new_owner(self.owner.runner)
        for _, task in self._runs.values():
            task.cancel()
        while self._ends:
            _, end = self._ends.popitem()
            end.set_exception(error)
            end.exception()  # it is logged: nobody has to wait for it

    def _fail_held(self, error: JournalUnavailable) -> None:
        if self._held is not None and not self._held.done():
            self._held.set_exception(error)
            self._held.exception()  # whoever waits for it gets it too

    @property
    def _waiting_own(self) -> bool:
        """Whether videos that were submitted here wait for a place."""
        return len(self._ends) > len(self._runs)

    def _take_videos(self) -> None:
        if self._taking is None:
            self._taking = asyncio.create_task(self._take())
        self.poke()

    async def _take(self) -> None:
        while True:
            if not await self._claim():
                await self._wait_for_work()

    async def _wait_for_work(self) -> None:
        looks = self._serving or self._waiting_own
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_INTERVAL if looks else None):
                await self._poked.wait()
        self._poked.clear()

    async def _claim(self) -> bool:
        if self._serving:
            with suppress(JournalUnavailable):  # it is asked again
                await self._take_cancelling(None)
        free = self.settings.active_videos - self._active
        if free <= 0:
            return False
        self._active += free  # nobody else may have these places meanwhile
        claimed: list[VideoRecord] = []
        try:
            claimed = await self.journal.claim(self.owner, free, own_only=not self._serving)
        except JournalUnavailable as error:
            logger.warning("No videos can be taken for now: %s", error)
        finally:
            self._active -= free - len(claimed)
        for video in claimed:
            self._start(video)
        return bool(claimed)

    def _start(self, video: VideoRecord) -> None:
        if video.crash_count:
            self._suspects[video.id] = time.monotonic()
        run = VideoRun(self.journal, video, self.settings.prices)
        work = run.cancel if video.state is VideoState.CANCELLING else run.run
        task = asyncio.create_task(work(self.gateways), name=video.id)
        self._runs[video.id] = run, task
        self._ends.setdefault(video.id, asyncio.get_running_loop().create_future())
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[VideoState]) -> None:
        video_id = task.get_name()
        run, _ = self._runs.pop(video_id)
        self._suspects.pop(video_id, None)
        self._active -= 1
        if not task.cancelled() and video_id in self._ends:  # else whoever stopped it has seen to its end
            _resolve(self._ends.pop(video_id), task)
        if run.may_leave_steps:
            self._settling.add(video_id)
        self.poke()


def _new_owner(runner: str) -> Owner:
    return Owner(f"coord_{secrets.token_hex(12)}", runner)


def _has_failed(task: asyncio.Future[Any]) -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


async def _cancel(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _resolve(end: asyncio.Future[VideoState], task: asyncio.Task[VideoState]) -> None:
    if (error := task.exception()) is None:
        end.set_result(task.result())
        return
    if isinstance(error, LeaseLost):
        logger.info("%s", error)
    else:
        logger.error("The end of video %s could not be written: %s", task.get_name(), error)
    end.set_exception(error)
    end.exception()  # it is logged: nobody has to wait for it


@ray.remote
def _warm() -> None:
    """Load what renders import, so that the first of them need not."""
    import raypipe.media.video
    import raypipe.providers.local  # noqa: F401
