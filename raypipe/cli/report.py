"""What `generate`, `list` and `show` say when all is said: rich renderables and plain values for JSON."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from raypipe.artifacts import ArtifactStore, place_of
from raypipe.cli.board import MARKS, beats, cell, facts
from raypipe.config import Settings
from raypipe.errors import APPROVAL, ArtifactMissing, BudgetReached, JournalRowBroken, OutcomeUnknown
from raypipe.journal import INTERRUPTED
from raypipe.models import Artifact, Phase, StepState, VideoState
from raypipe.phases.takes import chunk_take_of, takes_of
from raypipe.snapshot import DONE, FAILED, RUNNING, SKIPPED, STOPPED, WAITING, Snapshot, Status
from raypipe.text import clock, dollars, printable, seconds, size_of
from raypipe.timeline import short_node

STATES = {
    VideoState.QUEUED: WAITING,
    VideoState.RUNNING: RUNNING,
    VideoState.WAITING: STOPPED,
    VideoState.CANCELLING: RUNNING,
    VideoState.CANCELLED: STOPPED,
    VideoState.COMPLETED: DONE,
    VideoState.PARTIAL: FAILED,
    VideoState.FAILED: FAILED,
}


def completed(snapshot: Snapshot, where: str, ray_seconds: float, wall_seconds: float) -> RenderableType:
    """Return what to say of a video that was made and written."""
    spec, film, text = snapshot.video.spec, snapshot.video.result, Text()
    size = size_of(film.size if film else 0)
    text.append("✔ ", "green").append(where, "bold")
    length = seconds(spec.frames / spec.fps)
    text.append(f"\n  {size}, {spec.size}, {length} long, ready after {clock(wall_seconds)}")
    text.append(f", of which Ray took {seconds(ray_seconds)} to start\n")
    for line in troubles(snapshot):
        text.append(f"  ! {line}\n", "yellow")
    return text.append(f"  raypipe timeline {snapshot.handle}  shows what ran when", "dim")


def incomplete(snapshot: Snapshot, film: str | None = None) -> RenderableType:
    """Return what to say of a video that is not as it should be: what failed where and why, and what was kept.

    Args:
        snapshot: The video.
        film: Where its film was written, if there is one none the less.
    """
    video, text = snapshot.video, Text()
    text.append("✗ ", "bold red").append(f"The video is {video.state}: ", "bold")
    text.append(f"{snapshot.count('chunk')} of {len(video.spec.beats)} chunks were made\n")
    lines = list(troubles(snapshot)) or [printable(video.error_message or "no reason is known")]
    if film is not None:
        lines.append(f"Its film was made none the less and is in {film}")
    for line in lines:
        text.append(f"  {line}\n", "red")
    unknown = any(step.error_code == OutcomeUnknown.code for step in snapshot.failures)
    text.append(f"  raypipe retry {snapshot.handle}{' --resubmit' if unknown else ''}", "bold")
    doubt = (
        "what was sent and not answered may be paid twice" if unknown else "what is made is not made again"
    )
    text.append(f"  tries the failed steps again; {doubt}\n", "dim")
    return text.append_text(_kept(snapshot))


def next_command(snapshot: Snapshot) -> str:
    """Return the command that goes on with a video, or shows it if there is nothing to go on with."""
    state = snapshot.video.state
    if state in (VideoState.FAILED, VideoState.PARTIAL, VideoState.CANCELLED):
        unknown = any(step.error_code == OutcomeUnknown.code for step in snapshot.failures)
        return f"retry {snapshot.handle}{' --resubmit' if unknown else ''}"
    if snapshot.video.error_code == APPROVAL:
        return f"continue {snapshot.handle}"
    if snapshot.video.error_code == BudgetReached.code and snapshot.video.spec.budget is not None:
        return f"continue {snapshot.handle} --budget USD"
    return f"{'show' if state.terminal else 'resume'} {snapshot.handle}"


def interrupted(snapshot: Snapshot) -> RenderableType:
    """Return what to say after Ctrl-C."""
    video = snapshot.video
    text = Text("Interrupted. ", "bold yellow")
    if video.state is VideoState.CANCELLED:
        text = Text("Cancelled. ", "bold yellow")
    elif video.error_code not in (None, INTERRUPTED):
        text = Text("The video waits: ", "bold yellow").append(
            f"{printable(video.error_message or '')}\n  ", ""
        )
    text.append(f"{snapshot.count('chunk')} of {len(snapshot.video.spec.beats)} chunks are made and kept\n")
    text.append(f"  raypipe {next_command(snapshot)}", "bold")
    text.append("  goes on; nothing is made or paid twice\n", "dim")
    return text.append_text(_kept(snapshot))


def troubles(snapshot: Snapshot) -> Iterator[str]:
    """Return a line for each step that failed, and for each that was therefore not attempted."""
    for step in snapshot.failures:
        beat = "" if step.beat_index is None else f"beat {step.beat_index}, "
        name = "" if step.step.startswith("chunk/") else f" ({step.step.partition('/')[0].replace('_', ' ')})"
        reason = printable(step.error_message or "")
        yield f"{beat}phase {step.phase}{name}: failed at provider {step.provider!r}: {reason}"
    skipped = [row.beat.beat_index for row in snapshot.rows if row.chunk.state == SKIPPED]
    if skipped:
        yield f"beat{'s' if len(skipped) > 1 else ''} {ranges(skipped)}: not attempted, because of that"


def ranges(numbers: Sequence[int]) -> str:
    """Write numbers in ascending order with runs drawn together: 0, 2-5, 9."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _kept(snapshot: Snapshot) -> Text:
    text, video_id = Text(), snapshot.handle
    kept = [row.beat.beat_index for row in snapshot.rows if row.chunk.state == DONE]
    if kept:
        text.append(f"  Chunks kept: {ranges(kept)}\n")
        text.append(f"  raypipe show {video_id} --step chunk/{kept[0]} -o FILE  gets one\n", "dim")
    return text.append(f"  raypipe show {video_id}  shows all of it", "dim")


