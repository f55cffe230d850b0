"""Stitch phase: the chunks in order, without the frames that seams show twice, and the music."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from raypipe.artifacts import ArtifactStore
from raypipe.media.stitch import Cut, stitch
from raypipe.models import Beat, Chunk, Film, Size, Track


def stitch_film(
    beats: Sequence[Beat],
    chunks: Sequence[Chunk],
    track: Track | None,
    size: Size,
    fps: int,
    store: ArtifactStore,
) -> Film:
    """Join the chunks of all beats into one MP4 of exactly the beats' frames, with the track as its sound.

    A follower begins with its predecessor's last frame. The predecessor was made one frame longer than its beat, so
    cutting each chunk to its beat's length leaves the frame at the seam in once.

    Raises:
        MediaError: A chunk or the track cannot be read.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        cuts = [
            Cut(store.path_of(chunk.artifact, scratch), beat.frames)
            for beat, chunk in zip(beats, chunks, strict=True)
        ]
        sound = None if track is None else store.path_of(track.artifact, scratch)
        out = scratch / "film.mp4"
        made = stitch(cuts, sound, out, size, fps)
        artifact = store.put(out.read_bytes(), "video/mp4")
    return Film(artifact=artifact, frames=made.frames, normalised=made.normalised)
