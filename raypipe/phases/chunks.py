"""Chunks phase: the results of all chains, flattened and in the order of the beats."""

import logging
from collections.abc import Iterable, Sequence
from typing import TypeVar

from raypipe.errors import ChunkGap
from raypipe.models import Beat, Chunk, StepFailure
from raypipe.phases.storyboard import name_beats

logger = logging.getLogger(__name__)

T = TypeVar("T")


def merge_chunks(beats: Sequence[Beat], results: Iterable[Chunk | Sequence[Chunk]]) -> tuple[Chunk, ...]:
    """Flatten the results of chains and return one chunk for each beat, in the order of the beats.

    Args:
        beats: The beats that must have a chunk.
        results: One chunk, or a list of chunks, for each chain. The same clip may come twice.

    Raises:
        ChunkGap: A beat has no chunk or two different ones, or a chunk belongs to no beat.
    """
    chunks = _flatten(results)
    by_beat = {chunk.beat_index: chunk for chunk in reversed(chunks)}
    expected = [beat.beat_index for beat in beats]
    problems = (
        ("no chunk for", [index for index in expected if index not in by_beat]),
        ("different chunks for", _contradicting(chunks, by_beat)),
        ("a chunk for unplanned", sorted(set(by_beat) - set(expected))),
    )
    differences = "; ".join(f"{text} {name_beats(indices)}" for text, indices in problems if indices)
    if differences:
        raise ChunkGap(f"{len(expected)} beats, {len(chunks)} chunks: {differences}")
    logger.info("Gathered %d chunks of %d beats", len(by_beat), len(expected))
    return tuple(by_beat[index] for index in sorted(by_beat))


def split_failures(
    results: Iterable[Chunk | StepFailure | Sequence[Chunk | StepFailure]],
) -> tuple[tuple[Chunk, ...], tuple[StepFailure, ...]]:
    """Flatten the results of chains into chunks and failures, each in the order of their beats."""
    flat = _flatten(results)
    chunks = [each for each in flat if isinstance(each, Chunk)]
    failures = [each for each in flat if isinstance(each, StepFailure)]
    return (
        tuple(sorted(chunks, key=lambda chunk: chunk.beat_index)),
        tuple(sorted(failures, key=lambda failure: -1 if failure.beat_index is None else failure.beat_index)),
    )


def _flatten(results: Iterable[T | Sequence[T]]) -> list[T]:
    flat: list[T] = []
    for result in results:
        if isinstance(result, list | tuple):
            flat.extend(result)
        else:
            flat.append(result)  # type: ignore[arg-type]
    return flat


def _contradicting(chunks: Iterable[Chunk], kept: dict[int, Chunk]) -> list[int]:
    return sorted({c.beat_index for c in chunks if c.artifact.digest != kept[c.beat_index].artifact.digest})
