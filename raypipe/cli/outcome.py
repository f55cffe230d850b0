"""Making a video on the command line, to its end: write the file, say how it went, and choose the exit code."""

from pathlib import Path

from rich.console import Console

from raypipe.artifacts import ArtifactStore
from raypipe.cli.generate import Begin, Outcome, make
from raypipe.cli.report import completed, incomplete, interrupted
from raypipe.cli.target import STDOUT, deliver
from raypipe.config import Settings
from raypipe.errors import APPROVAL, FileNotWritten
from raypipe.journal import Journal
from raypipe.logs import logs_in_file
from raypipe.models import VideoState
from raypipe.snapshot import Snapshot


def make_film(
    begin: Begin, notes: list[str], output: Path | None, force: bool, settings: Settings, journal: Journal
) -> int:
    """Make a video, write its film and give the exit code.

    Raises:
        FileNotWritten: The film is made, but cannot be written to the output.
    """
    console = Console(stderr=True)
    with logs_in_file(settings.log_dir) as problem:
        for note in (*notes, *([problem] if problem else [])):
            console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
        outcome = make(begin, settings, journal, console)
    return conclude(outcome, output, force, settings, journal, console)


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
