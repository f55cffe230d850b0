"""Whether films that share the CPUs are made in the order in which they were submitted: seventeen local ones, two CPUs.

    python benchmarks/first_come_first_served.py [--films N] [--cpus N] [--json FILE]

Prints for each film when it was submitted, when its first clip began and when it ended, and every place where the order
was broken: a film that began a clip while a clip of an older film waited for a CPU, and a film that ended before one
that was submitted five places earlier. Exit code 1 if there is any, or a film was not completed.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import ray
from rich.console import Console
from rich.table import Table

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.models import Size, VideoRequest, VideoState
from raypipe.snapshot import Snapshot

SIZE = Size(width=320, height=180)
#: places by which a film may be overtaken at its end, exclusive
PLACES = 5
#: seconds for which a clip may be ready without being seen to wait: it is handed from process to process meanwhile
HANDED_OVER_SECONDS = 0.25


class Clip(NamedTuple):
    """A clip of a film; times are seconds since the first film was submitted."""

    name: str
    #: when there was all that it needs, from when on it waited for a CPU
    ready_at: float
    started_at: float


class Film(NamedTuple):
    """A film that was made; times are seconds since the first film was submitted."""

    state: str
    submitted_at: float
    ended_at: float
    clips: tuple[Clip, ...]

    @property
    def began_at(self) -> float | None:
        """When its first clip began; None if none did."""
        return min((clip.started_at for clip in self.clips), default=None)


def request(seed: int, seconds: float) -> VideoRequest:
    """Return the request for one of the films; seeds make them differ."""
    return VideoRequest(
        prompt="A sailing boat at sunset", duration=seconds, seed=seed, size=SIZE, model="local"
    )


def queue_jumps(films: Sequence[Film], handed_over: float = HANDED_OVER_SECONDS) -> Iterator[str]:
    """Find the clips that began while a clip of an older film waited; films are in the order of their submission."""
    for number, film in enumerate(films):
        for clip in film.clips:
            for place, older in enumerate(films[:number]):
                for waiting in older.clips:
                    if waiting.ready_at + handed_over < clip.started_at < waiting.started_at:
                        yield (
                            f"film {number} began {clip.name} at {clip.started_at:.2f} s, while {waiting.name} of "
                            f"film {place} waited from {waiting.ready_at:.2f} to {waiting.started_at:.2f} s"
                        )


def overtakings(films: Sequence[Film], places: int = PLACES) -> Iterator[str]:
    """Find the films that ended before one that was submitted so many places earlier, or more."""
    for number, film in enumerate(films):
        for place, older in enumerate(films[: max(0, number - places + 1)]):
            if film.ended_at < older.ended_at:
                yield (
                    f"film {number} ended at {film.ended_at:.2f} s, before film {place}, which was submitted "
                    f"{number - place} places earlier and ended at {older.ended_at:.2f} s"
                )


def film_of(snapshot: Snapshot, submitted_at: float, origin: float) -> Film:
    """Return a film as its rows tell it."""
    clips = []
    for beat in snapshot.video.spec.beats:
        name = f"chunk/{beat.beat_index}"
        before = snapshot.follows.get(beat.beat_index)
        needs = f"image/{beat.beat_index}" if before is None else f"last_frame/{before}"
        started, ready = snapshot.steps[name].started_at, snapshot.steps[needs].finished_at
        if started is not None and ready is not None:
            clips.append(Clip(name, ready - origin, started - origin))
    ended = snapshot.video.finished_at or time.time()
    return Film(snapshot.video.state, submitted_at - origin, ended - origin, tuple(clips))


async def measure(films: int, seconds: float) -> list[Film]:
    """Submit all films one right after the other, and return what became of them when all have ended."""
    with tempfile.TemporaryDirectory() as folder:
        coordinator = Coordinator(Settings(data_dir=Path(folder)))
        try:
            await coordinator.ready()
            times, ids = [], []
            for number in range(films):
                times.append(time.time())
                ids.append(await coordinator.submit(request(number, seconds)))
            await asyncio.gather(*map(coordinator.wait, ids))
            snapshots = [Snapshot.read(coordinator.journal, video_id) for video_id in ids]
        finally:
            await coordinator.close()
    return [film_of(*made, times[0]) for made in zip(snapshots, times, strict=True)]


def show(films: Sequence[Film]) -> None:
    """Print the times as a table."""
    table = Table(title="Films in the order in which they were submitted; seconds since the first")
    for name in ("film", "state", "submitted", "first clip began", "ended", "waited for CPUs"):
        table.add_column(name, justify="right")
    for number, film in enumerate(films):
        began = "-" if film.began_at is None else f"{film.began_at:.2f}"
        waited = sum(clip.started_at - clip.ready_at for clip in film.clips)
        times = f"{film.submitted_at:.2f}", began, f"{film.ended_at:.2f}", f"{waited:.2f}"
        table.add_row(str(number), film.state, *times)
    Console(width=110).print(table)


def main() -> int:
    """Exit 0 if every film was completed and the order was kept."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--films", type=int, default=17)
    parser.add_argument("--seconds", type=float, default=10.0, help="length of each film (default 10)")
    parser.add_argument("--cpus", type=int, default=2, help="CPUs Ray may use (default 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write parameters and figures there")
    args = parser.parse_args()
    ray.init(address="local", num_cpus=args.cpus, include_dashboard=False, log_to_driver=False)
    try:
        films = asyncio.run(measure(args.films, args.seconds))
    finally:
        ray.shutdown()
    show(films)
    jumps, overtaken = list(queue_jumps(films)), list(overtakings(films))
    print(*jumps, *overtaken, sep="\n")
    completed = sum(film.state == VideoState.COMPLETED for film in films)
    print(
        f"{completed} of {args.films} completed; {len(jumps)} clips out of turn, {len(overtaken)} overtakings"
    )
    if args.json:
        report = {"parameters": _parameters(args), "films": [_as_json(film) for film in films]}
        report |= {"clips_out_of_turn": jumps, "overtakings": overtaken}
        args.json.write_text(json.dumps(report, indent=2))
    return 0 if completed == args.films and not jumps and not overtaken else 1


def _parameters(args: argparse.Namespace) -> dict[str, Any]:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    bounds = {"places": PLACES, "handed_over_seconds": HANDED_OVER_SECONDS, "size": str(SIZE)}
    return {**vars(args), "json": None, **bounds, "commit": commit, "ray": ray.__version__, "at": time.time()}


def _as_json(film: Film) -> dict[str, Any]:
    clips = [clip._asdict() for clip in film.clips]
    return {**film._asdict(), "first_clip_began_at": film.began_at, "clips": clips}


if __name__ == "__main__":
    sys.exit(main())
