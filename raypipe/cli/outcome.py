"""The end of `generate`: write the file, say how it went, and choose the exit code."""

from pathlib import Path

from rich.console import Console

from raypipe.artifacts import ArtifactStore
from raypipe.cli.generate import Outcome
from raypipe.cli.report import completed, incomplete, interrupted
from raypipe.cli.target import STDOUT, deliver
from raypipe.config import Settings
from raypipe.errors import APPROVAL, FileNotWritten
from raypipe.journal import Journal
from raypipe.models import VideoState
from raypipe.snapshot import Snapshot


def conclude(
    outcome: Outcome, output: Path | None, force: bool, settings: Settings, journal: Journal, console: Console
) -> int:
    """Write the film, say how making it went, and give the exit code.

    Raises:
        FileNotWritten: The film is made, but cannot be written to the output.
    """
    stopped = 128 + (outcome.stopped_by or 0)
    if outcome.video_id is None:
        console.print("Interrupted before there was a video; nothing was made.")
        return stopped
    snapshot = Snapshot.read(journal, outcome.video_id)
    video = snapshot.video
    if video.state in (VideoState.CANCELLED, VideoState.WAITING):
        console.print(interrupted(snapshot), soft_wrap=True)
        waits_for_approval = video.error_code == APPROVAL
        return stopped if outcome.stopped_by is not None else 0 if waits_for_approval else 1
    if video.result is None:
        console.print(incomplete(snapshot), soft_wrap=True)
        return 1
    try:
        store = ArtifactStore(settings.artifacts_url)
        where = deliver(video.result, output, video.spec.title, store, force)
    except FileNotWritten as error:
        get = f"raypipe show {snapshot.handle} -o FILE"
        raise FileNotWritten(f"{error} The film is kept; get it with: {get}") from error
    out = console if output == STDOUT else Console()
    if video.state is not VideoState.COMPLETED:
        console.print(incomplete(snapshot, where), soft_wrap=True)
        return 1
    out.print(
        completed(snapshot, where, outcome.ray_seconds, outcome.wall_seconds), highlight=False, soft_wrap=True
    )
    return 0
