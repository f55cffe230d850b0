"""The gateway: one async actor on which all steps wait, so that waiting costs a coroutine and never a process.

Hosted providers are awaited here; CPU work is sent to Ray tasks and awaited here too. A step that fails returns its
failure as a value: whoever depends on it gets the failure as an argument and passes it on without calling anybody.
"""

import asyncio
import gc
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import RaypipeError, WorkerLost
from raypipe.journal import Journal
from raypipe.media.video import frame_as_png
from raypipe.models import (
    Artifact,
    Chunk,
    Film,
    Frame,
    Image,
    Job,
    Phase,
    Shot,
    StepFailure,
    Take,
    Track,
)
from raypipe.phases.music import fit_music
from raypipe.phases.stitch import stitch_film
from raypipe.providers.base import (
    ClipWork,
    ComputeProvider,
    HostedProvider,
    ImageWork,
    Media,
    MusicWork,
    Pending,
    Provider,
    Work,
)
from raypipe.providers.registry import provider_class
from raypipe.steps import StepLog, Steps, new_step

#: what a beat of a chain has come to
Chained = Chunk | StepFailure
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
    """Makes the steps of all videos. Every method returns what was made, or a `StepFailure`."""

    def __init__(self, settings: Settings) -> None:
        relax_garbage_collection()
        self._steps = Steps(Journal(settings.journal_url))
        self._store = ArtifactStore(settings.artifacts_url)
        self._artifacts_url = settings.artifacts_url
        self._node = ray.get_runtime_context().get_node_id()
        self._providers: dict[str, Provider] = {}
        self._fitting: dict[tuple[str, float], asyncio.Future[Track]] = {}

    async def ready(self) -> None:
        """Return once the gateway can take work."""

    async def generate_image(self, shot: Shot) -> Image | StepFailure:
        """Make the storyboard image of a beat; a picture supplied by the user is taken as it is."""
        job, beat = shot.job, shot.beat
        step = new_step(job, f"image/{beat.beat_index}", Phase.STORYBOARD, beat.beat_index, job.provider)

        async def make(log: StepLog) -> Image:
            if beat.reference_image is not None:
                await log.started(self._node)
                return Image(artifact=beat.reference_image, beat_index=beat.beat_index)
            artifact, cost = await self._provide(log, ImageWork(step=step.step, job=job, beat=beat))
            return Image(artifact=artifact, cost=cost, beat_index=beat.beat_index)

        return await self._steps.run(step, make)

    async def generate_chunk_with_reference(
        self, shot: Shot, image: Image | StepFailure
    ) -> Chunk | StepFailure:
        """Make a reference beat's clip from its reference image."""
        return await self._generate_chunk(shot, image, continues=False)

    async def generate_chunk_with_last_frame(
        self, shot: Shot, predecessors: Chained | list[Chained]
    ) -> list[Chained]:
        """Make a follower's clip from the last frame of its predecessor; gives all chunks of the chain so far."""
        chain = predecessors if isinstance(predecessors, list) else [predecessors]
        before = chain[-1]
        start = before if isinstance(before, StepFailure) else before.last_frame
        if start is None:
            raise ValueError(f"chunk {shot.beat.beat_index - 1} was made without saving its last frame")
        return [*chain, await self._generate_chunk(shot, start, continues=True)]

    async def _generate_chunk(
        self, shot: Shot, start: Image | Frame | StepFailure, continues: bool
    ) -> Chunk | StepFailure:
        job, beat, frames = shot.job, shot.beat, shot.frames
        step = new_step(job, f"chunk/{beat.beat_index}", Phase.CHUNKS, beat.beat_index, job.provider)
        if isinstance(start, StepFailure):
            return await self._steps.pass_on(step, start)
        work = ClipWork(step=step.step, job=job, beat=beat, continues=continues, frames=frames)
        picture = start.artifact

        async def make(log: StepLog) -> Chunk:
            artifact, cost = await self._provide(log, work, picture)
            return Chunk(artifact=artifact, cost=cost, beat_index=beat.beat_index, frames=frames)

        chunk = await self._steps.run(step, make)
        if isinstance(chunk, StepFailure) or not shot.followed:
            return chunk
        last_frame = await self._extract_last_frame(job, chunk)
        return chunk.model_copy(update={"last_frame": last_frame})

    async def _extract_last_frame(self, job: Job, chunk: Chunk) -> Frame | StepFailure:
        """Save the last frame of a chunk as a picture."""
        beat_index = chunk.beat_index
        step = new_step(job, f"last_frame/{beat_index}", Phase.CHUNKS, beat_index)

        async def make(log: StepLog) -> Frame:
            artifact = await self._on_worker(log, _last_frame, chunk, self._artifacts_url)
            return Frame(artifact=artifact, beat_index=beat_index)

        return await self._steps.run(step, make)

    async def generate_music(self, job: Job, seconds: float) -> Track | StepFailure:
        """Make a track in the mood of the video and fit it to the video's length."""
        step = new_step(job, "music", Phase.MUSIC, provider=job.provider)

        async def make(log: StepLog) -> Track:
            work = MusicWork(step=step.step, job=job, seconds=seconds)
            artifact, cost = await self._provide(log, work)
            return Track(artifact=artifact, cost=cost, seconds=seconds)

        track = await self._steps.run(step, make)
        if isinstance(track, StepFailure):
            return track
        fitted = await self._fit_music(job, track)
        if isinstance(fitted, StepFailure):
            return fitted
        return fitted.model_copy(update={"started_at": track.started_at})

    async def _fit_music(self, job: Job, track: Track) -> Track | StepFailure:
        step = new_step(job, "music_fit", Phase.MUSIC)

        async def make(log: StepLog) -> Track:
            fitted = await self._fit_once(log, track)
            return fitted.model_copy(update={"cost": track.cost})

        return await self._steps.run(step, make)

    async def _fit_once(self, log: StepLog, track: Track) -> Track:
        """Fit the same track to the same length once, for however many videos."""
        key = (track.artifact.digest, track.seconds)
        if key in self._fitting:
            log.note_start(self._node, time.time())
            return await asyncio.shield(self._fitting[key])
        while len(self._fitting) >= FITTED_TRACKS_KEPT:
            del self._fitting[next(iter(self._fitting))]
        fitting = asyncio.ensure_future(self._on_worker(log, _fit_music, track, self._artifacts_url))
        self._fitting[key] = fitting
        try:
            return await asyncio.shield(fitting)
        except BaseException:
            self._fitting.pop(key, None)
            raise

    async def stitch(self, job: Job, takes: Sequence[Take], track: Track | StepFailure) -> Film | StepFailure:
        """Join all chunks and the music; music that failed leaves the video silent."""
        step = new_step(job, "stitch", Phase.STITCH)
        sound = None if isinstance(track, StepFailure) else track

        async def make(log: StepLog) -> Film:
            film: Film = await self._on_worker(log, _stitch, job, takes, sound, self._artifacts_url)
            return film

        return await self._steps.run(step, make)

    async def _provide(
        self, log: StepLog, work: Work, picture: Artifact | None = None
    ) -> tuple[Artifact, float]:
        """Have the job's provider do a piece of work that starts, if it is a clip, from a picture."""
        provider = self._provider(work.job.provider)
        if isinstance(provider, ComputeProvider):
            return await self._render(log, provider, work, picture)
        assert isinstance(provider, HostedProvider)  # noqa: S101 - the registry knows no third kind
        if picture is not None:
            work = work.model_copy(update={"start_image": await self._store.get_async(picture)})
        await log.started(self._node)
        media = await _await_hosted(provider, log, work)
        return await self._store.put_async(media.data, media.media_type), media.cost

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            self._providers[name] = provider_class(name)()
        return self._providers[name]

    async def _on_worker(self, log: StepLog, function: Callable[..., Any], *args: Any) -> Any:
        """Run short CPU work as a Ray task."""
        try:
            ran: _Ran = await _run.remote(function, *args)
        except RayError as error:
            raise WorkerLost(f"the worker doing it was lost: {error}") from error
        log.note_start(ran.node, ran.began)
        return _value(ran.value)

    async def _render(
        self, log: StepLog, provider: ComputeProvider, work: Work, picture: Artifact | None
    ) -> tuple[Artifact, float]:
        """Have a compute provider work as a Ray task, which reports when it gets its CPU."""
        task = _run_reporting.options(num_cpus=provider.num_cpus, num_gpus=provider.num_gpus)
        reports = task.remote(_compute, work, picture, self._artifacts_url)
        try:
            await log.started(*await (await anext(reports)))
            made: tuple[Artifact, float] = _value(await (await anext(reports)))
        except RayError as error:
            raise WorkerLost(f"the worker doing it was lost: {error}") from error
        return made


