"""How a video stands at one moment, read from the journal and said in few words."""

import re
import time
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

from raypipe.journal import Journal, StepRecord, VideoRecord
from raypipe.models import Beat, Phase, PhaseOutput, PhaseStatus, Sequence, StepState, VideoState
from raypipe.phases.references import group_sequences
from raypipe.progress import outline_of, progress_of

WAITING, QUEUED, RUNNING, DONE, FAILED, SKIPPED, STOPPED = (
    "waiting", "queued", "running", "done", "failed", "skipped", "stopped",
)  # fmt: skip

_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]+")


class Stand(NamedTuple):
    """How a piece of work stands, and what there is to say of it."""

    state: str
    text: str = ""


class BeatRow(NamedTuple):
    """One beat as a line of a table."""

    beat: Beat
    #: index of the beat it follows; None for a reference beat
    follows: int | None
    image: Stand
    chunk: Stand
    node: str

    @property
    def active(self) -> bool:
        """Whether something is being done for it."""
        return RUNNING in (self.image.state, self.chunk.state)

    @property
    def failed(self) -> bool:
        """Whether something went wrong with it."""
        return FAILED in (self.image.state, self.chunk.state)


class Snapshot:
    """One video with its steps and phases as the journal had them at `now`."""

    def __init__(
        self,
        video: VideoRecord,
        steps: Mapping[str, StepRecord],
        phases: Mapping[Phase, PhaseOutput],
        now: float,
    ) -> None:
        self.video, self.steps, self.phases, self.now = video, steps, phases, now

    @classmethod
    def read(cls, journal: Journal, video_id: str) -> "Snapshot":
        """Read a video as it stands.

        Raises:
            VideoNotFound: There is no such video.
        """
        phases = journal.phases(video_id)
        steps = {step.step: step for step in journal.steps(video_id)}
        # read last: once the row says that the video is over, all the others have been read complete
        return cls(journal.video(video_id), steps, phases, time.time())

    @property
    def title(self) -> str:
        """The video's title, safe to print."""
        return printable(self.video.spec.title)

    @property
    def handle(self) -> str:
        """The beginning of the id that holds its time: enough for a person to type."""
        return self.video.id[:16]

    @property
    def elapsed(self) -> float:
        """Seconds since the video was accepted, until its end if it is over."""
        return (self.video.finished_at or self.now) - self.video.created_at

    @property
    def percent(self) -> float:
        """Progress of the whole video."""
        done = [step.step for step in self.steps.values() if step.state is StepState.DONE]
        finished = [phase for phase in self.phases if self.phase(phase).state == DONE]
        completed = self.video.state is VideoState.COMPLETED
        return progress_of(outline_of(self.sequences), done, finished, completed).overall

    @cached_property
    def sequences(self) -> tuple[Sequence, ...]:
        """The beats, grouped."""
        return group_sequences(self.video.spec.beats, self.video.spec.followers_per_reference)

    @cached_property
    def follows(self) -> dict[int, int]:
        """The predecessor of each follower."""
        return {
            follower.beat_index: before.beat_index
            for sequence in self.sequences
            for before, follower in zip(sequence.beats, sequence.followers, strict=False)
        }

    @cached_property
    def rows(self) -> list[BeatRow]:
        """All beats in order."""
        return [self._row(beat) for beat in self.video.spec.beats]

    def count(self, kind: str) -> int:
        """How many steps of a kind, such as "chunk", are done."""
        return sum(s.state is StepState.DONE for name, s in self.steps.items() if name.startswith(f"{kind}/"))

    def stand(self, step: str) -> Stand:
        """How a step stands."""
        record = self.steps.get(step)
        if record is None:
            return Stand(STOPPED if self.video.state.terminal else WAITING)
        if record.state is StepState.DONE:
            return Stand(DONE, seconds((record.finished_at or 0) - (record.started_at or 0)))
        if record.state is StepState.FAILED:
            skipped = record.error_code == "upstream_failed"
            return Stand(SKIPPED if skipped else FAILED, printable(record.error_message or ""))
        if self.video.state.terminal:
            return Stand(STOPPED)
        if record.started_at is None:
            return Stand(QUEUED)
        return Stand(RUNNING, seconds(self.now - record.started_at))

    def phase(self, phase: Phase) -> Stand:
        """How a phase stands."""
        output = self.phases.get(phase)
        if output is not None:
            failed = output.status is not PhaseStatus.SUCCESS
            return Stand(FAILED if failed else DONE, printable(output.error or ""))
        if self.video.state.terminal:
            return Stand(STOPPED)
        begun = any(step.phase is phase for step in self.steps.values())
        return Stand(RUNNING if begun else WAITING)

    @property
    def failures(self) -> list[StepRecord]:
        """Steps that failed by themselves, in the order of their beats."""
        failed = [step for step in self.steps.values() if self.stand(step.step).state == FAILED]
        return sorted(failed, key=lambda step: (step.beat_index is None, step.beat_index or 0))

    @property
    def ordered_steps(self) -> list[StepRecord]:
        """All steps by phase and beat."""
        phases = list(Phase)
        return sorted(self.steps.values(), key=lambda s: (phases.index(s.phase), s.beat_index or 0, s.step))

    @property
    def nodes(self) -> set[str]:
        """Ids of the nodes that did something."""
        return {step.node for step in self.steps.values() if step.node}

    def _row(self, beat: Beat) -> BeatRow:
        index, follows = beat.beat_index, self.follows.get(beat.beat_index)
        chunk = self.stand(f"chunk/{index}")
        if chunk.state == WAITING:
            chunk = Stand(WAITING, "waits for its image" if follows is None else f"waits for beat {follows}")
        if chunk.state == SKIPPED:
            chunk = Stand(SKIPPED, "its image failed" if follows is None else f"beat {follows} failed")
        record = self.steps.get(f"chunk/{index}") or self.steps.get(f"image/{index}")
        node = (record.node if record else None) or ""
        return BeatRow(beat, follows, self.stand(f"image/{index}"), chunk, node)


def printable(text: str) -> str:
    """Make a text one line without anything that a terminal would obey."""
    return _UNPRINTABLE.sub(" ", text).strip()


def seconds(value: float) -> str:
    """A length of time as people write it."""
    value = max(0.0, value)
    if value < 10:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 36_000 else f"{value / 3600:.0f} h"


def clock(value: float) -> str:
    """A length of time as on a clock: 1:05 or 2:01:05."""
    minutes, second = divmod(int(max(0.0, value)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def size_of(count: int) -> str:
    """A number of bytes as people write it."""
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e3:.0f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
