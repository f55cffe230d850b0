"""Lengths in whole frames, so that beats meet without a gap and fill their video."""

from collections.abc import Sequence
from itertools import accumulate, pairwise

from raypipe.models import FPS

#: no beat is made shorter than this while the video has room for it, in frames
MIN_FRAMES = FPS


def snap(seconds: float) -> float:
    """Return the nearest length of whole frames, in seconds with three decimals."""
    return round(round(seconds * FPS) / FPS, 3)


def fill(lengths: Sequence[float], duration: float) -> list[tuple[float, float]]:
    """Scale lengths in proportion so that they last `duration`, and give each one's start and length.

    All are in seconds. Starts lie on frames, and every length is at least a second where there is room.
    """
    if not lengths:
        return []
    edges = [round(frame / FPS, 3) for frame in _frame_edges(lengths, round(duration * FPS))]
    edges[-1] = duration
    return [(start, round(end - start, 6)) for start, end in pairwise(edges)]


def _frame_edges(lengths: Sequence[float], frames: int) -> list[int]:
    """Frames at which each length begins, and the one at which the last ends."""
    weights = [max(length, 0.0) for length in lengths]
    weights = weights if sum(weights) > 0 else [1.0] * len(weights)
    total = sum(weights)
    edges = [0, *(round(end / total * frames) for end in accumulate(weights))]
    least = max(1, min(MIN_FRAMES, frames // len(weights)))
    for index in range(1, len(edges)):
        edges[index] = max(edges[index], edges[index - 1] + least)
    edges[-1] = frames
    for index in range(len(edges) - 2, 0, -1):
        edges[index] = min(edges[index], edges[index + 1] - least)
    return edges
