"""One video from its claimed row to its end: its graph is launched, and how each phase ends is recorded."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, NamedTuple

from ray.exceptions import ActorDiedError, RayError

from raypipe.costs import estimate, total
from raypipe.errors import (
    APPROVAL,
    PAUSING,
    Cancelled,
    LeaseLost,
    RaypipeError,
    StoryboardMismatch,
    as_raypipe_error,
)
from raypipe.gateways import Gateways
from raypipe.journal import CANCELLED, UNDER_WAY, Event, Fence, Journal, StepRecord, VideoRecord, Write
from raypipe.models import (
    Artifact,
    BeatSequence,
    Chunk,
    Film,
    Gathered,
    Image,
    Job,
    Phase,
    PhaseOutput,
    PhaseStatus,
    Result,
    StepFailure,
    Track,
    VideoState,
)
from raypipe.phases.references import group_sequences, roles_of
from raypipe.phases.storyboard import check_storyboard, name_beats
from raypipe.pipeline import Graph, Ref, finalize_chunks, finish, launch, launch_storyboard, works_of
from raypipe.prices import Prices
from raypipe.text import dollars, valid_text
from raypipe.workers import error_of

logger = logging.getLogger(__name__)

#: how often a video's graph is launched anew because its gateway was ended for good
RELAUNCHES = 2
#: longest quotation of a failure in the error of its video, in characters
QUOTED = 600

#: what took time and money
Timed = Result | StepFailure | StepRecord


class _Ending(NamedTuple):
    """How a video ends."""

    state: VideoState
    result: Artifact | None = None
    error_code: str | None = None
    error: str | None = None
    #: what there is none the less
    kept: str = ""
    #: the steps that failed
    failures: tuple[StepFailure, ...] = ()


class VideoRun:
    """One video from its claimed row to its end."""

    def __init__(self, journal: Journal, video: VideoRecord, prices: Prices) -> None:
        self.journal, self.video, self.spec, self._prices = journal, video, video.spec, prices
        self.job = Job.of(video.id, video.spec, video.epoch, video.api_key)
        self._fence = Fence(video.id, video.epoch)
        self._outputs: dict[Phase, PhaseOutput] = {}
        #: what takes that are not in use have cost
        self._cost_before: dict[Phase, float] = {}
        self._unused_under_way = self._ended_early = False
        self._notes: list[asyncio.Future[None]] = []
        self._end_written: asyncio.Future[VideoState] | None = None

    @property
    def may_leave_steps(self) -> bool:
        """Whether steps may be under way at providers after its end, as of a video that was stopped or failed."""
        return self._ended_early or self._unused_under_way

    async def run(self, gateways: Callable[[], Awaitable[Gateways]]) -> VideoState:
        """Make the video once the gateways are known; unless this is cancelled, its row ends in a terminal state.

        Raises:
            LeaseLost: Another coordinator makes the video; nothing more is written of it here.
            JournalUnavailable: The end could not be written; the row says that the video is running.
        """
        try:
            ending = await self._launch(await gateways())
        except Exception as error:
            named = error_of(error) if isinstance(error, RayError) else as_raypipe_error(error, self.video.id)
            if isinstance(named, LeaseLost):
                raise named from error
            trace = None if isinstance(error, RaypipeError | RayError) else error
            logger.error("Video %s failed: %s", self.video.id, named, exc_info=trace)
            return await self._end_early(VideoState.FAILED, named.code, f"{named}; what was finished is kept")
        return await self._end(ending)

    async def cancel(self, gateways: Callable[[], Awaitable[Gateways]]) -> VideoState:
        """Cancel what is under way of the video, and end it; what was finished is kept.

        Raises:
            LeaseLost: Another coordinator cancels it.
            JournalUnavailable: The end could not be written.
        """
        try:
            await self._read_outputs()
            await self._stop_steps(await gateways())
        except LeaseLost:
            raise
        except Exception as error:
            logger.exception("What is under way of %s could not be stopped", self.video.id, exc_info=error)
        return await self._end_early(VideoState.CANCELLED, Cancelled.code, CANCELLED)

    async def _stop_steps(self, gateways: Gateways, unused: bool = False) -> None:
        """Stop what is under way at providers: all of it, or what is of takes that are not in use."""
        try:
            works = works_of(self.job, self.spec)
        except RaypipeError as error:  # a model is not known any more
            logger.warning("Jobs of %s at providers cannot be stopped: %s", self.video.id, error)
            works = []
        for _ in range(RELAUNCHES):
            gateway = gateways.of(self.video.id)
            try:
                await gateway.cancel.remote(self.job, works, unused)
            except ActorDiedError as error:  # for good; its successor does it
                logger.warning("The gateway of %s is gone, another is started: %s", self.video.id, error)
                gateways.forget(gateway)
            else:
                return

    async def put_back(self, state: VideoState) -> VideoState:
        """Write that a video whose run was cancelled is queued again, or waits, unless its end is being written."""
        if self._end_written is not None:
            return await self._end_written
        if self.video.state is VideoState.CANCELLING:
            return self.video.state  # whoever is next goes on with that
        happened = self._event(f"video.{state}")
        await self._record(self.journal.put_back(self.video.id, state), happened)
        return state

    async def _launch(self, gateways: Gateways) -> _Ending:
        await self._read_outputs()
        self._note(self._event("video.resumed" if self.video.epoch > 1 else "video.started"))
        if self._unused_under_way:
            await self._stop_steps(gateways, unused=True)
        for _ in range(RELAUNCHES):
            self.gateway = gateways.of(self.video.id)
            try:
                return await self._make()
            except ActorDiedError as error:  # for good; its successor answers from the same rows
                logger.warning("The gateway of %s is gone, another is started: %s", self.video.id, error)
                gateways.forget(self.gateway)
        return await self._make()

    async def _read_outputs(self) -> None:
        """Read what phases another coordinator has finished."""
        if self.video.epoch > 1:
            before = await asyncio.to_thread(self.journal.phases, self.video.id)
            self._outputs = {ph: out for ph, out in before.items() if out.status is PhaseStatus.SUCCESS}
        if self.spec.other_takes:
            for step in await asyncio.to_thread(self.journal.steps, self.video.id):
                if not self._in_use(step):
                    self._cost_before[step.phase] = self._cost_before.get(step.phase, 0.0) + step.cost
                    self._unused_under_way |= step.state in UNDER_WAY

    def _in_use(self, step: StepRecord) -> bool:
        return step.take == self.spec.takes.get(step.step, 1)

    async def _make(self) -> _Ending:
        began = time.time()
        sequences = group_sequences(self.spec.beats, self.spec.followers_per_reference)
        if self.spec.until is not None:
            return await self._make_storyboard()
        graph = launch(self.gateway, self.job, self.spec, sequences)
        self._phase(Phase.REFERENCES, PhaseStatus.SUCCESS, {"beats": roles_of(sequences)}, started_at=began)
        ending, mismatch = await _gather_or_cancel(
            self._film(graph, sequences), self._storyboard(graph.images)
        )
        pausing = _pausing(ending, mismatch)
        if pausing is not None:
            return _Ending(
                VideoState.WAITING, error_code=pausing.code, error=_brief(pausing), kept=ending.kept
            )
        return ending if mismatch is None else _with_mismatch(ending, *mismatch)

    async def _film(self, graph: Graph, sequences: Sequence[BeatSequence]) -> _Ending:
        track, gathered = await _gather_or_cancel(self._music(graph), self._chunks(graph, sequences))
        unpaid = (track,) if isinstance(track, StepFailure) and track.root.code in PAUSING else ()
        failures = (*gathered.failures, *unpaid)
        if not failures:
            return await self._stitch(gathered, track)
        if self.spec.allow_missing and gathered.chunks and not any(f.root.code in PAUSING for f in failures):
            return _without(gathered.failures, await self._stitch(gathered, track))
        ending = _incomplete(len(gathered.chunks), len(self.spec.beats), failures)
        self._phase(Phase.STITCH, PhaseStatus.FAILED, {}, error="not attempted, because of what is missing")
        return ending

    async def _make_storyboard(self) -> _Ending:
        """Make the storyboard images alone, and wait for somebody to approve them."""
        mismatch = await self._storyboard(launch_storyboard(self.gateway, self.job, self.spec))
        if mismatch is not None:
            cause = mismatch[1].root
            state = VideoState.WAITING if cause.code in PAUSING else VideoState.FAILED
            return _Ending(state, error_code=cause.code, error=_brief(cause))
        steps = estimate(self.spec, self._prices).steps
        rest = total(cost or 0.0 for step, cost in steps.items() if "image" not in step)
        said = f"the storyboard is made and waits for approval; the rest is estimated at {dollars(rest)}"
        return _Ending(VideoState.WAITING, error_code=APPROVAL, error=said)

    async def _storyboard(self, refs: Sequence[Ref]) -> tuple[StoryboardMismatch, StepFailure] | None:
        """Count the images; gives the mismatch, with the failure that is its cause, if they are not one a beat."""
        results: list[Image | StepFailure] = await asyncio.gather(*refs)
        images = [result for result in results if isinstance(result, Image)]
        failures = [result for result in results if isinstance(result, StepFailure)]
        output = {"images": [{"beat_index": i.beat_index, "digest": i.artifact.digest} for i in images]}
        try:
            check_storyboard(self.spec.beats, images)
        except StoryboardMismatch as mismatch:
            error = "; ".join([f"{mismatch.code}: {mismatch}", *map(str, failures)])
            self._phase(Phase.STORYBOARD, PhaseStatus.FAILED, output, results, error)
            return mismatch, failures[0]
        self._phase(Phase.STORYBOARD, PhaseStatus.SUCCESS, output, results)
        return None

    async def _music(self, graph: Graph) -> Track | StepFailure:
        track: Track | StepFailure = await graph.track
        if isinstance(track, StepFailure):
            self._phase(Phase.MUSIC, PhaseStatus.FAILED, {}, [track], str(track))
        else:
            output = {"digest": track.artifact.digest, "seconds": track.seconds}
            self._phase(Phase.MUSIC, PhaseStatus.SUCCESS, output, [track])
        return track

    async def _chunks(self, graph: Graph, sequences: Sequence[BeatSequence]) -> Gathered:
        chains = zip(graph.chains, sequences, strict=True)
        await asyncio.gather(*(self._chain(chain, sequence) for chain, sequence in chains))
        gathered = await asyncio.to_thread(finalize_chunks, self.spec.beats, graph.chains)
        chunks, failures = gathered.chunks, gathered.failures
        counts = len(chunks), len(self.spec.beats), self.video.id
        logger.info("Gathered %d chunks of %d beats of %s", *counts)
        status = PhaseStatus.PARTIAL if failures else PhaseStatus.SUCCESS
        output = {"chunks": [_shown(chunk) for chunk in chunks]}
        frames = [chunk.last_frame for chunk in chunks if chunk.last_frame is not None]
        error = "; ".join(map(str, failures)) or None
        results = [*chunks, *failures, *frames]
        self._phase(Phase.CHUNKS, status if chunks else PhaseStatus.FAILED, output, results, error)
        return gathered

    async def _chain(self, chain: Ref, sequence: BeatSequence) -> None:
        result: Chunk | StepFailure | list[Chunk | StepFailure] = await chain
        results = result if isinstance(result, list) else [result]
        tail, beats = results[-1], [beat.beat_index for beat in sequence.beats]
        began = _earliest(results)
        took = 0.0 if began is None else round(tail.finished_at - began, 3)
        complete = not isinstance(tail, StepFailure)
        if complete:
            logger.info("Chain of beats %s of %s complete after %s s", beats, self.video.id, took)
        else:
            logger.warning("Chain of beats %s of %s ended after %s s: %s", beats, self.video.id, took, tail)
        self._note(self._event("chain.done", beats=beats, complete=complete, seconds=took))

    async def _stitch(self, gathered: Gathered, track: Track | StepFailure) -> _Ending:
        film: Film | StepFailure = await finish(self.gateway, self.job, self.spec, gathered, track)
        if isinstance(film, StepFailure):
            self._phase(Phase.STITCH, PhaseStatus.FAILED, {}, [film], str(film))
            kept = f"all {len(gathered.chunks)} chunks were made and kept"
            return _Ending(VideoState.PARTIAL, error_code=film.code, error=_brief(film), kept=kept)
        output = {"digest": film.artifact.digest, "frames": film.frames, "normalised": film.normalised}
        self._phase(Phase.STITCH, PhaseStatus.SUCCESS, output, [film])
        return _Ending(VideoState.COMPLETED, result=film.artifact)

    async def _end_early(self, state: VideoState, code: str, error: str) -> VideoState:
        """End the video where it stands; phases that have not ended get what their steps' rows say."""
        self._ended_early = True
        try:
            steps = await asyncio.to_thread(self.journal.steps, self.video.id)
        except RaypipeError as unreadable:
            logger.error("The steps of %s cannot be read: %s", self.video.id, unreadable)
            steps = []
        for phase in Phase:
            if phase not in self._outputs and phase is not Phase.PLAN:
                begun = [step for step in steps if step.phase is phase and self._in_use(step)]
                said = error if begun else f"not begun: {error}"
                self._phase(phase, PhaseStatus.FAILED, {}, begun, said, finished_at=time.time())
        return await self._end(_Ending(state, error_code=code, error=error))

    async def _end(self, ending: _Ending) -> VideoState:
        """Write the video's end behind everything that was noted of it, also if nobody waits for it any more."""
        self._end_written = asyncio.ensure_future(self._write_end(ending))
        return await asyncio.shield(self._end_written)

    async def _write_end(self, ending: _Ending) -> VideoState:
        for problem in await asyncio.gather(*self._notes, return_exceptions=True):
            if isinstance(problem, LeaseLost):
                raise problem
            if problem is not None:
                logger.error("A note of %s was not journaled: %s", self.video.id, problem)
        said = ending.error and (f"{ending.error} ({ending.kept})" if ending.kept else ending.error)
        error = None if said is None else valid_text(said)
        if ending.state is VideoState.WAITING:
            paused = self.journal.put_back(self.video.id, ending.state, ending.error_code or "", error or "")
            await self._record(paused, self._event("video.waiting", error=error))
            logger.info("Video %s waits: %s", self.video.id, error)
            return ending.state
        columns = {
            "result": ending.result and ending.result.model_dump(mode="json"),
            "cost": total(output.cost for output in self._outputs.values()),
            "error_code": ending.error_code,
            "error_message": error,
        }
        await self._record(
            self.journal.finish(self.video.id, ending.state, **columns),
            self._event(f"video.{ending.state}", error=error),
        )
        logger.info("Video %s is %s", self.video.id, ending.state)
        return ending.state

    async def _record(self, *writes: Write) -> None:
        """Write what must not be lost, however long the journal is locked or full."""
        await self.journal.writer.put(*writes, fence=self._fence, patience=float("inf"))

    def _phase(
        self,
        phase: Phase,
        status: PhaseStatus,
        output: dict[str, Any],
        results: Sequence[Timed] = (),
        error: str | None = None,
        started_at: float | None = None,
        finished_at: float | None = None,
    ) -> None:
        if phase in self._outputs and self._outputs[phase].status is status:
            return  # it had ended so before this coordinator had the video, or before its graph was launched anew
        began = started_at or _earliest(results)
        ended = finished_at or _latest(results) or time.time()
        error = None if error is None else valid_text(error)
        self._outputs[phase] = PhaseOutput(
            video_id=self.video.id,
            phase=phase,
            status=status,
            output=output,
            cost=total([self._cost_before.get(phase, 0.0), *(result.cost for result in results)]),
            started_at=began,
            finished_at=ended,
            duration=0.0 if began is None else max(0.0, ended - began),
            error=error,
        )
        happened = self._event("phase.done", phase=phase, status=status, error=error)
        self._note(self.journal.phase(self._outputs[phase]), happened)

    def _event(self, kind: str, **data: Any) -> Write:
        return self.journal.event(Event(video_id=self.video.id, kind=kind, data=data))

    def _note(self, *writes: Write) -> None:
        """Have the journal learn something that nothing has to wait for, but the video's end."""
        note = self.journal.writer.put(*writes, fence=self._fence, patience=float("inf"))
        note.add_done_callback(lambda done: done.cancelled() or done.exception())  # `_end` reports it
        self._notes.append(note)


