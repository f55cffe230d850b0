"""How far a video is, in per cent, from the steps that are done.

Chunks count by the seed's formula, in which references fill one half and followers the other:

    50 * finished references / references + 50 * finished followers / followers

As a sum it takes nothing back when a follower ends before another chain's reference. A video's percentage is
the weighted sum of its phases'. Both only grow while steps are added.
"""

from collections.abc import Collection, Iterable
from typing import TypeVar

from pydantic import Field

from raypipe.models import BeatSequence, Phase, Value

T = TypeVar("T")

#: share of each phase in the video's percentage
WEIGHTS = {
    Phase.PLAN: 2,
    Phase.STORYBOARD: 18,
    Phase.REFERENCES: 2,
    Phase.CHUNKS: 60,
    Phase.MUSIC: 8,
    Phase.STITCH: 10,
}
MUSIC_STEPS = ("music", "music_fit")
#: what a video reaches before it is completed
ALMOST = 99.0


class Outline(Value):
    """What progress needs to know of a plan."""

    #: beat indices of reference beats and of followers
    references: frozenset[int]
    followers: frozenset[int]

    @property
    def beats(self) -> frozenset[int]:
        """All beat indices."""
        return self.references | self.followers


class Progress(Value):
    """How far a video is, in per cent."""

    overall: float = Field(ge=0, le=100)
    phases: dict[Phase, float]

    @property
    def chunks(self) -> float:
        """Percentage of the chunks phase: references fill 0 to 50, followers 50 to 100."""
        return self.phases[Phase.CHUNKS]

    @property
    def percent(self) -> int:
        """The video's percentage as a whole number; 100 only if the video is completed."""
        return int(self.overall)


def outline_of(sequences: Iterable[BeatSequence]) -> Outline:
    """Take from grouped beats what progress needs to know."""
    chains = list(sequences)
    return Outline(
        references=frozenset(chain.reference.beat_index for chain in chains),
        followers=frozenset(beat.beat_index for chain in chains for beat in chain.followers),
    )


def progress_of(
    outline: Outline, done: Iterable[str], succeeded: Collection[Phase] = (), completed: bool = False
) -> Progress:
    """Work out how far a planned video is.

    Args:
        outline: Which beats the video has.
        done: Names of the steps that are done, such as 'image/3', 'chunk/4' or 'music'; others are ignored.
        succeeded: Phases that have ended as they should; they count in full.
        completed: Whether the video is completed; only then is it at 100.
    """
    steps = frozenset(done)
    found = {
        Phase.PLAN: 100.0,
        Phase.STORYBOARD: _share(outline.beats, _beats(steps, "image")),
        Phase.REFERENCES: 0.0,
        Phase.CHUNKS: chunk_progress(outline, _beats(steps, "chunk")),
        Phase.MUSIC: _share(frozenset(MUSIC_STEPS), steps),
        Phase.STITCH: 100.0 if "stitch" in steps else 0.0,
    }
    phases = {phase: 100.0 if completed or phase in succeeded else found[phase] for phase in Phase}
    overall = (
        100.0 if completed else min(ALMOST, sum(WEIGHTS[phase] * phases[phase] for phase in Phase) / 100)
    )
    return Progress(overall=overall, phases=phases)


def chunk_progress(outline: Outline, done: Collection[int]) -> float:
    """Percentage of the chunks phase, given the beats whose chunks are done."""
    finished = outline.beats & frozenset(done)
    if finished == outline.beats:
        return 100.0
    return (_share(outline.references, finished) + _share(outline.followers, finished)) / 2


def _beats(steps: Iterable[str], kind: str) -> frozenset[int]:
    names = (step.partition("/") for step in steps)
    return frozenset(int(index) for name, _, index in names if name == kind and index.isdecimal())


def _share(wanted: frozenset[T], done: frozenset[T]) -> float:
    return 100.0 * len(wanted & done) / len(wanted) if wanted else 0.0
