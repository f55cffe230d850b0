"""The end of `generate`: write the file, say how it went, and choose the exit code."""

from pathlib import Path

from rich.console import Console

from raypipe.artifacts import ArtifactStore
from raypipe.cli.generate import INTERRUPTED, Made
from raypipe.cli.report import completed, incomplete, interrupted
from raypipe.cli.snapshot import Snapshot
from raypipe.cli.target import write_artifact
from raypipe.config import Settings
from raypipe.journal import Journal


def conclude(made: Made, target: Path, settings: Settings, journal: Journal, console: Console) -> int:
    """Say how making a video went, and give the exit code.

    Raises:
        FileNotWritten: The video is made, but cannot be written to the target.
    """
    if made.video_id is None:
        console.print("Interrupted before there was a video; nothing was made.")
        return 130
    snapshot = Snapshot.read(journal, made.video_id)
    if snapshot.video.error_code == INTERRUPTED:
        console.print(interrupted(snapshot), soft_wrap=True)
        return 130
    if snapshot.video.result is None:
        console.print(incomplete(snapshot), soft_wrap=True)
        return 1
    write_artifact(snapshot.video.result, target, ArtifactStore(settings.artifacts_url))
    Console().print(
        completed(snapshot, target, made.ray_seconds, made.wall_seconds), highlight=False, soft_wrap=True
    )
    return 0
