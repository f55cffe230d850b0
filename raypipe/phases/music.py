"""Music phase: a track in the video's mood, fitted to its length."""

from raypipe.artifacts import ArtifactStore
from raypipe.media.audio import fit_track
from raypipe.models import Track


def fit_music(track: Track, seconds: float, store: ArtifactStore) -> Track:
    """Cut or loop a track to a length, fade it in and out and set its loudness.

    Raises:
        MediaError: The track cannot be read.
    """
    fitted = fit_track(store.get(track.artifact), seconds)
    return Track(artifact=store.put(fitted, "audio/mp4"), seconds=seconds)