def _state_of(snapshot: Snapshot) -> str:
    return STOPPED if snapshot.abandoned else STATES[snapshot.video.state]


# --- list -----------------------------------------------------------------------------------------


def video_list(found: Mapping[str, Snapshot | JournalRowBroken]) -> Table:
    """Return one line for each video, also for one whose rows cannot be read."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name in ("id", "state", "progress", "age", "length"):
        right = name in ("progress", "age", "length")
        table.add_column(name, no_wrap=True, justify="right" if right else "left")
    table.add_column("title", no_wrap=True, overflow="ellipsis", ratio=1)
    ids = shortened(list(found))
    for video_id, snapshot in found.items():
        if isinstance(snapshot, JournalRowBroken):
            said = Text(printable(str(snapshot)), "red")
            table.add_row(ids[video_id], Text.assemble(MARKS[FAILED], " broken"), "", "", "", said)
            continue
        video = snapshot.video
        state = Text.assemble(
            MARKS[_state_of(snapshot)], " stopped" if snapshot.abandoned else f" {video.state}"
        )
        age, length = seconds(time.time() - video.created_at), f"{snapshot.length:g} s"
        progress = f"{snapshot.progress.overall:.0f} %"
        table.add_row(ids[video_id], state, progress, age, length, Text(snapshot.title))
    return table


def shortened(ids: Sequence[str]) -> dict[str, str]:
    """Return the shortest beginnings that tell ids apart, at least as long as the time in them."""
    for length in range(16, 40):
        if len({each[:length] for each in ids}) == len(set(ids)):
            return {each: each[:length] for each in ids}
    return {each: each for each in ids}


def brief_json(video_id: str, snapshot: Snapshot | JournalRowBroken) -> dict[str, Any]:
    """Return a video as `list --json` gives it."""
    if isinstance(snapshot, JournalRowBroken):
        return {"id": video_id, "error_code": snapshot.code, "error_message": str(snapshot)}
    video = snapshot.video
    columns = {
        "id",
        "state",
        "created_at",
        "started_at",
        "finished_at",
        "cost",
        "error_code",
        "error_message",
    }
    brief = video.model_dump(mode="json", include=columns)
    spec = video.spec
    about = {"title": spec.title, "duration": spec.duration, "beats": len(spec.beats)}
    costs = {name: getattr(snapshot, name) for name in ("cost", "reserved_cost", "doubtful_cost")}
    brief |= {**costs, "abandoned": snapshot.abandoned}
    return {**brief, "progress": round(snapshot.progress.overall, 1), **about}


# --- show -----------------------------------------------------------------------------------------


def everything(snapshot: Snapshot, settings: Settings, width: int) -> RenderableType:
    """Return all that is known of a video."""
    parts = [_head(snapshot, settings), _phases(snapshot), beats(snapshot.rows, len(snapshot.nodes) > 1)]
    parts += [_takes(snapshot)] if snapshot.video.spec.other_takes else []
    parts += [_steps(snapshot, wide=width >= 100), _where(snapshot, settings)]
    return Group(*(Group(part, Text()) for part in parts[:-1]), parts[-1])


def _head(snapshot: Snapshot, settings: Settings) -> RenderableType:
    video, grid = snapshot.video, Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    grid.add_row("title", Text(snapshot.title, "bold"))
    grid.add_row("id", video.id)
    grid.add_row(
        "state",
        Text.assemble(MARKS[_state_of(snapshot)], f" {video.state}, {snapshot.progress.overall:.0f} %"),
    )
    if snapshot.abandoned:
        goes_on = f"raypipe resume {snapshot.handle}" if video.runner == "local" else "raypipe serve"
        grid.add_row("", Text(f"the process that made it is gone; this goes on with it: {goes_on}", "yellow"))
    if video.error_message:
        grid.add_row("error", Text(f"{video.error_code}: {printable(video.error_message)}", "red"))
    grid.add_row("prompt", Text(printable(video.spec.prompt)))
    grid.add_row("plan", Text(facts(snapshot)))
    accepted = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(video.created_at))
    cost = f"cost {dollars(snapshot.cost)}"
    if snapshot.doubtful_cost:
        doubtful = dollars(snapshot.doubtful_cost)
        cost += f", and up to {doubtful} more for what brought nothing and may have been paid"
    if snapshot.reserved_cost:
        cost += f", with {dollars(snapshot.reserved_cost)} under way"
    grid.add_row("accepted", f"{accepted}, took {clock(snapshot.elapsed)}, {cost}")
    if video.result is not None:
        grid.add_row("file", Text(f"{path_of(video.result, settings)} ({size_of(video.result.size)})"))
    return grid


def _phases(snapshot: Snapshot) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("phase", "status", "seconds", "cost", "error"):
        table.add_column(name, justify="right" if name in ("seconds", "cost") else "left")
    for phase in Phase:
        output, status = snapshot.phases.get(phase), snapshot.phase(phase)
        if output is None:
            table.add_row(phase, cell(Status(status.state, status.state)), "", "", "")
            continue
        marked = Text.assemble(MARKS[status.state], f" {output.status}")
        error = Text(printable(output.error or ""), "red")
        table.add_row(phase, marked, f"{output.duration:.2f}", dollars(output.cost), error)
    return table


def _takes(snapshot: Snapshot) -> Table:
    """Return the takes of beats that were changed."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("beat", justify="right")
    table.add_column("take", no_wrap=True)
    table.add_column("clip", no_wrap=True)
    table.add_column("shows", no_wrap=True, overflow="ellipsis", ratio=1)
    for beat in snapshot.video.spec.beats:
        takes = takes_of(snapshot.video.spec, beat.beat_index)
        for each in takes if len(takes) > 1 else ():
            used = " in use" if each is beat else ""
            picture = "" if each.reference_image is None else "from a picture: "
            chunk = chunk_take_of(snapshot.video.spec, each)
            clip = "" if chunk is None else f"--take {chunk}"
            table.add_row(
                str(beat.beat_index), f"{each.take}{used}", clip, Text(printable(picture + each.prompt))
            )
    return table


