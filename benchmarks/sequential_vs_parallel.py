"""The same videos made one step after the other, in rigid waves, and pipelined, interleaved in one run.

    python benchmarks/sequential_vs_parallel.py [--quick] [--json FILE] [--svg FILE]

All three ways use the same gateway, journal and simulated provider and do the same steps with the same latencies; they
differ only in what waits for what:

    sequential   each step waits for the one before
    waves        all images, then all references, then all followers, then stitching; music meanwhile
    pipelined    raypipe: data is the only barrier

"ideal" is the longest chain of image, reference and follower in the provider's own latencies: nothing can be faster.
"""

import argparse
import asyncio
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import ray
from rich.console import Console
from rich.table import Table

from raypipe.config import Settings
from raypipe.coordinator import Coordinator
from raypipe.gateways import Gateways
from raypipe.intake import accept
from raypipe.models import BeatSequence, Job, Spec, StepState, VideoRequest
from raypipe.phases.references import group_sequences
from raypipe.pipeline import clips_of, finalize_chunks, finish
from raypipe.providers.base import ClipWork, ImageWork, MusicWork
from raypipe.snapshot import Snapshot
from raypipe.timeline import Chart, chart_of, render_svg

MODES = ("sequential", "waves", "pipelined")
SEED_CLIPS = [10, 5, 7, 5, 5, 7]
LONG_TAIL_IMAGE = {"kind": "long_tail", "median": 8.0, "low": 5.0, "high": 25.0}


class Row(NamedTuple):
    """One line of the table: equal videos under each mode."""

    name: str
    beats: int
    options: dict[str, Any]
    videos: int


class Measured(NamedTuple):
    """One video made in one way."""

    video_id: str
    wall: float
    ideal: float
    #: seconds from the first chunk's start to the last one's end
    chunk_phase: float
    #: longest time between the end of a chunk and the start of the follower that continues from it
    follower_gap: float


