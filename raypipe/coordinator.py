"""The coordinator: takes accepted videos from the journal, runs their graphs, and records how phases end."""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Sequence as Seq
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import JournalUnavailable, RaypipeError, StoryboardMismatch
from raypipe.gateway import Chained, Gateway, relax_garbage_collection
from raypipe.intake import accept
from raypipe.journal import Event, Journal, Recorder, VideoRecord, Write
from raypipe.models import (
    Artifact,
    Film,
    Gathered,
    Image,
    Job,
    Made,
    Phase,
    PhaseOutput,
    PhaseStatus,
    Sequence,
    StepFailure,
    Track,
    VideoRequest,
    VideoState,
)
from raypipe.phases.references import describe, group_sequences
from raypipe.phases.storyboard import check_storyboard
from raypipe.pipeline import Graph, Ref, finalize_chunks, finish, launch

logger = logging.getLogger(__name__)

#: seconds between looks for queued videos, when nobody says that there is one
LOOK_INTERVAL = 0.5
#: calls that may wait on the gateway at once
GATEWAY_CALLS = 20_000


class Coordinator:
    """Runs videos in the process it lives in, which owns their refs. Needs a running Ray.

    Any number of videos run at once: each is a coroutine that waits for refs.
    """

    def __init__(self, settings: Settings) -> None:
        relax_garbage_collection()
        self.settings = settings
        self.journal = Journal(settings.journal_url)
        self.recorder = Recorder(self.journal)
        self.store = ArtifactStore(settings.artifacts_url)
        self.owner = f"{socket.gethostname()}/{os.getpid()}"
        self.gateway = start_gateway(settings)
        self._runs: dict[str, asyncio.Task[VideoState]] = {}
        self._poked = asyncio.Event()

    async def ready(self) -> None:
        """Return when the gateway takes calls and workers have loaded what they need."""
        cpus = int(ray.cluster_resources().get("CPU", 1))
        await asyncio.gather(self.gateway.ready.remote(), *(_warm.remote() for _ in range(cpus)))

    async def submit(self, request: VideoRequest) -> str:
        """Accept a video, start it, and return its id at once.

        Raises:
            InvalidRequest: The request cannot be made into a video; nothing is left behind.
        """
        video, writes = accept(request, self.settings, self.journal, self.store, claimed_by=self.owner)
        await self.recorder.record(*writes)
        self._start([video])
        return video.id

    async def wait(self, video_id: str) -> VideoState:
        """Wait for the end of a video that runs here."""
        run = self._runs.get(video_id)
        return await run if run is not None else self.journal.video(video_id).state

    async def serve(self) -> None:
        """Claim and run whatever is queued, up to the number of active videos, until cancelled."""
        while True:
            if not await self._claim():
                await self._nap()

    async def _claim(self) -> bool:
        free = self.settings.active_videos - len(self._runs)
        if free <= 0:
            return False
        try:
            claimed = await asyncio.wrap_future(self.journal.claim(self.owner, free))
        except JournalUnavailable as error:
            logger.warning("No videos can be claimed for now: %s", error)
            return False
        self._start(claimed)
        return bool(claimed)

    def poke(self) -> None:
        """Say that a video may be queued, so that it need not wait for the next look."""
        self._poked.set()

    async def close(self) -> None:
        """Stop running videos where they stand; what is journaled and stored stays."""
        runs = list(self._runs.values())
        for run in runs:
            run.cancel()
        await asyncio.gather(*runs, return_exceptions=True)
        ray.kill(self.gateway)
        self.journal.close()

    async def _nap(self) -> None:
        try:
            await asyncio.wait_for(self._poked.wait(), LOOK_INTERVAL)
        except TimeoutError:
            return
        self._poked.clear()

    def _start(self, videos: Seq[VideoRecord]) -> None:
        for video in videos:
            run = asyncio.create_task(
                VideoRun(self.journal, self.recorder, self.gateway, video).run(), name=video.id
            )
            self._runs[video.id] = run
            run.add_done_callback(lambda done: self._runs.pop(done.get_name(), None))


