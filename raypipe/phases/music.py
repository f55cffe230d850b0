"""Music phase: a track in the video's mood, fitted to its length."""

from raypipe.artifacts import ArtifactStore
from raypipe.media import foreign
from raypipe.media.audio import fit_track
from raypipe.models import Track


def fit_music(track: Track, seconds: float, exact: bool, store: ArtifactStore) -> Track:
    """Cut or loop a track to a length, fade it in and out and set its loudness.

    Args:
        track: What was made.
        seconds: The length.
        exact: Whether it was made here, so that it can be read in this process.
        store: Holds the track, and gets what is made of it.

    Raises:
        MediaError: The track cannot be read.
    """
    with store.scratch() as scratch:
        source, out = store.path_of(track.artifact, scratch), scratch / "fitted.mp4"
        if exact:
            out.write_bytes(fit_track(source, seconds))
        else:
            foreign.fit_track(source, out, seconds)
        return Track(artifact=store.put(out.read_bytes(), "audio/mp4"), seconds=seconds)