class Bench:
    """Makes videos in each of the three ways with one coordinator."""

    def __init__(self, coordinator: Coordinator, gateways: Gateways) -> None:
        self.coordinator, self.helpers = coordinator, gateways.helpers
        self.gateway = gateways.of("benchmark")
        self.ways: dict[str, Callable[[VideoRequest], Awaitable[str]]] = {
            "sequential": self._by_hand(self._sequential),
            "waves": self._by_hand(self._waves),
            "pipelined": self._pipelined,
        }

    async def measure(self, mode: str, row: Row) -> list[Measured]:
        """Make the videos of a row at once in one way; they share nothing but the gateway."""
        requests = [request(row, seed) for seed in range(row.videos)]
        return list(await asyncio.gather(*(self._measure(mode, each) for each in requests)))

    async def _measure(self, mode: str, wanted: VideoRequest) -> Measured:
        began = time.perf_counter()
        video_id = await self.ways[mode](wanted)
        wall = time.perf_counter() - began
        return self._measured(video_id, wall)

    def _measured(self, video_id: str, wall: float) -> Measured:
        journal = self.coordinator.journal
        steps = {step.step: step for step in journal.steps(video_id)}
        unfinished = [name for name, step in steps.items() if step.state != StepState.DONE]
        if unfinished:
            raise RuntimeError(f"{video_id} did not finish: {unfinished}")
        began = {name: step.started_at or 0.0 for name, step in steps.items()}
        ended = {name: step.finished_at or 0.0 for name, step in steps.items()}
        spec = journal.video(video_id).spec
        chains = [c.beats for c in group_sequences(spec.beats, spec.followers_per_reference)]
        links = [(a.beat_index, b.beat_index) for chain in chains for a, b in pairwise(chain)]
        chunks = [name for name in steps if name.startswith("chunk/")]

        def took(names: Iterable[str]) -> float:
            return sum(ended[name] - began[name] for name in names)

        return Measured(
            video_id,
            wall,
            ideal=max(
                took([f"image/{c[0].beat_index}", *(f"chunk/{b.beat_index}" for b in c)]) for c in chains
            ),
            chunk_phase=max(ended[name] for name in chunks) - min(began[name] for name in chunks),
            follower_gap=max((began[f"chunk/{b}"] - ended[f"chunk/{a}"] for a, b in links), default=0.0),
        )

    async def _pipelined(self, wanted: VideoRequest) -> str:
        video_id = await self.coordinator.submit(wanted)
        await self.coordinator.wait(video_id)
        return video_id

    def _by_hand(
        self, make: Callable[[Job, Spec, tuple[BeatSequence, ...]], Awaitable[None]]
    ) -> Callable[[VideoRequest], Awaitable[str]]:
        async def run(wanted: VideoRequest) -> str:
            c = self.coordinator
            video, rows = accept(wanted, c.settings, c.journal, c.store, c.owner, running=True)
            await c.journal.writer.put(*rows)
            job, spec = Job.of(video.id, video.spec, video.epoch), video.spec
            await make(job, spec, group_sequences(spec.beats, spec.followers_per_reference))
            return video.id

        return run

    async def _sequential(self, job: Job, spec: Spec, sequences: tuple[BeatSequence, ...]) -> None:
        images = [
            await self.gateway.generate_image.remote(ImageWork(job=job, beat=beat)) for beat in spec.beats
        ]
        chains = []
        for sequence in sequences:
            chain = None
            for clip in clips_of(job, sequence):
                chain = await self._chunk(clip, images, chain)
            chains.append(chain)
        await self._finish(job, spec, chains, self._music(job, spec))

    async def _waves(self, job: Job, spec: Spec, sequences: tuple[BeatSequence, ...]) -> None:
        music = self._music(job, spec)  # needs nothing but the plan, and so is no wave of its own
        works = [ImageWork(job=job, beat=beat) for beat in spec.beats]
        images = await asyncio.gather(*(self.gateway.generate_image.remote(work) for work in works))
        chains: list[Any] = [None] * len(sequences)
        for wave in range(max(len(sequence.beats) for sequence in sequences)):
            numbers = [n for n, sequence in enumerate(sequences) if len(sequence.beats) > wave]
            chunks = [self._chunk(clips_of(job, sequences[n])[wave], images, chains[n]) for n in numbers]
            for number, made in zip(numbers, await asyncio.gather(*chunks), strict=True):
                chains[number] = made
        await self._finish(job, spec, chains, music)

    async def _chunk(self, clip: ClipWork, images: list[Any], chain: Any) -> Any:
        if chain is None:
            image = images[clip.beat.beat_index]
            return await self.gateway.generate_chunk_with_reference.remote(clip, image)
        return await self.gateway.generate_chunk_with_last_frame.remote(clip, chain)

    def _music(self, job: Job, spec: Spec) -> Any:
        return self.gateway.generate_music.remote(MusicWork(job=job, seconds=spec.frames / spec.fps))

    async def _finish(self, job: Job, spec: Spec, chains: list[Any], music: Any) -> None:
        track = await music
        refs = [ray.put(chain) for chain in chains]
        gathered = (await self.helpers.run(finalize_chunks, spec.beats, refs)).value
        await finish(self.gateway, job, spec, gathered, track)


def _chart(mode: str, snapshot: Snapshot) -> Chart:
    return chart_of(mode, snapshot.steps.values(), followers=snapshot.follows)


def request(row: Row, seed: int) -> VideoRequest:
    """The request of a row's video; equal seeds have equal latencies in all modes."""
    return VideoRequest(
        prompt="A lighthouse keeper in a storm",
        duration=5 * row.beats,
        seed=seed,
        model="simulated",
        options={"simulated": row.options},
    )


def rows(quick: bool) -> list[Row]:
    """What is measured: the seed's timeline, then long-tailed latencies over 2 to 24 beats."""
    scale = 0.004 if quick else 0.01
    tail = {"image": LONG_TAIL_IMAGE, "clip": "long_tail", "music": 30.0, "scale": scale}
    seed = {"image": 2.0, "clip": SEED_CLIPS, "music": 3.0, "scale": 0.1}
    videos = 6 if quick else 10
    return [
        Row("seed timeline", 6, seed, 1),
        *(Row("long-tailed", beats, tail, videos) for beats in (2, 6, 12, 24)),
    ]


async def compare(bench: Bench, row: Row, repeats: int) -> dict[str, list[Measured]]:
    """Run a row in all modes, interleaved, starting with another mode each time."""
    results: dict[str, list[Measured]] = {mode: [] for mode in MODES}
    for repeat in range(repeats):
        first = repeat % len(MODES)
        for mode in (*MODES[first:], *MODES[:first]):
            results[mode] += await bench.measure(mode, row)
    return results