class VideoRun:
    """One video from its claimed row to its end."""

    def __init__(self, journal: Journal, recorder: Recorder, gateway: Any, video: VideoRecord) -> None:
        self.journal, self.recorder, self.gateway = journal, recorder, gateway
        self.video, self.spec = video, video.spec
        self.job = Job.of(video.id, video.spec)
        self.cost = 0.0
        self._notes: list[asyncio.Future[None]] = []

    async def run(self) -> VideoState:
        """Make the video; whatever happens, its row ends in a terminal state."""
        try:
            ending = await self._make()
        except Exception as error:
            logger.exception("Video %s failed", self.video.id)
            code = error.code if isinstance(error, RaypipeError) else "internal_error"
            ending = _Ending(VideoState.FAILED, error_code=code, error=str(error) or type(error).__name__)
        return await self._end(ending)

    async def _make(self) -> "_Ending":
        self._note(self._event("video.started"))
        sequences = group_sequences(self.spec.beats, self.spec.followers_per_reference)
        graph = launch(self.gateway, self.job, self.spec, sequences)
        self._phase(Phase.REFERENCES, PhaseStatus.SUCCESS, {"beats": describe(sequences)})
        ending, _ = await asyncio.gather(self._film(graph, sequences), self._storyboard(graph))
        return ending

    async def _film(self, graph: Graph, sequences: Seq[Sequence]) -> "_Ending":
        track, gathered = await asyncio.gather(self._music(graph), self._chunks(graph, sequences))
        if gathered.failures:
            return _incomplete(gathered)
        return await self._stitch(gathered, track)

    async def _storyboard(self, graph: Graph) -> None:
        results: list[Image | StepFailure] = await asyncio.gather(*graph.images)
        images, failures = _split(results)
        error, status = None, PhaseStatus.SUCCESS
        try:
            check_storyboard(self.spec.beats, images)
        except StoryboardMismatch as mismatch:
            status = PhaseStatus.PARTIAL if images else PhaseStatus.FAILED
            error = "; ".join([str(mismatch), *map(str, failures)])
        output = {"images": [{"beat_index": i.beat_index, "digest": i.artifact.digest} for i in images]}
        self._phase(Phase.STORYBOARD, status, output, images, error)

    async def _music(self, graph: Graph) -> Track | StepFailure:
        track: Track | StepFailure = await graph.track
        if isinstance(track, StepFailure):
            self._phase(Phase.MUSIC, PhaseStatus.FAILED, {}, error=str(track))
        else:
            output = {"digest": track.artifact.digest, "seconds": track.seconds}
            self._phase(Phase.MUSIC, PhaseStatus.SUCCESS, output, [track])
        return track

    async def _chunks(self, graph: Graph, sequences: Seq[Sequence]) -> Gathered:
        chains = zip(graph.chains, sequences, strict=True)
        await asyncio.gather(*(self._chain(chain, sequence) for chain, sequence in chains))
        gathered: Gathered = await finalize_chunks.remote(self.spec.beats, graph.chains)
        chunks, failures = gathered.chunks, gathered.failures
        status = PhaseStatus.PARTIAL if failures else PhaseStatus.SUCCESS
        output = {"chunks": [{"beat_index": c.beat_index, "digest": c.artifact.digest} for c in chunks]}
        error = "; ".join(map(str, failures)) or None
        self._phase(Phase.CHUNKS, status if chunks else PhaseStatus.FAILED, output, chunks, error)
        return gathered

    async def _chain(self, chain: Ref, sequence: Sequence) -> None:
        began = time.time()
        made: Chained | list[Chained] = await chain
        tail = made[-1] if isinstance(made, list) else made
        beats, took = [beat.beat_index for beat in sequence.beats], round(time.time() - began, 3)
        complete = not isinstance(tail, StepFailure)
        if complete:
            logger.info("Chain of beats %s of %s complete after %s s", beats, self.video.id, took)
        else:
            logger.warning("Chain of beats %s of %s ended after %s s: %s", beats, self.video.id, took, tail)
        self._note(self._event("chain.done", beats=beats, complete=complete, seconds=took))

    async def _stitch(self, gathered: Gathered, track: Track | StepFailure) -> "_Ending":
        film: Film | StepFailure = await finish(self.gateway, self.job, self.spec, gathered, track)
        if isinstance(film, StepFailure):
            self._phase(Phase.STITCH, PhaseStatus.FAILED, {}, error=str(film))
            return _Ending(VideoState.PARTIAL, error_code=film.code, error=str(film))
        output = {"digest": film.artifact.digest, "frames": film.frames, "normalised": film.normalised}
        self._phase(Phase.STITCH, PhaseStatus.SUCCESS, output, [film])
        return _Ending(VideoState.COMPLETED, result=film.artifact)

    async def _end(self, ending: "_Ending") -> VideoState:
        """Write the video's end behind everything that was noted of it."""
        await asyncio.gather(*self._notes)
        columns = {
            "result": ending.result and ending.result.model_dump(mode="json"),
            "cost": self.cost,
            "error_code": ending.error_code,
            "error_message": ending.error,
        }
        await self.recorder.record(
            self.journal.finish(self.video.id, ending.state, **columns),
            self._event(f"video.{ending.state}", error=ending.error),
        )
        logger.info("Video %s is %s", self.video.id, ending.state)
        return ending.state

    def _phase(
        self,
        phase: Phase,
        status: PhaseStatus,
        output: dict[str, Any],
        made: Seq[Made] = (),
        error: str | None = None,
    ) -> None:
        cost = sum(each.cost for each in made)
        self.cost += cost
        result = PhaseOutput(
            video_id=self.video.id,
            phase=phase,
            status=status,
            output=output,
            cost=cost,
            duration=max((m.finished_at for m in made), default=0.0)
            - min((m.started_at for m in made), default=0.0),
            error=error,
        )
        happened = self._event("phase.done", phase=phase, status=status, error=error)
        self._note(self.journal.phase(result), happened)

    def _event(self, kind: str, **data: Any) -> Write:
        return self.journal.event(Event(video_id=self.video.id, kind=kind, data=data))

    def _note(self, *writes: Write) -> None:
        """Have the journal learn something that nothing has to wait for, but the video's end."""
        self._notes.append(self.recorder.put(*writes))


