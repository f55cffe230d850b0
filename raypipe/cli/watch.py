"""Watching a video being made: a live board on a terminal, plain lines anywhere else."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.live import Live

from raypipe.cli.board import board
from raypipe.errors import JournalUnavailable
from raypipe.journal import Event, Journal
from raypipe.snapshot import Snapshot
from raypipe.text import dollars, printable, seconds

LOOKS_PER_SECOND = 5


@contextmanager
def watching(console: Console, journal: Journal, video_id: str, since: float) -> Iterator[None]:
    """Show what becomes of a video while the block runs, up to its end, from a moment on (Unix seconds)."""
    if live(console):
        with Live(
            get_renderable=_Drawing(console, journal, video_id).draw,
            console=console,
            refresh_per_second=LOOKS_PER_SECOND,
            vertical_overflow="crop",
        ):
            yield
        return
    lines, stop = Lines(console, journal, video_id, since), threading.Event()
    thread = threading.Thread(target=lines.print_until, args=(stop,), name="raypipe-lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def live(console: Console) -> bool:
    """Tell whether the console can redraw what it has shown."""
    return console.is_terminal and not console.is_dumb_terminal


def say(console: Console, message: str) -> None:
    """Print a line; with the time of day where there is no live display."""
    if live(console):
        console.print(message, markup=False, highlight=False)
    else:
        console.print(
            f"{time.strftime('%H:%M:%S')}  {message}", markup=False, highlight=False, soft_wrap=True
        )


class _Drawing:
    """The board of a video; when the journal cannot be read for a moment, the board as it was before."""

    def __init__(self, console: Console, journal: Journal, video_id: str) -> None:
        self._console, self._journal, self._video_id = console, journal, video_id
        self._last: RenderableType = ""

    def draw(self) -> RenderableType:
        try:
            snapshot = Snapshot.read(self._journal, self._video_id)
        except JournalUnavailable:
            return self._last
        self._last = board(snapshot, self._console.width, self._console.height)
        return self._last


class Lines:
    """Prints a line for each event worth one."""

    def __init__(self, console: Console, journal: Journal, video_id: str, since: float = 0.0) -> None:
        self._console, self._journal, self._video_id, self._since = console, journal, video_id, since
        self._seen = 0

    def print_until(self, stop: threading.Event) -> None:
        """Print what happens, and after the stop what has happened until then."""
        while not stop.wait(1 / LOOKS_PER_SECOND):
            self.print_new()
        self.print_new()

    def print_new(self) -> None:
        """Print what has happened since the last time."""
        try:
            events = self._journal.events(self._video_id, self._seen)
            snapshot = Snapshot.read(self._journal, self._video_id)
        except JournalUnavailable:
            return
        for event in events:
            self._seen = event.seq
            line = line_of(event, snapshot)
            if line is not None and event.at >= self._since:
                moment = time.strftime("%H:%M:%S", time.localtime(event.at))
                line = f"{moment}  {snapshot.progress.overall:3.0f} %  {line}"
                self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def line_of(event: Event, snapshot: Snapshot) -> str | None:
    """Say an event in a line; None if it is of no interest to who waits."""
    kind, _, what = event.kind.partition(".")
    if kind == "step":
        return _step_line(event, what, snapshot)
    if kind == "phase":
        error = event.data.get("error")
        said = f"{event.data.get('phase')}: {event.data.get('status')}"
        return printable(f"{said}: {error}" if error else said)
    if event.kind == "video.accepted":
        spec = snapshot.video.spec
        return (
            f"{event.video_id}: {snapshot.title}, {len(spec.beats)} beats, {spec.duration:g} s, {spec.size}"
        )
    if event.kind == "video.edited" and "budget" in event.data:
        return f"the video may cost {dollars(event.data['budget'])} from now on"
    if event.kind == "video.edited":
        take = event.data.get("take")
        return f"beat {event.beat_index} " + (f"goes back to take {take}" if take else "is made anew")
    if kind == "video" and what not in ("started", "claimed"):
        return f"video {what}"
    return None


def _until(event: Event) -> str:
    """Say until when a create that was not answered is asked for, and what becomes of it then."""
    if "until" not in event.data:
        return ""
    until = time.strftime("%H:%M:%S", time.localtime(event.data["until"]))
    return f". The provider is asked what became of it until {until}; then {event.data.get('then')}"


def _took(event: Event, snapshot: Snapshot) -> str:
    """Say how long a step took, if it is of a take that is in use."""
    record = snapshot.steps.get(event.step or "")
    if record is None or record.take != event.take:
        return ""
    return f" in {seconds((record.finished_at or event.at) - (record.started_at or event.at))}"


def _step_line(event: Event, what: str, snapshot: Snapshot) -> str | None:
    step = event.step or ""
    if step.startswith(("last_frame", "music_fit")) and what != "failed":
        return None
    name = step.replace("/", " ")
    if what == "failed":
        return printable(f"{name} failed: {event.data.get('message', '')}")
    if what == "done":
        return f"{name} done{_took(event, snapshot)}"
    if what == "unknown":
        return printable(f"{name} was sent and not answered: {event.data.get('reason', '')}{_until(event)}")
    if what == "not_taken":
        wait = seconds(event.data.get("wait") or 0.0)
        return printable(f"{name} is sent again in {wait}: {event.data.get('reason', '')}")
    if what == "sent_again":
        doubt = ", and may be paid twice" if event.data.get("possible_duplicate") else ""
        return f"{name} sent again{doubt}"
    if what == "started" and step.startswith("chunk/"):
        before = snapshot.follows.get(event.beat_index or 0)
        return f"{name} started from " + (
            "its image" if before is None else f"the last frame of chunk {before}"
        )
    return None