def summarise(row: Row, results: dict[str, list[Measured]]) -> dict[str, Any]:
    """Means over the videos of a row; the mean, because the tail is what a user waits for."""
    wall = {mode: statistics.fmean(m.wall for m in results[mode]) for mode in MODES}
    ideal = statistics.fmean(m.ideal for m in results["pipelined"])
    return {
        "latencies": row.name,
        "beats": row.beats,
        "videos": len(results["pipelined"]),
        "ideal_seconds": ideal,
        **{f"{mode}_seconds": wall[mode] for mode in MODES},
        "speedup_over_sequential": wall["sequential"] / wall["pipelined"],
        "speedup_over_waves": wall["waves"] / wall["pipelined"],
        "pipelined_over_ideal": wall["pipelined"] / ideal,
        "chunk_phase_seconds": statistics.fmean(m.chunk_phase for m in results["pipelined"]),
        "longest_follower_gap_seconds": max(m.follower_gap for m in results["pipelined"]),
    }


def table_of(summaries: list[dict[str, Any]]) -> Table:
    """The figures as a person reads them."""
    table = Table(title="Seconds from submit to finished video (mean)")
    columns = (
        "latencies",
        "beats",
        "videos",
        "ideal",
        *MODES,
        "x seq.",
        "x waves",
        "of ideal",
        "follower after",
    )
    for column in columns:
        table.add_column(column, justify="left" if column == "latencies" else "right", no_wrap=True)
    for s in summaries:
        seconds = (f"{s[f'{name}_seconds']:.2f}" for name in ("ideal", *MODES))
        speedups = (f"{s['speedup_over_sequential']:.2f}", f"{s['speedup_over_waves']:.2f}")
        share = f"{s['pipelined_over_ideal']:.2f}"
        gap = f"{s['longest_follower_gap_seconds'] * 1000:.0f} ms"
        table.add_row(s["latencies"], str(s["beats"]), str(s["videos"]), *seconds, *speedups, share, gap)
    return table


async def run(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure all rows, print the table and write what was asked for."""
    console = Console(width=130)
    with tempfile.TemporaryDirectory() as folder:
        coordinator = Coordinator(Settings(data_dir=Path(folder)))
        await coordinator.ready()
        bench = Bench(coordinator, await coordinator.gateways())
        await compare(bench, Row("warm-up", 2, {"image": 0, "clip": 0, "music": 0}, 2), 1)
        summaries = []
        for row in rows(args.quick):
            console.print(f"{row.name}, {row.beats} beats ...", style="dim")
            results = await compare(bench, row, repeats=3 if row.videos == 1 else 1)
            summaries.append(summarise(row, results))
            if row.name == "seed timeline" and args.svg:
                ids = [(mode, results[mode][-1].video_id) for mode in MODES]
                charts = [
                    _chart(mode, Snapshot.read(coordinator.journal, video_id)) for mode, video_id in ids
                ]
                args.svg.write_text(render_svg(charts))
        await coordinator.close()
    console.print(table_of(summaries))
    return summaries


def context(args: argparse.Namespace) -> dict[str, Any]:
    """What the figures depend on besides the code."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "quick": args.quick,
        "commit": commit.stdout.strip() or None,
        "python": platform.python_version(),
        "ray": ray.__version__,
        "cpus": args.cpus,
        "at": time.time(),
    }


def main() -> int:
    """Exit 0 if pipelined beats waves and waves beat sequential wherever there are several sequences."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="latencies at 1/250 and fewer videos: under two minutes"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write parameters and figures there")
    parser.add_argument(
        "--svg", type=Path, metavar="FILE", help="write a Gantt picture of the seed timeline there"
    )
    parser.add_argument("--cpus", type=int, default=2, help="CPUs Ray may use (default 2)")
    args = parser.parse_args()
    ray.init(address="local", num_cpus=args.cpus, include_dashboard=False, log_to_driver=False)
    try:
        summaries = asyncio.run(run(args))
    finally:
        ray.shutdown()
    if args.json:
        args.json.write_text(json.dumps({"parameters": context(args), "rows": summaries}, indent=2))
    # a single sequence of two beats has nothing to overlap but its images: there waves are as good
    tails = [s for s in summaries if s["latencies"] == "long-tailed" and s["beats"] > 2]
    ordered = all(s["pipelined_seconds"] < s["waves_seconds"] < s["sequential_seconds"] for s in tails)
    return 0 if ordered else 1


if __name__ == "__main__":
    sys.exit(main())
