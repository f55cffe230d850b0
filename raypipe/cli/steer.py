"""The commands that go on with a video, change it, stop it or delete it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from raypipe.cli.options import Force, Output, VideoId
from raypipe.errors import VideoOver

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from raypipe.cli.generate import Begin


def add_commands(app: typer.Typer) -> None:
    """Add them to the command line."""
    for command in (resume, retry, edit, cancel, delete, gc):
        app.command()(command)
    app.command("continue")(continue_)


def resume(
    video_id: VideoId,
    output: Output = None,
    force: Force = False,
) -> None:
    """Go on with a video that was stopped or whose process was killed: what is finished is not made again.

    Works made by a provider meanwhile are fetched, and not paid a second time.
    """
    from raypipe.cli.generate import resuming

    raise typer.Exit(_again(video_id, output, force, resuming, ("queued", "running", "waiting")))


def retry(
    video_id: VideoId,
    output: Output = None,
    force: Force = False,
    resubmit: Annotated[
        bool,
        typer.Option(
            "--resubmit",
            help="Send again also what a provider did not answer, so that nobody knows whether it is being made and "
            "paid already.",
        ),
    ] = False,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Try nothing again: make a film without the beats that failed."),
    ] = False,
) -> None:
    """Try the failed steps of a video again that failed, is partial or was cancelled: what is finished is kept.

    With --resubmit also of a video that was stopped while a provider did not answer.
    """
    from raypipe.cli.generate import going_on

    def begin(found: str, _: "Console") -> "Begin":
        if allow_missing:
            return going_on(found, lambda coordinator: coordinator.allow_missing(found))
        return going_on(found, lambda coordinator: coordinator.retry(found, resubmit))

    stopped = ("queued", "running", "waiting") if resubmit else ()
    raise typer.Exit(_again(video_id, output, force, begin, ("failed", "partial", "cancelled", *stopped)))


def continue_(
    video_id: VideoId,
    budget: Annotated[
        str | None,
        typer.Option(metavar="USD", help="What it may cost from now on.", show_default=False),
    ] = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Go on with a video that waits: one made --until storyboard is approved by that, and music and clips are made.

    What is finished is not made again. Where money had run out the rest is tried again; --budget allows it more.
    """
    from raypipe.cli.generate import going_on
    from raypipe.cli.request import read_budget

    dollars = read_budget(budget)

    def begin(found: str, _: "Console") -> "Begin":
        return going_on(found, lambda coordinator: coordinator.continue_(found, dollars))

    raise typer.Exit(_again(video_id, output, force, begin, ("waiting",)))


def edit(
    video_id: VideoId,
    beat: Annotated[int, typer.Option(min=0, metavar="N", help="Which beat, from 0.")],
    prompt: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What it is to show now.", show_default=False)
    ] = None,
    image: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Picture that its clip starts from now; PNG or JPEG.", show_default=False
        ),
    ] = None,
    take: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Go back to this take, which costs nothing.", show_default=False
        ),
    ] = None,
    output: Output = None,
    force: Force = False,
) -> None:
    """Make one beat of a video anew, and what depends on it: its follower's clip and the film.

    With --prompt or --image it is changed, without it is made once more. What was made before is kept as a take of its
    own: `raypipe show` lists them, and --take goes back. A video that waits for approval waits again.
    """
    from raypipe.cli.generate import going_on
    from raypipe.cli.lookup import find
    from raypipe.cli.request import read_edit, read_settings
    from raypipe.intake import check_take

    change = read_edit(prompt, image, take)
    video = find(video_id, read_settings()).video
    check_take(video.id, video.spec, beat, take)

    def begin(found: str, _: "Console") -> "Begin":
        return going_on(found, lambda coordinator: coordinator.edit(found, beat, change))

    ended = ("completed", "partial", "failed", "cancelled")
    raise typer.Exit(_again(video.id, output, force, begin, ("queued", "waiting", *ended)))


def cancel(video_id: VideoId) -> None:
    """Cancel a video that is not over: its jobs at providers are stopped, and nothing more is sent.

    What is finished, and what it cost, is kept; `raypipe retry` goes on after all.
    """
    from rich.console import Console

    from raypipe.cli.cancel import cancel_video
    from raypipe.cli.lookup import find
    from raypipe.cli.request import read_settings

    settings = read_settings()
    raise typer.Exit(cancel_video(find(video_id, settings).video, settings, Console()))


def delete(video_id: VideoId) -> None:
    """Delete a video that is over, with its history. Its files go with the next `raypipe gc`."""
    import asyncio

    from raypipe.cli.lookup import find, open_for_writing
    from raypipe.cli.request import read_settings

    settings = read_settings()
    found = find(video_id, settings)
    journal = open_for_writing(settings)
    try:
        asyncio.run(journal.delete(found.video.id))
    finally:
        journal.close()
    print(f"Deleted {found.video.id}. `raypipe gc` removes what only it has used.")


def gc(
    grace: Annotated[
        float, typer.Option(min=0.01, metavar="HOURS", help="Keep what was written within so many hours.")
    ] = 24.0,
) -> None:
    """Remove stored files that no video uses any more. Videos may be made meanwhile."""
    from raypipe.artifacts import ArtifactStore
    from raypipe.cli.lookup import open_journal
    from raypipe.cli.request import read_settings
    from raypipe.text import size_of

    settings = read_settings()
    journal = open_journal(settings)
    if journal is None:
        print("There is nothing to remove.")
        return
    try:
        swept = ArtifactStore(settings.artifacts_url).sweep(journal.named_digests(), grace * 3_600)
    finally:
        journal.close()
    print(f"Removed {swept.files} files, {size_of(swept.bytes)}.")


def _again(
    video_id: str,
    output: Path | None,
    force: bool,
    begin: "Callable[[str, Console], Begin]",
    states: tuple[str, ...],
) -> int:
    """Go on with a video that is in one of those states."""
    from rich.console import Console

    from raypipe.cli.lookup import find, open_for_writing
    from raypipe.cli.outcome import make_film
    from raypipe.cli.report import next_command
    from raypipe.cli.request import read_settings
    from raypipe.cli.target import check_output

    check_output(output, force)
    settings = read_settings()
    snapshot = find(video_id, settings)
    if snapshot.video.state not in states:
        said = f"{snapshot.video.id} is {snapshot.video.state}: there is nothing to go on with here"
        raise VideoOver(f"{said}. Try: raypipe {next_command(snapshot)}")
    journal = open_for_writing(settings)
    try:
        started = begin(snapshot.video.id, Console(stderr=True))
        return make_film(started, [], output, force, settings, journal)
    finally:
        journal.close()
