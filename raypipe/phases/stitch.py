"""Stitch phase: the chunks in order, without the frames that seams show twice, and the music."""

from collections.abc import Sequence
from pathlib import Path

from raypipe.artifacts import ArtifactStore
from raypipe.film_label import FilmLabel
from raypipe.media.audio import fit_track
from raypipe.media.sound import has_sound, mixed
from raypipe.media.stitch import stitch
from raypipe.models import Chunk, Film, Job, Track


def stitch_film(
    job: Job,
    chunks: Sequence[Chunk],
    frames: Sequence[int],
    track: Track | None,
    store: ArtifactStore,
    encode: bool = True,
    label: FilmLabel | None = None,
) -> Film | None:
    """Join the chunks of all beats, in order, into one MP4, with the track, and the clips' own sound if asked for.

    A follower begins with its predecessor's last frame. The predecessor was made one frame longer than its beat, so
    showing of each chunk just its beat's frames leaves the frame at the seam in once.

    Args:
        job: Gives the size and the rate that chunks are brought to.
        chunks: One for each beat, or of those that there are.
        frames: How many of its first frames the film shows of each chunk: those of its beat.
        track: Its sound, cut to the film's length; None leaves the film silent.
        store: Holds the chunks and the track, and gets the film.
        encode: Whether chunks that cannot be copied may be encoded anew, which takes seconds of CPU.
        label: What is to be seen in the corner of every frame.

    Returns:
        The film; None if it cannot be made without encoding and `encode` is false.

    Raises:
        MediaError: A chunk or the track cannot be read.
        DiskFull: There is no room for the film.
    """
    with store.scratch() as scratch:
        clips = [
            (store.path_of(chunk.artifact, scratch), shown)
            for chunk, shown in zip(chunks, frames, strict=True)
        ]
        sound = None if track is None else store.path_of(track.artifact, scratch)
        too_long = track is not None and track.seconds > (sum(frames) + 1) / job.fps
        mixes = job.clip_sound and any(has_sound(path) for path, _ in clips)
        if (too_long or mixes) and not encode:
            return None
        if sound is not None and too_long:  # some beats are missing
            sound = _stored(fit_track(sound, sum(frames) / job.fps), scratch / "shorter.mp4")
        if mixes:
            sound = _mixed(clips, job.fps, sound, scratch)
        out = scratch / "film.mp4"
        encoded = stitch(clips, sound, out, job.size, job.fps, scratch, encode, label)
        if encoded is None:
            return None
        artifact = store.put(out.read_bytes(), "video/mp4")
    return Film(artifact=artifact, frames=sum(frames), normalised=0 if label else encoded)


def _mixed(clips: Sequence[tuple[Path, int]], fps: int, track: Path | None, scratch: Path) -> Path | None:
    """Mix the sound of the clips under the track."""
    data = mixed(clips, fps, track)
    if data is None:
        return track
    return _stored(data, scratch / "sound.mp4")


def _stored(data: bytes, path: Path) -> Path:
    path.write_bytes(data)
    return path
