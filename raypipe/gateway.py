"""The gateway: one async actor on which all steps wait, so that waiting costs a coroutine and never a process.

Hosted providers are awaited here; CPU work is sent to workers and awaited here too. A step that fails returns its
failure as a value: whoever depends on it gets the failure as an argument and passes it on without calling anybody.
"""

import asyncio
import gc
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, TypeVar

import ray

from raypipe import cpu_work
from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import InternalError, KeyMissing, KeyRefused, RaypipeError
from raypipe.fallback import in_turn
from raypipe.hints import Hints
from raypipe.hosted import HostedWork, Pause
from raypipe.journal import AT_PROVIDER, UNDER_WAY, Journal, StepRecord
from raypipe.left_jobs import LeftStep
from raypipe.limits import Rank, StepTurn, Turns
from raypipe.logs import log_to_file_and_stderr
from raypipe.marking import mark
from raypipe.metrics import StepMetrics
from raypipe.models import (
    Artifact,
    Chunk,
    Film,
    Frame,
    Image,
    Job,
    Kind,
    Phase,
    Result,
    StepFailure,
    StepState,
    Track,
)
from raypipe.providers.base import (
    ClipWork,
    ComputeProvider,
    Context,
    HostedProvider,
    ImageWork,
    MusicWork,
    Provider,
    Work,
    provider_of,
)
from raypipe.providers.registry import models_of, provider_class
from raypipe.render_queue import RenderTurns
from raypipe.step_log import StepLog
from raypipe.step_rows import key_of
from raypipe.steps import Steps, new_step
from raypipe.workers import WORK_NICENESS, Helpers, Ran, give_way, render, run_on_cpu

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT", bound=Result)

#: kinds of work that a film still needs when one of the first is begun
_KINDS_AFTER = {Kind.IMAGE: (Kind.CLIP, Kind.MUSIC), Kind.MUSIC: (Kind.CLIP,), Kind.CLIP: ()}
#: seconds between two looks at how much is in flight, for metrics
SHOW_SECONDS = 5.0
#: seconds that a question to a provider may take while somebody waits for a video to be cancelled
CANCEL_SECONDS = 10.0
#: seconds that it may take when nobody does: a clip that is delivered may be large
SETTLE_SECONDS = 600.0
#: fitted tracks remembered, so that equal ones are not fitted again
FITTED_TRACKS_KEPT = 256


