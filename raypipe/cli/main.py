"""The commands. Whatever takes time to import is imported by the command that needs it."""

import errno
import json
import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from raypipe.cli import keys, steer
from raypipe.cli.options import (
    AllowMissing,
    AsJson,
    Budget,
    ClipSound,
    Duration,
    Force,
    Model,
    Mood,
    Options,
    Output,
    Prompt,
    References,
    Seed,
    Size,
    SpecFile,
    Style,
    Until,
    VideoId,
)
from raypipe.errors import DiskFull, InvalidRequest, RaypipeError, VideoNotFound, is_disk_full

if TYPE_CHECKING:
    from raypipe.config import Settings
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

[bold]Change[/bold] one beat of it; what was made before is kept as a take:

  raypipe edit last --beat 2 --prompt "The keeper runs down the stairs" -o storm2.mp4

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
    notes += cost_notes(planned, settings)
    journal = open_for_writing(settings)
    try:
        from raypipe.cli.generate import submitting
        from raypipe.cli.outcome import make_film

        return make_film(submitting(request), notes, output, force, settings, journal)
    finally:
        journal.close()


steer.add_commands(app)
app.add_typer(keys.app, name="keys")


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
    settings = read_settings()
    with warnings_as_notes() as notes:
        planned = dry_plan(request, settings)
    for note in (*notes, *cost_notes(planned, settings)):
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
    take: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="With --step: another take of it than the one in use."),
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
    if output is not None or step is not None or take is not None:
        _export(output, force, artifact_of(snapshot, step, take), snapshot, settings)
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
