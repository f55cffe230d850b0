"""A compute provider whose work for one step takes all the memory there is."""

import time
from typing import ClassVar

from pydantic import Field

from raypipe.artifacts import ArtifactStore
from raypipe.models import Value
from raypipe.providers.base import Media, Work
from raypipe.providers.local import LocalProvider


class GreedyOptions(Value):
    """What takes memory, and how much."""

    step: str = ""
    mib: int = Field(default=6_000, ge=1)


class GreedyProvider(LocalProvider):
    """Draws as the local provider does, but for one step."""

    name: ClassVar[str] = "greedy"
    Options = GreedyOptions

    def generate(self, work: Work, store: ArtifactStore) -> Media:
        options = GreedyOptions.model_validate(work.options)
        if work.step == options.step:
            held = []
            for _ in range(options.mib // 64):
                held.append(b"x" * 2**26)
                time.sleep(0.02)  # so that whoever watches over memory sees it grow
        return super().generate(work, store)