def relax_garbage_collection() -> None:
    """Let a process that holds many live coroutines look for cycles less often.

    With Python's own thresholds a gateway of 100 videos spends a fifth of its time walking objects that all live.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


class Gateway:
    """Makes the steps of all videos. Every method returns a result, or a `StepFailure`.

    Ray starts it again when its process dies, and sends it the calls again that it was working on: each step answers
    from its row, so that nothing is made or paid twice. It outlives the coordinators that call it.
    """

    def __init__(self, settings: Settings, helpers: Helpers, family: str) -> None:
        relax_garbage_collection()
        give_way(WORK_NICENESS)
        self._settings, self._helpers = settings, helpers
        self._node = ray.get_runtime_context().get_node_id()
        self._providers: dict[str, Provider] = {}
        self._turns = Turns(family, self._node, settings)
        self._renders = RenderTurns(family, self._node, settings)
        self._fitting: dict[tuple[str, float, bool], asyncio.Future[Track]] = {}
        self._steps: Steps | None = None
        self._hints: Hints | None = None
        self._opening: asyncio.Task[Steps] | None = None
        self._marking = asyncio.Lock()
        #: videos that are over and whose steps are being asked for
        self._settling: dict[str, asyncio.Task[int]] = {}
        self._metrics = StepMetrics()
        self._showing: asyncio.Task[None] | None = None

    @cached_property
    def _store(self) -> ArtifactStore:
        return ArtifactStore(self._settings.artifacts_url)

    async def _opened(self) -> Steps:
        """Open the journal when it is first needed; a journal that is locked is waited for."""
        if self._steps is None:
            if self._opening is None or (self._opening.done() and self._opening.exception() is not None):
                self._opening = asyncio.create_task(_open(self._settings, self._store, self._metrics))
            self._steps = await asyncio.shield(self._opening)
            log_to_file_and_stderr(self._settings.log_dir)
            if self._showing is None:
                self._showing = asyncio.create_task(self._show_in_flight(self._steps))
            if self._settings.public_url is not None and self._hints is None:
                self._hints = Hints(self._steps.journal)
        return self._steps

    async def _show_in_flight(self, steps: Steps) -> None:
        while True:
            self._metrics.show_in_flight(steps.rows_under_way)
            await asyncio.sleep(SHOW_SECONDS)

    async def ready(self) -> None:
        """Return once the gateway can take work.

        Raises:
            JournalUnavailable: The journal cannot be opened.
            ArtifactStoreUnavailable: There can be no such store.
        """
        await self._opened()
        _ = self._store

    async def answers(self) -> bool:
        """Say that the gateway lives. What it needs is another question: it waits for that by itself."""
        return True

    async def idle(self, seconds: float) -> None:
        """Return when no step has been under way for so many seconds."""
        quiet_since = time.monotonic()
        while time.monotonic() - quiet_since < seconds:
            await asyncio.sleep(min(1.0, seconds))
            if self._steps is not None and self._steps.under_way:
                quiet_since = time.monotonic()

    async def stop(self) -> None:
        """End all calls where they stand; what was done up to now is in the journal when this returns."""
        for settling in self._settling.values():
            settling.cancel()
        if self._steps is not None:
            await self._steps.stop()

    async def cancel(self, job: Job, works: Sequence[Work], unused: bool = False) -> None:
        """Stop a video's steps here and at their providers; what is finished is kept, and what it cost.

        Args:
            job: The video, under the epoch of who cancels it.
            works: What its steps are to make.
            unused: Whether to stop only those of takes that are not in use.
        """

        def is_left(step: StepRecord) -> bool:
            return not unused or step.take != job.takes.get(step.step, 1)

        steps = await self._opened()
        await steps.abandon(job.video_id, is_left)
        await self._settle_steps(job, works, is_left, True, CANCEL_SECONDS)

    async def settle(self, job: Job, works: Sequence[Work], stop: bool) -> int:
        """Find out what became of steps that a video which is over has left under way.

        Args:
            job: The video, under the epoch at which it ended.
            works: What its steps were to make.
            stop: Whether to have jobs stopped that are under way.

        Returns:
            How many steps are still under way; they are to be asked for again.
        """
        settling = self._settling.get(job.video_id)
        if settling is None:
            settling = self._settling[job.video_id] = asyncio.create_task(self._settle(job, works, stop))
            settling.add_done_callback(lambda _: self._settling.pop(job.video_id))
        await asyncio.wait([settling])
        return 1 if settling.cancelled() else settling.result()  # cancelled where the gateway is ended

    async def _settle(self, job: Job, works: Sequence[Work], stop: bool) -> int:
        steps = await self._opened()
        await self._settle_steps(job, works, lambda row: not steps.is_done_here(row), stop, SETTLE_SECONDS)
        await steps.journal.sum_costs(job.video_id, job.epoch)
        return sum(row.state in UNDER_WAY for row in await steps.journal.steps_async(job.video_id))

    async def _settle_steps(
        self,
        job: Job,
        works: Sequence[Work],
        is_left: Callable[[StepRecord], bool],
        stop: bool,
        seconds: float,
    ) -> None:
        """Settle those of a video's steps that are left, each by itself."""
        steps = await self._opened()
        journal = steps.journal

        async def is_over() -> bool:
            return await journal.epoch(job.video_id) == job.epoch

        rows = await journal.steps_async(job.video_id)
        left = [row for row in rows if row.state in UNDER_WAY and is_left(row)]
        logs = [StepLog(steps, row, job.epoch) for row in left]
        provided = [self._provider_and_work(row, works, rows) for row in left]
        await asyncio.gather(
            *(
                LeftStep(log, *who, self._settings.prices, is_over).settle(stop, seconds)
                for log, who in zip(logs, provided, strict=True)
            )
        )

    def _provider_and_work(
        self, row: StepRecord, works: Sequence[Work], rows: Sequence[StepRecord]
    ) -> tuple[HostedProvider | None, Work | None]:
        """Return who has a step's job, and what it is to make, with the picture that it begins with."""
        work = next((work for work in works if work.step == row.step), None)
        if row.state not in AT_PROVIDER:
            return None, work
        try:
            provider = self._provider(row.provider)
        except RaypipeError as error:
            logger.warning("The provider of %s of %s: %s", row.step, row.video_id, error)
            return None, work
        if work is None or not isinstance(provider, HostedProvider):
            return None, work
        start = _start_of(work, rows) if isinstance(work, ClipWork) else None
        return provider, work.model_copy(update={"model": row.model, **({"start": start} if start else {})})

    async def generate_image(self, work: ImageWork) -> Image | StepFailure:
        """Make the storyboard image of a beat; a picture supplied by the user is taken as it is."""
        beat = work.beat
        step = new_step(work.job, work.step, Phase.STORYBOARD, beat.beat_index, Kind.IMAGE)

        async def make(log: StepLog) -> Image:
            if beat.reference_image is not None:
                await log.started(self._node)
                return Image(artifact=beat.reference_image, beat_index=beat.beat_index)
            artifact = await self._provide(log, work)
            if not work.exact:
                artifact = (
                    await self._helpers.run(
                        cpu_work.fit_image, artifact, work.job.size, self._settings.artifacts_url
                    )
                ).value
            return Image(artifact=artifact, beat_index=beat.beat_index)

        return await self._run(step, work.job, Image, make)

    async def generate_chunk_with_reference(
        self, work: ClipWork, image: Image | StepFailure
    ) -> Chunk | StepFailure:
        """Make a reference beat's clip from its reference image."""
        return await self._generate_chunk(work, image)

    async def generate_chunk_with_last_frame(
        self, work: ClipWork, predecessors: Chunk | StepFailure | list[Chunk | StepFailure]
    ) -> list[Chunk | StepFailure]:
        """Make a follower's clip from the last frame of its predecessor; gives all chunks of the chain so far."""
        chain = predecessors if isinstance(predecessors, list) else [predecessors]
        before = chain[-1]
        start = before if isinstance(before, StepFailure) else before.last_frame
        if start is None:
            raise InternalError(f"chunk {work.beat.beat_index - 1} was made without saving its last frame")
        return [*chain, await self._generate_chunk(work, start)]

    async def _generate_chunk(
        self, work: ClipWork, start: Image | Frame | StepFailure
    ) -> Chunk | StepFailure:
        beat = work.beat
        step = new_step(work.job, work.step, Phase.CHUNKS, beat.beat_index, Kind.CLIP)
        if isinstance(start, StepFailure):
            return await (await self._opened()).pass_on(step, work.job.epoch, start)
        from_start = work.model_copy(update={"start": start.artifact})

        async def make(log: StepLog) -> Chunk:
            artifact = await self._provide(log, from_start)
            made = Chunk(artifact=artifact, beat_index=beat.beat_index, frames=work.frames)
            return made if work.exact else await self._fit_chunk(log, work, made)

        chunk = await self._run(step, work.job, Chunk, make)
        if isinstance(chunk, StepFailure) or not work.followed:
            return chunk
        last_frame = await self._extract_last_frame(work.job, chunk)
        return chunk.model_copy(update={"last_frame": last_frame})

    async def _fit_chunk(self, log: StepLog, work: ClipWork, made: Chunk) -> Chunk:
        """Bring a clip through the door: to the beat's frames, in the video's own format."""
        chunk = made.model_copy(update={"frames": work.beat.frames})
        args = work.job, chunk, work.continues, self._settings.artifacts_url
        ran = await self._helpers.run(cpu_work.fit_clip, *args, False)
        if ran.value is None:  # it has to be encoded: that takes seconds, and so a CPU
            async with self._renders.turn(_rank(log, work), key_of(log.record)):
                ran = await run_on_cpu(cpu_work.fit_clip, *args, True)
        fitted: Chunk = ran.value
        return fitted

    async def _extract_last_frame(self, job: Job, chunk: Chunk) -> Frame | StepFailure:
        """Save the last frame of a chunk as a picture."""
        beat_index = chunk.beat_index
        step = new_step(job, f"last_frame/{beat_index}", Phase.CHUNKS, beat_index)

        async def make(log: StepLog) -> Frame:
            ran = await self._helpers.run(cpu_work.last_frame, chunk, self._settings.artifacts_url)
            return Frame(artifact=_value_of(log, ran), beat_index=beat_index)

        return await self._run(step, job, Frame, make)

    async def generate_music(self, work: MusicWork) -> Track | StepFailure:
        """Make a track in the mood of the video and fit it to the video's length."""
        step = new_step(work.job, work.step, Phase.MUSIC, kind=Kind.MUSIC)

        async def make(log: StepLog) -> Track:
            return Track(artifact=await self._provide(log, work), seconds=work.seconds)

        track = await self._run(step, work.job, Track, make)
        if isinstance(track, StepFailure):
            return track
        fitted = await self._fit_music(work.job, track)
        # the phase's result, good or bad, has begun with the music and cost what the music did
        return fitted.model_copy(update={"started_at": track.started_at, "cost": track.cost})

    async def _fit_music(self, job: Job, track: Track) -> Track | StepFailure:
        step = new_step(job, "music_fit", Phase.MUSIC)

        async def make(log: StepLog) -> Track:
            exact = all(model.exact for model in models_of(job, Kind.MUSIC))
            return await self._fit_once(log, track, exact)

        return await self._run(step, job, Track, make)

    async def _fit_once(self, log: StepLog, track: Track, exact: bool) -> Track:
        """Fit the same track to the same length once, for however many videos."""
        key = (track.artifact.digest, track.seconds, exact)
        if key in self._fitting:
            log.note_start(self._node, time.time())
            fitted = await asyncio.shield(self._fitting[key])
            if await self._store.keep(fitted.artifact):
                return fitted
            self._fitting.pop(key, None)
        while len(self._fitting) >= FITTED_TRACKS_KEPT:
            del self._fitting[next(iter(self._fitting))]
        fitting = asyncio.ensure_future(self._fit(log, track, exact))
        self._fitting[key] = fitting
        try:
            return await asyncio.shield(fitting)
        except BaseException:
            self._fitting.pop(key, None)
            raise

    async def _fit(self, log: StepLog, track: Track, exact: bool) -> Track:
        ran = await self._helpers.run(cpu_work.fit_music, track, exact, self._settings.artifacts_url)
        fitted: Track = _value_of(log, ran)
        return fitted

    async def stitch(
        self, job: Job, chunks: Sequence[Chunk], frames: Sequence[int], track: Track | StepFailure
    ) -> Film | StepFailure:
        """Join so many frames of each chunk, and the music; music that failed leaves the video silent."""
        step = new_step(job, "stitch", Phase.STITCH)
        sound = None if isinstance(track, StepFailure) else track
        args = job, chunks, frames, sound, self._settings.artifacts_url, self._settings.label

        async def make(log: StepLog) -> Film:
            ran = await self._helpers.run(cpu_work.stitch, *args, False)
            if ran.value is None:  # some chunks have to be encoded anew: that takes seconds, and so a CPU
                async with self._renders.turn(_rank(log, None), key_of(log.record)):
                    ran = await run_on_cpu(cpu_work.stitch, *args, True)
            film: Film = _value_of(log, ran)
            return await self._marked(job, film)

        return await self._run(step, job, Film, make)

    async def _marked(self, job: Job, film: Film) -> Film:
        """Say in the film itself by which models it was made; one at a time, for a film is held as a whole."""
        if not self._settings.mark_films:
            return film
        rows = await (await self._opened()).journal.steps_async(job.video_id)
        done = (row for row in rows if row.state is StepState.DONE and row.take == job.takes.get(row.step, 1))
        models = [row.model for row in done if row.model is not None]

        def write_anew() -> Artifact:
            with self._store.scratch() as scratch:
                out = scratch / "marked.mp4"
                mark(self._settings, self._store.path_of(film.artifact, scratch), out, models)
                return self._store.put(out.read_bytes(), film.artifact.media_type)

        async with self._marking:
            return film.model_copy(update={"artifact": await asyncio.to_thread(write_anew)})

    async def _run(
        self, step: StepRecord, job: Job, kind: type[ResultT], make: Callable[[StepLog], Awaitable[ResultT]]
    ) -> ResultT | StepFailure:
        return await (await self._opened()).run(step, job.epoch, kind, make)

    async def _provide(self, log: StepLog, work: Work) -> Artifact:
        """Have the job's models do a piece of work, in turn until one has."""
        if log.record.state is StepState.INTENT and log.record.provider_job_id is None:
            self._check_keys(work)
        prices = self._settings.prices
        return await in_turn(log, work, lambda model: self._provide_with(model, log, work), prices)

    def _check_keys(self, work: Work) -> None:
        """Check that what comes after this work can be paid, before anything is.

        Raises:
            KeyMissing: No provider of a kind has a key.
            KeyRefused: What it has is none.
        """
        for kind in _KINDS_AFTER[Kind(work.kind)]:
            missing = [self._missing_key(name) for name in work.job.models[kind]]
            if missing[0] is not None and all(missing):
                raise type(missing[0])(f"nothing is paid, because for {kind} {missing[0]}")

    def _missing_key(self, model: str) -> KeyMissing | KeyRefused | None:
        provider = self._provider(provider_of(model))
        try:
            if isinstance(provider, HostedProvider):
                provider.check_key()
        except (KeyMissing, KeyRefused) as error:
            return error
        return None

    async def _provide_with(self, model: str, log: StepLog, work: Work) -> Artifact:
        work = work.model_copy(update={"model": model})
        log.note_input(input_key(work))
        provider = self._provider(provider_of(model))
        if isinstance(provider, ComputeProvider):
            return await self._render(log, provider, work)
        assert isinstance(provider, HostedProvider)  # noqa: S101 - the registry knows no third kind
        turn = self._turn_of(provider.name, work, log)
        with self._pause_of(log) as pause:
            hosted = HostedWork(provider, work, log, self._node, self._settings, turn, pause)
            return (await hosted.delivery()).artifact

    def _pause_of(self, log: StepLog) -> AbstractContextManager[Pause]:
        """Give a pause between polls; a webhook ends it, where there are some."""
        if self._hints is None:
            return nullcontext(asyncio.sleep)
        return self._hints.of(key_of(log.record))

    def _turn_of(self, provider: str, work: Work, log: StepLog) -> StepTurn | None:
        limit = self._settings.limits.get(provider)
        if limit is None:
            return None
        step = log.record
        return StepTurn(self._turns, provider, limit, _rank(log, work), key_of(step))

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            found = provider_class(name)
            context = Context(self._settings, self._store)
            self._providers[name] = found(context) if issubclass(found, HostedProvider) else found()
        return self._providers[name]

    async def _render(self, log: StepLog, provider: ComputeProvider, work: Work) -> Artifact:
        """Have a compute provider work as a Ray task; until it gets its CPU the step is queued."""
        await log.queued()
        artifact: Artifact
        cpus, gpus = provider.num_cpus, provider.num_gpus
        async with self._renders.turn(_rank(log, work), key_of(log.record), cpus, gpus):
            artifact, cost = await render(
                cpu_work.compute,
                work,
                self._settings.artifacts_url,
                num_cpus=cpus,
                num_gpus=gpus,
                started=log.started,
            )
        log.note_cost(cost)
        return artifact


