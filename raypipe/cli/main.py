"""The commands. Whatever takes time to import is imported by the command that needs it."""

import errno
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from raypipe.errors import DiskFull, InvalidRequest, RaypipeError, VideoNotFound, VideoOver, is_disk_full

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from raypipe.cli.generate import Begin
    from raypipe.config import Settings
    from raypipe.journal import Journal
    from raypipe.models import Artifact
    from raypipe.snapshot import Snapshot

EXAMPLES = """
One prompt in, one finished multi-scene video out, on Ray.

[bold]Try it[/bold] (offline, without a key):

  raypipe generate "A lighthouse keeper in a storm" -o storm.mp4

[bold]Plan first[/bold], edit the plan, then make it:

  raypipe plan "A lighthouse keeper in a storm" > storm.json
  raypipe generate --spec storm.json -o storm.mp4

[bold]Look[/bold] at what was made, and at what ran when:

  raypipe list
  raypipe show last
  raypipe timeline last --svg storm.svg

[bold]Go on[/bold] with one that was stopped or killed; nothing is made or paid twice:

  raypipe resume last

[bold]Serve[/bold] it over HTTP:

  raypipe serve

Everything is kept in ~/.raypipe, or where RAYPIPE_DATA_DIR says; RAY_ADDRESS chooses a cluster.
"""

