"""The graph of one video, on one screen.

    spec -> N storyboard images          (N parallel remote calls)
     |        |  image k -> chunk k (reference) -> last frame k -> chunk k+1 (follower)
     |        |  ... one ObjectRef chain per sequence, all at once
     |        '-> finalize_chunks (ray.get over the chains; flatten, sort by beat_index) -> stitch -> film
     '-> music -> fitted to the length ---------------------------------------------------'

Nothing here waits for anything: calls whose arguments are refs start when those refs are ready.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import ray

from raypipe.models import Beat, BeatSequence, Gathered, Job, Kind, Spec, StepFailure, Track
from raypipe.phases.chunks import merge_chunks, split_failures
from raypipe.phases.references import group_sequences
from raypipe.providers.base import ClipWork, ImageWork, MusicWork, Work
from raypipe.providers.registry import models_of

#: a ray.ObjectRef; Ray's class cannot be named in annotations that a strict checker follows
Ref = Any
#: handle of a `Gateway` actor
Gateway = Any


class Graph(NamedTuple):
    """Refs of everything that is under way for one video."""

    #: one for each beat, in order
    images: list[Ref]
    #: one for each sequence: its chunk, or the list of its chunks
    chains: list[Ref]
    #: the music, at the length of the video
    track: Ref


def launch(gateway: Gateway, job: Job, spec: Spec, sequences: Sequence[BeatSequence]) -> Graph:
    """Start everything that can start, and chain the rest to it."""
    images = launch_storyboard(gateway, job, spec)
    chains = [launch_chain(gateway, job, each, images[each.reference.beat_index]) for each in sequences]
    return Graph(images, chains, gateway.generate_music.remote(music_of(job, spec)))


def launch_storyboard(gateway: Gateway, job: Job, spec: Spec) -> list[Ref]:
    """Start the storyboard images alone."""
    return [gateway.generate_image.remote(work) for work in images_of(job, spec)]


def launch_chain(gateway: Gateway, job: Job, sequence: BeatSequence, image: Ref) -> Ref:
    """Chain a reference beat to its image, and each follower to its predecessor and so to its last frame."""
    reference, *followers = clips_of(job, sequence)
    chain = gateway.generate_chunk_with_reference.remote(reference, image)
    for follower in followers:
        chain = gateway.generate_chunk_with_last_frame.remote(follower, chain)
    return chain


def images_of(job: Job, spec: Spec) -> list[ImageWork]:
    """Return the storyboard images, in order."""
    exact = all(model.exact for model in models_of(job, Kind.IMAGE))
    return [ImageWork(job=job, beat=beat, exact=exact) for beat in spec.beats]


def music_of(job: Job, spec: Spec) -> MusicWork:
    """Return the music."""
    return MusicWork(job=job, seconds=spec.frames / spec.fps)


def works_of(job: Job, spec: Spec) -> list[Work]:
    """Return all that providers do for a video."""
    sequences = group_sequences(spec.beats, spec.followers_per_reference)
    clips = [clip for sequence in sequences for clip in clips_of(job, sequence)]
    return [*images_of(job, spec), *clips, music_of(job, spec)]


def clips_of(job: Job, sequence: BeatSequence) -> list[ClipWork]:
    """Return the clips of a sequence, in order."""
    first, last = sequence.reference, sequence.beats[-1]
    exact = all(model.exact for model in models_of(job, Kind.CLIP))
    return [
        ClipWork(job=job, beat=beat, continues=beat is not first, followed=beat is not last, exact=exact)
        for beat in sequence.beats
    ]


def finalize_chunks(beats: Sequence[Beat], chains: list[Ref]) -> Gathered:
    """Gather the chunks of all chains in the order of their beats; blocks until all refs are ready.

    Raises:
        ChunkGap: A beat has neither a chunk nor a failure, or more than one chunk.
    """
    chunks, failures = split_failures(ray.get(chains))
    failed = {failure.beat_index for failure in failures}
    return Gathered(
        chunks=merge_chunks([beat for beat in beats if beat.beat_index not in failed], chunks),
        failures=failures,
    )


def finish(gateway: Gateway, job: Job, spec: Spec, gathered: Gathered, track: Track | StepFailure) -> Ref:
    """Stitch the gathered chunks, with the track as their sound."""
    frames = [spec.beats[chunk.beat_index].frames for chunk in gathered.chunks]
    return gateway.stitch.remote(job, gathered.chunks, frames, track)