async def _await_hosted(provider: HostedProvider, log: StepLog, work: Work) -> Media:
    job_id = await provider.submit(work)
    await log.accepted(job_id)
    while isinstance(reply := await provider.poll(job_id), Pending):
        await asyncio.sleep(reply.poll_after)
    return reply


class _Ran(NamedTuple):
    node: str
    began: float
    value: Any


@ray.remote
def _run(function: Callable[..., Any], *args: Any) -> _Ran:
    return _Ran(ray.get_runtime_context().get_node_id(), time.time(), _attempt(function, *args))


@ray.remote
def _run_reporting(function: Callable[..., Any], *args: Any) -> Iterator[Any]:
    yield ray.get_runtime_context().get_node_id(), time.time()
    yield _attempt(function, *args)


def _attempt(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    except RaypipeError as error:
        return error


def _value(result: Any) -> Any:
    if isinstance(result, RaypipeError):
        raise result
    return result


def _compute(work: Work, picture: Artifact | None, artifacts_url: str) -> tuple[Artifact, float]:
    store = ArtifactStore(artifacts_url)
    if picture is not None:
        work = work.model_copy(update={"start_image": store.get(picture)})
    provider = provider_class(work.job.provider)()
    assert isinstance(provider, ComputeProvider)  # noqa: S101 - the gateway sends no other here
    media = provider.generate(work)
    return store.put(media.data, media.media_type), media.cost


def _last_frame(chunk: Chunk, artifacts_url: str) -> Artifact:
    store = ArtifactStore(artifacts_url)
    return store.put(frame_as_png(store.get(chunk.artifact), chunk.frames - 1), "image/png")


def _fit_music(track: Track, artifacts_url: str) -> Track:
    return fit_music(track, track.seconds, ArtifactStore(artifacts_url))


def _stitch(job: Job, takes: Sequence[Take], track: Track | None, artifacts_url: str) -> Film:
    return stitch_film(job, takes, track, ArtifactStore(artifacts_url))
