"""Storyboard phase: exactly one image for each beat."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence

from raypipe.errors import StoryboardMismatch
from raypipe.models import Beat, Image

logger = logging.getLogger(__name__)


def check_storyboard(beats: Sequence[Beat], images: Iterable[Image]) -> tuple[Image, ...]:
    """Check that N beats have exactly N images, one each, and return them in the order of the beats.

    Raises:
        StoryboardMismatch: The counts differ, or a beat has not exactly one image, or an image has no beat.
    """
    ordered = tuple(sorted(images, key=lambda image: image.beat_index))
    differences = _differences(
        [beat.beat_index for beat in beats], Counter(image.beat_index for image in ordered)
    )
    if differences:
        message = (
            f"{_count(len(beats), 'beat')} and {_count(len(ordered), 'storyboard image')}: {differences}"
        )
        logger.error("Storyboard does not match: %s", message)
        raise StoryboardMismatch(message)
    logger.info("Storyboard matches: beat count %d, image count %d", len(beats), len(ordered))
    return ordered


def _differences(expected: Sequence[int], found: Counter[int]) -> str:
    missing = [index for index in expected if index not in found]
    repeated = [index for index, times in found.items() if times > 1]
    unknown = sorted(set(found) - set(expected))
    parts = (
        ("no image for", missing),
        ("more than one image for", repeated),
        ("an image for unplanned", unknown),
    )
    return "; ".join(f"{text} {name_beats(indices)}" for text, indices in parts if indices)


def name_beats(indices: Sequence[int]) -> str:
    """Name beats in a message: 'beat 3' or 'beats 3, 5'."""
    return f"beat{'' if len(indices) == 1 else 's'} {', '.join(map(str, indices))}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
