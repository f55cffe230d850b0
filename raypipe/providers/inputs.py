"""A model's inputs: which of raypipe's words stand for which of the vendor's fields."""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

from raypipe.errors import InternalError
from raypipe.models import Artifact
from raypipe.providers.base import ClipWork, Model, MusicWork, Work

#: what a vendor's field may stand for
Word = Literal[
    "prompt",
    "seconds",
    "seconds_text",
    "aspect_ratio",
    "width",
    "height",
    "size",
    "seed",
    "fps",
    "start_image",
    "reference",
    "references",
]
Picture = Callable[[Artifact], Awaitable[str]]

#: aspect ratios that image models know by name
_RATIOS = ("1:1", "16:9", "9:16", "4:3", "3:4", "3:2", "2:3", "21:9", "9:21")


async def inputs_of(work: Work, model: Model, names: Mapping[str, Word], picture: Picture) -> dict[str, Any]:
    """Fill a vendor's fields from the work.

    Args:
        work: What to make.
        model: Who makes it.
        names: For each of the vendor's fields what it stands for.
        picture: Gives a stored picture as text that the vendor takes: a data: URI or an address.
    """
    values = _plain_values(work, model)
    if "start_image" in names.values():
        if not isinstance(work, ClipWork) or work.start is None:
            raise InternalError(f"{work.step} has no start image")
        values["start_image"] = await picture(work.start)
    given = work.job.reference_pictures[: model.references]
    if given and {"reference", "references"} & set(names.values()):
        values["references"] = [await picture(each) for each in given]
        values["reference"] = values["references"][0]
    # what nobody has given is left out
    return {field: values[word] for field, word in names.items() if word in values}


def _plain_values(work: Work, model: Model) -> dict[Word, Any]:
    size = work.job.size
    return {
        "prompt": prompt_of(work),
        "seconds": _seconds(work, model),
        "seconds_text": str(_seconds(work, model)),
        "aspect_ratio": min(_RATIOS, key=lambda each: abs(math.log(_ratio(each) * size.height / size.width))),
        "width": size.width,
        "height": size.height,
        "size": {"width": size.width, "height": size.height},
        "seed": work.seed,
        "fps": work.job.fps,
    }


def prompt_of(work: Work) -> str:
    """Say in words what to make."""
    if isinstance(work, MusicWork):
        return f"{work.job.mood} instrumental music for a film: {work.job.prompt}"
    if isinstance(work, ClipWork):
        return f"{work.beat.prompt} Camera: {work.beat.camera_movement}."
    return work.beat.prompt


def paid_seconds(work: Work, model: Model) -> float:
    """Return the seconds that a model is asked, and paid, for."""
    if isinstance(work, ClipWork):
        return model.seconds_for(work.beat.duration)
    return music_seconds(work.seconds, model) if isinstance(work, MusicWork) else 0.0


def music_seconds(seconds: float, model: Model) -> int:
    """Return the seconds of music that a model is asked, and paid, for: whole ones, as many as it can."""
    return math.ceil(min(seconds, model.durations[-1]) if model.durations else seconds)


def _seconds(work: Work, model: Model) -> float | int:
    seconds = paid_seconds(work, model)
    return int(seconds) if float(seconds).is_integer() else seconds


def _ratio(text: str) -> float:
    width, height = text.split(":")
    return int(width) / int(height)