app = typer.Typer(
    help=EXAMPLES,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Prompt = Annotated[
    str | None, typer.Argument(metavar="PROMPT", help="What the video is about.", show_default=False)
]
Duration = Annotated[
    str | None,
    typer.Option(
        metavar="SECONDS", help="Length of the video, 5 to 300; 30 if left out.", show_default=False
    ),
]
Size = Annotated[
    str | None,
    typer.Option(metavar="WxH", help="Such as 1280x720, or one of 16:9, 9:16, 1:1.", show_default=False),
]
Style = Annotated[str | None, typer.Option(metavar="TEXT", help="Look of the pictures.", show_default=False)]
Mood = Annotated[
    str | None, typer.Option(metavar="TEXT", help="Mood of colours and music.", show_default=False)
]
Seed = Annotated[
    str | None, typer.Option(metavar="NUMBER", help="The same seed gives the same video.", show_default=False)
]
Model = Annotated[
    list[str] | None,
    typer.Option(
        metavar="[KIND=]NAME",
        help="Who makes it, or its images, clips or music: clip=fal/... Given again, the next is tried where the one "
        "before cannot. See `raypipe models`.",
        show_default=False,
    ),
]
Options = Annotated[
    str | None,
    typer.Option(
        metavar="JSON",
        help="Settings by kind of work, provider or model, as a JSON object of objects.",
        show_default=False,
    ),
]
References = Annotated[
    list[Path] | None,
    typer.Option(
        "--reference",
        metavar="FILE",
        help="A picture of a character or product that all images are made from; PNG or JPEG, again for another.",
        show_default=False,
    ),
]
ClipSound = Annotated[
    bool,
    typer.Option("--clip-sound", help="Let sound that clips have be heard under the music."),
]
Until = Annotated[
    str | None,
    typer.Option(
        metavar="storyboard",
        help="Stop for approval when its images are made; `raypipe continue` has the rest made.",
        show_default=False,
    ),
]
AllowMissing = Annotated[
    bool, typer.Option("--allow-missing", help="Make a film without the beats that fail; it is partial.")
]
Budget = Annotated[
    str | None,
    typer.Option(
        metavar="USD", help="What it may cost; it is not begun, or waits, at more.", show_default=False
    ),
]
SpecFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE", help="A plan as `raypipe plan` prints it; - reads stdin.", show_default=False
    ),
]
VideoId = Annotated[str, typer.Argument(metavar="ID", help="An id, the beginning of one, or last.")]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Where to write it, an .mp4 file or a folder; - is standard output. Left out: a new name made of the "
        "title.",
    ),
]
Force = Annotated[bool, typer.Option("--force", "-f", help="Replace the output file if there is one.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def main() -> NoReturn:
    """Run the command line and exit.

    The code is 0 for success, 1 for failure, 2 for bad input, and 128 + n after signal n: 130 after Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    # what became of calls that nobody waits for any more is no news to who reads the error that made them so
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    try:
        try:
            app()
        finally:
            if sys.stdout is not None:  # it is, where the shell has closed it
                sys.stdout.flush()
    except RaypipeError as error:
        hint = " `raypipe list` shows the videos there are." if isinstance(error, VideoNotFound) else ""
        print(f"Error: {' '.join(str(error).split())}{hint}", file=sys.stderr)
        sys.exit(2 if isinstance(error, InvalidRequest) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        problem = _problem_of(error)
        if problem is None:
            raise
        print(f"Error: {problem}", file=sys.stderr)
        sys.exit(1)
    sys.exit(0)


def _problem_of(error: OSError) -> str | None:
    """Name an error of the operating system that is no bug; what printing raises names no file."""
    if error.filename is None and error.errno in (errno.EPIPE, errno.ENOSPC):
        # Python's own flush at the exit goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return f"standard output cannot be written: {error.strerror}"
    return str(DiskFull.because("nothing can be written", error)) if is_disk_full(error) else None


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"raypipe {version('raypipe')}")
        raise typer.Exit


@app.callback()
def _global(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that come before a command."""


@app.command()
def generate(
    prompt: Prompt = None,
    output: Output = None,
    force: Force = False,
    duration: Duration = None,
    size: Size = None,
    style: Style = None,
    mood: Mood = None,
    seed: Seed = None,
    model: Model = None,
    options: Options = None,
    budget: Budget = None,
    reference: References = None,
    clip_sound: ClipSound = False,
    until: Until = None,
    allow_missing: AllowMissing = False,
    spec: SpecFile = None,
) -> None:
    """Make a video from a prompt or a plan, and write it to a file.

    On a terminal a live display shows each beat; elsewhere there is a line for each event.
    Ctrl-C stops, and what is finished is kept; `raypipe resume last` goes on.
    """
    typed = _typed(
        prompt=prompt, duration=duration, size=size, style=style, mood=mood, seed=seed,
        options=options, budget=budget, spec=spec, until=until, clip_sound="true" if clip_sound else None,
        allow_missing="true" if allow_missing else None,
    )  # fmt: skip
    raise typer.Exit(_generate(typed, model or [], reference or [], output, force))


def _typed(**options: str | None) -> dict[str, str]:
    """Return the options that were given, by their names."""
    return {name: value for name, value in options.items() if value is not None}


def _generate(
    typed: dict[str, str], models: list[str], references: list[Path], output: Path | None, force: bool
) -> int:
    from raypipe.cli.lookup import open_for_writing
    from raypipe.cli.request import build_request, cost_notes, dry_plan, read_settings, read_spec
    from raypipe.cli.target import check_output
    from raypipe.logs import warnings_as_notes

    check_output(output, force)
    settings = read_settings()
    request = build_request(typed, models, references, read_spec(typed["spec"]) if "spec" in typed else None)
    with warnings_as_notes() as notes:
        planned = dry_plan(request, settings)
    notes += cost_notes(planned)
    journal = open_for_writing(settings)
    try:
        from raypipe.cli.generate import submitting

        return _make(submitting(request), notes, output, force, settings, journal)
    finally:
        journal.close()


def _make(
    begin: "Begin",
    notes: list[str],
    output: Path | None,
    force: bool,
    settings: "Settings",
    journal: "Journal",
) -> int:
    """Make a video, write its film and give the exit code."""
    from rich.console import Console

    from raypipe.cli.generate import make
    from raypipe.cli.outcome import conclude
    from raypipe.logs import logs_in_file

    console = Console(stderr=True)
    with logs_in_file(settings.log_dir) as problem:
        for note in (*notes, *([problem] if problem else [])):
            console.print(f"Note: {note}", markup=False, highlight=False, soft_wrap=True)
        outcome = make(begin, settings, journal, console)
    return conclude(outcome, output, force, settings, journal, console)


@app.command()
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


@app.command()
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
    from raypipe.cli.generate import retrying, without_missing

    def begin(found: str, _: "Console") -> "Begin":
        return without_missing(found) if allow_missing else retrying(found, resubmit)

    stopped = ("queued", "running", "waiting") if resubmit else ()
    ended = ("failed", "partial", "cancelled")
    raise typer.Exit(_again(video_id, output, force, begin, (*ended, *stopped)))


@app.command("continue")
def continue_(video_id: VideoId, output: Output = None, force: Force = False) -> None:
    """Approve the storyboard of a video that was made --until storyboard, and have music and clips made."""
    from raypipe.cli.generate import approving

    raise typer.Exit(_again(video_id, output, force, lambda found, _: approving(found), ("waiting",)))


@app.command()
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


@app.command()
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
    _print(f"Deleted {found.video.id}. `raypipe gc` removes what only it has used.")


@app.command()
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
        _print("There is nothing to remove.")
        return
    try:
        swept = ArtifactStore(settings.artifacts_url).sweep(journal.named_digests(), grace * 3_600)
    finally:
        journal.close()
    _print(f"Removed {swept.files} files, {size_of(swept.bytes)}.")


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
        return _make(started, [], output, force, settings, journal)
    finally:
        journal.close()


@app.command()
def plan(
    prompt: Prompt = None,
    duration: Duration = None,
    size: Size = None,
    style: Style = None,
    mood: Mood = None,
    seed: Seed = None,
    model: Model = None,
    options: Options = None,
    budget: Budget = None,
    reference: References = None,
    clip_sound: ClipSound = False,
    until: Until = None,
    allow_missing: AllowMissing = False,
    spec: SpecFile = None,
) -> None:
    """Print the plan of a video as JSON, to be edited and given to `generate --spec`. Makes nothing."""
    from raypipe.cli.request import build_request, cost_notes, dry_plan, editable, read_settings, read_spec
    from raypipe.logs import warnings_as_notes

    typed = _typed(
        prompt=prompt, duration=duration, size=size, style=style, mood=mood, seed=seed,
        options=options, budget=budget, spec=spec, until=until, clip_sound="true" if clip_sound else None,
        allow_missing="true" if allow_missing else None,
    )  # fmt: skip
    data = read_spec(typed["spec"]) if "spec" in typed else None
    request = build_request(typed, model or [], reference or [], data)
    with warnings_as_notes() as notes:
        planned = dry_plan(request, read_settings())
    for note in (*notes, *cost_notes(planned)):
        print(f"Note: {note}", file=sys.stderr)
    _print_json(editable(planned, typed.get("spec"), data, reference or ()))


@app.command(name="list")
def list_videos(
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List videos, newest first."""
    from raypipe.cli.lookup import open_journal
    from raypipe.cli.report import brief_json, video_list
    from raypipe.cli.request import read_settings
    from raypipe.snapshot import Snapshot

    journal = open_journal(read_settings())
    found = Snapshot.read_many(journal, journal.video_ids(limit)) if journal else {}
    if as_json:
        _print_json([brief_json(video_id, snapshot) for video_id, snapshot in found.items()])
    elif found:
        _print(video_list(found))
    else:
        print('There are no videos yet. Make one: raypipe generate "A lighthouse keeper in a storm"')


@app.command()
def show(
    video_id: VideoId,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the video, or what --step made, there."),
    ] = None,
    step: Annotated[
        str | None,
        typer.Option(
            metavar="STEP", help="With -o: what this step made, such as chunk/3.", show_default=False
        ),
    ] = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Show all that is known of a video: phases, beats, steps, and where the files are."""
    from raypipe.cli.lookup import artifact_of, find
    from raypipe.cli.report import everything, full_json
    from raypipe.cli.request import read_settings

    settings = read_settings()
    snapshot = find(video_id, settings)
    if output is not None or step is not None:
        _export(output, force, artifact_of(snapshot, step), snapshot, settings)
    elif as_json:
        _print_json(full_json(snapshot, settings))
    else:
        _print(everything(snapshot, settings, _console().width))


def _export(
    output: Path | None, force: bool, artifact: "Artifact", snapshot: "Snapshot", settings: "Settings"
) -> None:
    from raypipe.artifacts import ArtifactStore
    from raypipe.cli.target import STDOUT, check_output, deliver

    if output is None:
        raise InvalidRequest("--step: say with -o FILE where to write it.")
    check_output(output, force, artifact.media_type)
    where = deliver(artifact, output, snapshot.title, ArtifactStore(settings.artifacts_url), force)
    said = f"{where} ({artifact.media_type}, {artifact.size} bytes)"
    print(said, file=sys.stderr if output == STDOUT else sys.stdout)


@app.command()
def timeline(
    video_id: VideoId,
    svg: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as an SVG picture.", show_default=False)
    ] = None,
    force: Force = False,
) -> None:
    """Show what ran when and where, as bars in the terminal or as an SVG picture."""
    from raypipe.cli.lookup import find
    from raypipe.cli.request import read_settings
    from raypipe.cli.target import check_output, write_text
    from raypipe.timeline import chart_of, render_svg, render_text

    if svg is not None:
        check_output(svg, force, "image/svg+xml", "--svg")
    snapshot = find(video_id, read_settings())
    ended = snapshot.video.finished_at or snapshot.now
    chart = chart_of(snapshot.title, snapshot.steps.values(), ended, snapshot.follows)
    if not chart.bars:
        print(f"Nothing has run yet for {snapshot.video.id}.")
    elif svg is not None:
        write_text(render_svg([chart]), svg)
        print(svg)
    else:
        for line in render_text(chart, _console().width):
            _print(line)


@app.command()
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port to listen on.")] = 8000,
) -> None:
    """Serve the HTTP API with Ray Serve until Ctrl-C, on this machine or on the cluster of RAY_ADDRESS.

    The same as `serve run raypipe.serving:app`, for those who do not know Ray Serve.
    """
    from rich.console import Console

    from raypipe.cli.request import read_settings
    from raypipe.cli.serve import run_service

    raise typer.Exit(run_service(host, port, read_settings(), Console(stderr=True)))


@app.command()
def models() -> None:
    """List the models there are for images, clips and music, what they cost, and whether their key is there."""
    from raypipe.cli.lookup import missing_keys, model_table
    from raypipe.cli.request import read_settings

    settings = read_settings()
    console = _console()
    console.width = max(console.width, 110)  # names of models are to be copied, so none is cut
    console.print(model_table(settings), highlight=False)
    if missing := missing_keys(settings):
        where = f"as environment variables, or as lines NAME=value in {settings.secrets_file} (mode 0600)"
        print(f"\nMissing keys are given {where}: {', '.join(missing)}")


def _console() -> Any:
    from rich.console import Console

    return Console()


def _print(what: Any) -> None:
    _console().print(what, highlight=False)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))
