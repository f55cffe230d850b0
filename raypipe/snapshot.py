"""How a video stands at one moment, read from the journal and said in few words."""

import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from raypipe.costs import total
from raypipe.errors import UPSTREAM_FAILED, InvalidSpec, JournalRowBroken
from raypipe.journal import Journal, StepRecord, VideoRecord
from raypipe.models import Beat, BeatSequence, Phase, PhaseOutput, PhaseStatus, StepState, VideoState
from raypipe.phases.references import group_sequences
from raypipe.progress import Progress, outline_of, progress_of
from raypipe.text import dollars, printable, seconds

WAITING, QUEUED, RUNNING, DONE, FAILED, SKIPPED, STOPPED = (
    "waiting", "queued", "running", "done", "failed", "skipped", "stopped",
)  # fmt: skip


class Status(NamedTuple):
    """The state of a step or phase, and what there is to say of it."""

    state: str
    text: str = ""


class BeatRow(NamedTuple):
    """One beat as a line of a table."""

    beat: Beat
    #: index of the beat it follows; None for a reference beat
    follows: int | None
    image: Status
    chunk: Status
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
        steps: Iterable[StepRecord],
        phases: Mapping[Phase, PhaseOutput],
        now: float,
    ) -> None:
        self.video, self.phases, self.now = video, phases, now
        #: the steps of all takes
        self.all_steps = tuple(steps)
        takes = video.spec.takes
        #: the steps of the takes in use, by name
        self.steps = {step.step: step for step in self.all_steps if step.take == takes.get(step.step, 1)}

    @classmethod
    def read(cls, journal: Journal, video_id: str) -> "Snapshot":
        """Read a video as it stands.

        Raises:
            VideoNotFound: There is no such video.
            JournalRowBroken: One of its rows does not hold what it should, or its beats do not fit together.
        """
        phases = journal.phases(video_id)
        steps = journal.steps(video_id)
        # read last: once the row says that the video is over, all the others have been read complete
        return cls(journal.video(video_id), steps, phases, time.time())._checked()

    @classmethod
    def read_many(
        cls, journal: Journal, video_ids: Iterable[str]
    ) -> "dict[str, Snapshot | JournalRowBroken]":
        """Read videos as they stand, with three queries for all; a broken row spoils its own video alone."""
        ids = list(video_ids)
        try:
            phases, steps, videos = journal.phases_of(ids), journal.steps_of(ids), journal.videos(ids)
        except JournalRowBroken:
            return {video_id: _read_or_broken(journal, video_id) for video_id in ids}
        now, found = time.time(), {}
        for each in ids:
            if each in videos:
                found[each] = cls(videos[each], steps[each], phases[each], now)._checked_or_broken()
        return found

    def _checked(self) -> "Snapshot":
        try:
            _ = self.sequences
        except InvalidSpec as error:
            raise JournalRowBroken(
                f"The journal's spec of {self.video.id} does not hold together: {error}"
            ) from error
        return self

    def _checked_or_broken(self) -> "Snapshot | JournalRowBroken":
        try:
            return self._checked()
        except JournalRowBroken as error:
            return error

    @property
    def title(self) -> str:
        """The video's title, safe to print."""
        return printable(self.video.spec.title)

    @property
    def handle(self) -> str:
        """The beginning of the id that holds its time: enough for a person to type."""
        return self.video.id[:16]

    @property
    def length(self) -> float:
        """Seconds of the film that there is, which may lack beats; else of the one that is planned."""
        if self.video.result is None or self.video.state is not VideoState.PARTIAL:
            return self.video.spec.duration
        return sum(beat.duration for beat in self.video.spec.beats if self._is_made(beat))

    def _is_made(self, beat: Beat) -> bool:
        chunk = self.steps.get(f"chunk/{beat.beat_index}")
        return chunk is not None and chunk.state is StepState.DONE

    @property
    def elapsed(self) -> float:
        """Seconds since the video was accepted, until its end if it is over."""
        return (self.video.finished_at or self.now) - self.video.created_at

    @property
    def cost(self) -> float:
        """US dollars spent so far: by the steps while the video goes on, afterwards as its end says."""
        spent = (step.cost for step in self.all_steps)
        return self.video.cost if self.video.state.terminal else total(spent)

    @cached_property
    def progress(self) -> Progress:
        """How far the video is: by its steps that are done and its phases that succeeded."""
        done = [step.step for step in self.steps.values() if step.state is StepState.DONE]
        succeeded = [phase for phase, out in self.phases.items() if out.status is PhaseStatus.SUCCESS]
        completed = self.video.state is VideoState.COMPLETED
        return progress_of(outline_of(self.sequences), done, succeeded, completed)

    @cached_property
    def sequences(self) -> tuple[BeatSequence, ...]:
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
        """Return how many steps of a kind, such as "chunk", are done."""
        return sum(s.state is StepState.DONE for name, s in self.steps.items() if name.startswith(f"{kind}/"))

    def status(self, step: str) -> Status:
        """Return how a step stands: its state, and how long it took or what went wrong."""
        record = self.steps.get(step)
        if record is None or record.state is StepState.INTENT:
            return Status(STOPPED if self._goes_no_further else WAITING)
        if record.state is StepState.DONE:
            took = seconds((record.finished_at or 0) - (record.started_at or 0))
            return Status(DONE, f"{took}, maybe paid twice" if record.possible_duplicate else took)
        if record.state is StepState.FAILED:
            skipped = record.error_code == UPSTREAM_FAILED
            return Status(SKIPPED if skipped else FAILED, printable(record.error_message or ""))
        if self._goes_no_further:
            return Status(STOPPED)
        if record.state is StepState.QUEUED or record.started_at is None:
            return Status(QUEUED)
        if record.state is StepState.UNKNOWN:
            cost = f"; {dollars(record.reserved_cost)} may be paid" if record.reserved_cost else ""
            return Status(RUNNING, f"the provider did not answer; it is asked what became of it{cost}")
        return Status(RUNNING, seconds(self.now - record.started_at))

    @property
    def _goes_no_further(self) -> bool:
        return self.video.state.terminal or self.video.state is VideoState.WAITING or self.abandoned

    @property
    def abandoned(self) -> bool:
        """Whether the video's coordinator has died, and no other has taken it over yet."""
        return self.video.state is VideoState.RUNNING and (self.video.lease_until or 0.0) < self.now

    @property
    def doubtful_cost(self) -> float:
        """US dollars that may have been paid on top, for creates that brought nothing or that nobody answered."""
        left = self._unsettled_cost if self.video.state.terminal else 0.0
        return total([left, *(step.doubtful for step in self.all_steps)])

    @property
    def reserved_cost(self) -> float:
        """US dollars that what is under way at providers may cost."""
        return 0.0 if self.video.state.terminal else self._unsettled_cost

    @property
    def _unsettled_cost(self) -> float:
        under_way = (s for s in self.all_steps if s.state not in (StepState.DONE, StepState.FAILED))
        return total(step.reserved_cost or 0.0 for step in under_way)

    def phase(self, phase: Phase) -> Status:
        """Return how a phase stands: its state, and what went wrong."""
        output = self.phases.get(phase)
        if output is not None:
            failed = output.status is not PhaseStatus.SUCCESS
            return Status(FAILED if failed else DONE, printable(output.error or ""))
        if self._goes_no_further:
            return Status(STOPPED)
        begun = any(s.phase is phase and s.state is not StepState.INTENT for s in self.steps.values())
        return Status(RUNNING if begun else WAITING)

    @property
    def failures(self) -> list[StepRecord]:
        """Steps that failed by themselves, in the order of their beats."""
        failed = [step for step in self.steps.values() if self.status(step.step).state == FAILED]
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
        chunk = self.status(f"chunk/{index}")
        if chunk.state == WAITING:
            chunk = Status(WAITING, "waits for its image" if follows is None else f"waits for beat {follows}")
        if chunk.state == SKIPPED:
            chunk = Status(SKIPPED, "its image failed" if follows is None else f"beat {follows} failed")
        record = self.steps.get(f"chunk/{index}") or self.steps.get(f"image/{index}")
        node = (record.node if record else None) or ""
        return BeatRow(beat, follows, self.status(f"image/{index}"), chunk, node)


def _read_or_broken(journal: Journal, video_id: str) -> Snapshot | JournalRowBroken:
    try:
        return Snapshot.read(journal, video_id)
    except JournalRowBroken as error:
        return error