def _steps(snapshot: Snapshot, wide: bool) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("step", no_wrap=True)
    table.add_column("state", no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column("provider", no_wrap=True, overflow="ellipsis", max_width=14)
    names = ["job", "node"] if wide else []
    for name in (*names, "size", "cost", "file"):
        table.add_column(name, no_wrap=True, justify="right" if name in ("size", "cost") else "left")
    for step in snapshot.ordered_steps:
        extra = [(step.provider_job_id or "")[:16], short_node(step.node or "")] if wide else []
        size, digest = (
            ("", "") if step.artifact is None else (size_of(step.artifact.size), step.artifact.digest[:12])
        )
        cost = dollars(step.cost) + (f" or {dollars(step.cost + step.doubtful)}" if step.doubtful else "")
        state = cell(snapshot.status(step.step))
        name = step.step if step.take == 1 else f"{step.step} take {step.take}"
        table.add_row(name, state, Text(printable(step.provider)), *extra, size, cost, digest)
    return table


def _where(snapshot: Snapshot, settings: Settings) -> Text:
    root = place_of(settings.artifacts_url)
    text = Text(f"Files are in {root}, named by their digest.\n", "dim")
    done = [step.step for step in snapshot.ordered_steps if step.state is StepState.DONE]
    if done:
        text.append(f"Get one with: raypipe show {snapshot.handle} --step {done[-1]} -o FILE\n", "dim")
    return text.append(f"What ran when: raypipe timeline {snapshot.handle}", "dim")


def full_json(snapshot: Snapshot, settings: Settings) -> dict[str, Any]:
    """Return a video as `show --json` gives it."""
    video = snapshot.video
    return {
        **brief_json(video.id, snapshot),
        "spec": video.spec.model_dump(mode="json"),
        "result": _file_json(video.result, settings),
        "phases": [output.model_dump(mode="json") for output in snapshot.phases.values()],
        "steps": [
            {**step.model_dump(mode="json"), "artifact": _file_json(step.artifact, settings)}
            for step in snapshot.ordered_steps
        ],
        "other_takes": [
            {**step.model_dump(mode="json"), "artifact": _file_json(step.artifact, settings)}
            for step in snapshot.all_steps
            if snapshot.steps.get(step.step) is not step
        ],
    }


def _file_json(artifact: Artifact | None, settings: Settings) -> dict[str, Any] | None:
    if artifact is None:
        return None
    return {**artifact.model_dump(mode="json"), "file": path_of(artifact, settings)}


def path_of(artifact: Artifact, settings: Settings) -> str:
    """Say where an artifact is: its file, or what to look for in the store."""
    if not settings.artifacts_url.startswith("file://"):
        return f"{settings.artifacts_url.rstrip('/')}, {artifact.digest}"
    try:
        return str(ArtifactStore(settings.artifacts_url).path_of(artifact, Path()))
    except ArtifactMissing:
        return f"{artifact.digest}, which is missing"