class _Ending(NamedTuple):
    state: VideoState
    result: Artifact | None = None
    error_code: str | None = None
    error: str | None = None


def _incomplete(gathered: Gathered) -> _Ending:
    causes = [failure for failure in gathered.failures if failure.code != "upstream_failed"]
    first = (causes or list(gathered.failures))[0]
    beats = len(gathered.chunks) + len(gathered.failures)
    made = f"{len(gathered.chunks)} of {beats} chunks were made and kept"
    state = VideoState.PARTIAL if gathered.chunks else VideoState.FAILED
    return _Ending(state, error_code=first.code, error=f"{first} ({made})")


def start_gateway(settings: Settings) -> Any:
    """Start a gateway on this node, where the journal is."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    actor = ray.remote(Gateway)
    return actor.options(num_cpus=0, max_concurrency=GATEWAY_CALLS, scheduling_strategy=here).remote(settings)


@ray.remote
def _warm() -> None:
    """Load what CPU steps import, so that the first of them need not."""
    import raypipe.phases.music
    import raypipe.phases.stitch  # noqa: F401


def _split(results: Seq[Any]) -> tuple[list[Any], list[StepFailure]]:
    failures = [result for result in results if isinstance(result, StepFailure)]
    return [result for result in results if not isinstance(result, StepFailure)], failures
