"""Stitch phase: the chunks in order, without the frames that seams show twice, and the music."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from raypipe.artifacts import ArtifactStore
from raypipe.media.stitch import Cut, stitch
from raypipe.models import Beat, Chunk, Film, Job, Take, Track


def takes_of(beats: Sequence[Beat], chunks: Sequence[Chunk]) -> tuple[Take, ...]:
    """Say what the film shows of each chunk.

    A follower begins with its predecessor's last frame. The predecessor was made one frame longer than its beat, so
    showing of each chunk just its beat's frames leaves the frame at the seam in once.
    """
    return tuple(
        Take(artifact=chunk.artifact, frames=beat.frames) for beat, chunk in zip(beats, chunks, strict=True)
    )


def stitch_film(job: Job, takes: Sequence[Take], track: Track | None, store: ArtifactStore) -> Film:
    """Join takes into one MP4 of exactly their frames, with the track as its sound.

    Raises:
        MediaError: A chunk or the track cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        cuts = [Cut(store.path_of(take.artifact, scratch), take.frames) for take in takes]
        sound = None if track is None else store.path_of(track.artifact, scratch)
        out = scratch / "film.mp4"
        made = stitch(cuts, sound, out, job.size, job.fps, scratch)
        artifact = store.put(out.read_bytes(), "video/mp4")
    return Film(artifact=artifact, frames=made.frames, normalised=made.normalised)
