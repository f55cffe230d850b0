"""What helpers and workers are called for: CPU work between stored artifacts. Nothing here is asynchronous."""

from collections.abc import Sequence

import numpy as np

from raypipe.artifacts import ArtifactStore
from raypipe.film_label import FilmLabel
from raypipe.media import foreign
from raypipe.media.video import encode_clip, frame_as_png, read_delivered_picture, to_planes, write_png
from raypipe.models import FPS, Artifact, Chunk, Film, Job, Size, Track
from raypipe.phases import music
from raypipe.phases.stitch import stitch_film
from raypipe.providers.base import ComputeProvider, Work, provider_of
from raypipe.providers.registry import provider_class


def compute(work: Work, artifacts_url: str) -> tuple[Artifact, float]:
    """Have a compute provider do a piece of work; gives what it made, and what it cost."""
    store, provider = ArtifactStore(artifacts_url), provider_class(provider_of(work.model))()
    assert isinstance(provider, ComputeProvider)  # noqa: S101 - the gateway sends no other here
    media = provider.generate(work, store)
    return store.put(media.data, media.media_type), media.cost


def last_frame(chunk: Chunk, artifacts_url: str) -> Artifact:
    """Save the last frame of a chunk as a picture."""
    store = ArtifactStore(artifacts_url)
    return store.put(frame_as_png(store.get(chunk.artifact), chunk.frames - 1), "image/png")


def fit_image(image: Artifact, size: Size, artifacts_url: str) -> Artifact:
    """Bring a delivered picture to the video's size."""
    store = ArtifactStore(artifacts_url)
    return store.put(write_png(read_delivered_picture(store.get(image), size)), "image/png")


def fit_clip(job: Job, chunk: Chunk, skip_first: bool, artifacts_url: str, encode: bool) -> Chunk | None:
    """Bring a delivered clip through the door; None if it has to be encoded and `encode` is false."""
    store = ArtifactStore(artifacts_url)
    with store.scratch() as scratch:
        source, out = store.path_of(chunk.artifact, scratch), scratch / "fitted.mp4"
        fitted = foreign.fit_clip(source, out, job.size, job.fps, chunk.frames, skip_first, encode)
        if fitted is None:
            return None
        artifact = store.put(out.read_bytes(), "video/mp4") if fitted.encoded else chunk.artifact
    return chunk.model_copy(update={"artifact": artifact, "held": fitted.held, "lost": fitted.lost})


def rehearse() -> None:
    """Do in little what helpers are called for, so that their first call finds everything loaded."""
    size = Size(width=32, height=32)
    black = to_planes(np.zeros((size.height, size.width, 3), np.uint8))
    frame_as_png(encode_clip([black], size, FPS), 0)


def fit_music(track: Track, exact: bool, artifacts_url: str) -> Track:
    """Fit a track to its video's length; one that is not made here, in a process of its own."""
    return music.fit_music(track, track.seconds, exact, ArtifactStore(artifacts_url))


def stitch(
    job: Job,
    chunks: Sequence[Chunk],
    frames: Sequence[int],
    track: Track | None,
    artifacts_url: str,
    label: FilmLabel | None,
    encode: bool,
) -> Film | None:
    """Join chunks and music into the film; None if something has to be encoded and `encode` is false."""
    return stitch_film(job, chunks, frames, track, ArtifactStore(artifacts_url), encode, label)