def _start_of(work: ClipWork, rows: Sequence[StepRecord]) -> Artifact | None:
    """Return the picture that a clip begins with, as its step's row has it."""
    at = work.beat.beat_index
    name = f"last_frame/{at - 1}" if work.continues else f"image/{at}"
    made = [row.artifact for row in rows if row.step == name and row.state is StepState.DONE]
    return made[-1] if made else None


def _rank(log: StepLog, work: Work | None) -> Rank:
    """Say whose turn a step's work is; without work it is the film itself, which waits for nothing of its video."""
    is_last = work is None or (isinstance(work, ClipWork) and work.continues)
    return Rank(log.record.video_id, 0 if is_last else 1, log.record.step)


async def _open(settings: Settings, store: ArtifactStore, metrics: StepMetrics) -> Steps:
    return Steps(await asyncio.to_thread(Journal, settings.journal_url), store.holds, metrics.note)


def input_key(work: Work) -> str:
    """Name what work is made from: equal keys, equal work, whatever video it is for."""
    made_from = work.model_dump_json(exclude={"job": {"video_id", "epoch", "api_key", "models", "takes"}})
    return hashlib.sha256(made_from.encode()).hexdigest()


def _value_of(log: StepLog, ran: Ran) -> Any:
    log.note_start(ran.node, ran.began)
    return ran.value