def _earliest(results: Iterable[Timed]) -> float | None:
    return min((result.started_at for result in results if result.started_at), default=None)


def _latest(results: Iterable[Timed]) -> float | None:
    return max((result.finished_at for result in results if result.finished_at), default=None)


async def _gather_or_cancel(*coroutines: Coroutine[Any, Any, Any]) -> list[Any]:
    """Run coroutines at once and give their results; when one raises, the others are cancelled."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(coroutine) for coroutine in coroutines]
    except BaseExceptionGroup as problems:
        raise problems.exceptions[0] from None
    return [task.result() for task in tasks]


def _shown(chunk: Chunk) -> dict[str, Any]:
    shown = {"beat_index": chunk.beat_index, "digest": chunk.artifact.digest}
    counts = {"held": chunk.held, "lost": chunk.lost}
    return shown | {name: count for name, count in counts.items() if count}


def _incomplete(chunks: int, beats: int, failures: tuple[StepFailure, ...]) -> _Ending:
    cause = failures[0].root
    kept = f"{chunks} of {beats} chunks were made and kept"
    state = VideoState.PARTIAL if chunks else VideoState.FAILED
    return _Ending(state, error_code=cause.code, error=_brief(cause), kept=kept, failures=failures)


def _without(missing: tuple[StepFailure, ...], ending: _Ending) -> _Ending:
    """Let a film that was made without some beats be partial, and say which and why."""
    if ending.result is None:
        return ending
    cause = missing[0].root
    kept = f"a film was made without {name_beats([each.beat_index or 0 for each in missing])} and kept"
    return ending._replace(state=VideoState.PARTIAL, error_code=cause.code, error=_brief(cause), kept=kept)


def _pausing(ending: _Ending, mismatch: tuple[StoryboardMismatch, StepFailure] | None) -> StepFailure | None:
    """Find a failure for whose sake the video waits."""
    failures = [*ending.failures, *(() if mismatch is None else mismatch[1:])]
    return next((failure.root for failure in failures if failure.root.code in PAUSING), None)


def _brief(failure: StepFailure) -> str:
    """Quote a failure in so many characters that there is room for what else has to be said."""
    return valid_text(failure, QUOTED)


def _with_mismatch(ending: _Ending, mismatch: StoryboardMismatch, cause: StepFailure) -> _Ending:
    """Let a video without an image for each beat end as partial, its film and chunks kept, and say why."""
    state = VideoState.PARTIAL if ending.state is VideoState.COMPLETED else ending.state
    kept = ending.kept or "the film was made without it and kept"
    return ending._replace(
        state=state, error_code=cause.code, error=f"{_brief(cause)}; {mismatch.code}: {mismatch}", kept=kept
    )
