"""The live picture of a video in the making, drawn from a snapshot to fit the terminal."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from raypipe.models import Phase, models_text
from raypipe.snapshot import (
    DONE,
    FAILED,
    QUEUED,
    RUNNING,
    SKIPPED,
    STOPPED,
    WAITING,
    BeatRow,
    Snapshot,
    Status,
)
from raypipe.text import clock, printable
from raypipe.timeline import short_node

MARKS = {
    WAITING: ("○", "dim"),
    QUEUED: ("◔", "dim"),
    RUNNING: ("●", "bold yellow"),
    DONE: ("✔", "green"),
    FAILED: ("✗", "bold red"),
    SKIPPED: ("⊘", "red"),
    STOPPED: ("⊘", "dim"),
}
#: lines that are not beats: header, phases, music and stitch, bar, and the blank lines between them
FIXED_LINES = 11


def board(snapshot: Snapshot, width: int, height: int) -> RenderableType:
    """Draw all there is to see in at most `height` lines; beats that do not fit are summed up."""
    rows, room = snapshot.rows, max(3, height - FIXED_LINES)
    fits = len(rows) <= room
    shown = rows if fits else most_telling(rows, room - 4)
    parts: list[RenderableType] = [header(snapshot, width), Text(), phases(snapshot), Text()]
    if not fits:
        parts += [*strips(rows, width), Text()]
    parts.append(beats(shown, with_nodes=len(snapshot.nodes) > 1, with_shots=width >= 64))
    if not fits:
        parts.append(Text(rest(rows, shown), style="dim"))
    return Group(*parts, Text(), tail(snapshot), bar(snapshot, width))


def header(snapshot: Snapshot, width: int) -> RenderableType:
    """Title, id and what was asked for."""
    title = Text(snapshot.title, style="bold")
    title.truncate(max(10, width - len(snapshot.video.id) - 2), overflow="ellipsis")
    line = Table.grid(expand=True)
    line.add_column(no_wrap=True)
    line.add_column(justify="right", no_wrap=True)
    line.add_row(title, Text(snapshot.video.id, style="dim"))
    return Group(line, Text(facts(snapshot), style="dim", no_wrap=True, overflow="ellipsis"))


def facts(snapshot: Snapshot) -> str:
    """Return what was asked for, in one line."""
    spec = snapshot.video.spec
    length = f"{len(spec.beats)} beat{'s' if len(spec.beats) != 1 else ''}", f"{spec.duration:g} s"
    return " · ".join(map(printable, (*length, str(spec.size), spec.style, spec.mood, models_text(spec))))


def phases(snapshot: Snapshot) -> Text:
    """Return one line with a mark for each phase."""
    counts = {Phase.STORYBOARD: "image", Phase.CHUNKS: "chunk"}
    beats, text = len(snapshot.video.spec.beats), Text()
    for phase in (Phase.PLAN, Phase.REFERENCES, Phase.STORYBOARD, Phase.CHUNKS, Phase.MUSIC, Phase.STITCH):
        status = snapshot.phase(phase)
        text.append_text(mark(status)).append(f" {phase}", "" if status.state != WAITING else "dim")
        if phase in counts and status.state in (RUNNING, FAILED):
            text.append(f" {snapshot.count(counts[phase])}/{beats}", "dim")
        text.append("  ")
    return text


def beats(rows: Sequence[BeatRow], with_nodes: bool = False, with_shots: bool = True) -> Table:
    """Return one line for each beat."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("beat", justify="right")
    table.add_column("starts from", no_wrap=True)
    if with_shots:
        table.add_column("shot", no_wrap=True, overflow="ellipsis", ratio=2)
    table.add_column("image", no_wrap=True, min_width=8)
    table.add_column("chunk", no_wrap=True, overflow="ellipsis", min_width=10, ratio=2)
    if with_nodes:
        table.add_column("node", no_wrap=True, style="dim")
    for row in rows:
        origin = "image" if row.follows is None else f"└ beat {row.follows}"
        shot = Text(printable(f"{row.beat.shot_type} · {row.beat.camera_movement}"), style="dim")
        table.add_row(
            str(row.beat.beat_index),
            Text(origin, style="" if row.follows is None else "dim"),
            *([shot] if with_shots else []),
            cell(row.image),
            cell(row.chunk),
            *([short_node(row.node)] if with_nodes else []),
        )
    return table


def mark(status: Status) -> Text:
    """Return the sign of a state."""
    return Text().append(*MARKS[status.state])


def cell(status: Status) -> Text:
    """Return a state with what there is to say of it."""
    colour = {FAILED: "red", SKIPPED: "red", RUNNING: ""}.get(status.state, "dim")
    said = {QUEUED: "queued", STOPPED: "not made"}.get(status.state, status.text)
    return mark(status).append(f" {said}", colour)


def strips(rows: Sequence[BeatRow], width: int) -> list[Text]:
    """Return all beats in two lines, one sign for each, however many there are."""
    signs = {DONE: "█", RUNNING: "▓", QUEUED: "░", FAILED: "✗", SKIPPED: "⊘", STOPPED: "·", WAITING: "·"}
    lines = []
    for name in ("image", "chunk"):
        line = Text(f"{name}s  ", style="dim", no_wrap=True, overflow="ellipsis")
        for row in rows[: width - 8]:
            state = getattr(row, name).state
            line.append(signs[state], f"not dim {MARKS[state][1]}" if MARKS[state][1] != "dim" else "dim")
        lines.append(line)
    return lines


def most_telling(rows: Sequence[BeatRow], room: int) -> list[BeatRow]:
    """Return the beats to show where not all fit: what runs or went wrong first, then what comes next."""

    def weight(row: BeatRow) -> tuple[int, int]:
        if row.failed:
            return 0, row.beat.beat_index
        if row.active:
            return (1 if row.chunk.state == RUNNING else 2), row.beat.beat_index
        return (4 if row.chunk.state in (DONE, STOPPED) else 3), row.beat.beat_index

    return sorted(sorted(rows, key=weight)[: max(1, room)], key=lambda row: row.beat.beat_index)


def rest(rows: Sequence[BeatRow], shown: Sequence[BeatRow]) -> str:
    """Return what there is besides the beats shown."""
    hidden = Counter(row.chunk.state for row in rows if row not in shown)
    order = [DONE, RUNNING, QUEUED, WAITING, FAILED, SKIPPED, STOPPED]
    counts = ", ".join(f"{hidden[state]} {state}" for state in order if hidden[state])
    return f"… and {sum(hidden.values())} more beats: {counts}"


def tail(snapshot: Snapshot) -> Text:
    """Return one line for what is made once for the whole video."""
    music, stitch = snapshot.status("music"), snapshot.status("stitch")
    return Text.assemble("music ", cell(music), "   stitch ", cell(stitch), no_wrap=True, overflow="ellipsis")


def bar(snapshot: Snapshot, width: int) -> RenderableType:
    """Return the overall bar with percent and elapsed time."""
    line = Table.grid(expand=True, padding=(0, 1))
    line.add_column(ratio=1)
    line.add_column(justify="right", no_wrap=True)
    done = ProgressBar(total=100, completed=snapshot.progress.overall, width=max(10, width - 16))
    line.add_row(done, Text(f"{snapshot.progress.overall:3.0f} %  {clock(snapshot.elapsed)}"))
    return line
