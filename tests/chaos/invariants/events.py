"""What must hold of each video's events: they are numbered, and tell what the rows say."""

from collections.abc import Iterator

from raypipe.journal import INTERRUPTED
from raypipe.models import StepState
from tests.chaos.invariants.evidence import VideoEvidence


def numbered_without_gaps(evidence: VideoEvidence) -> Iterator[str]:
    """A video's events are numbered 1, 2, 3, ..., and their ids increase."""
    video_id = evidence.video.id
    seqs, ids = [event.seq for event in evidence.events], [event.id for event in evidence.events]
    if ids != sorted(set(ids)):
        yield f"the ids of the events of {video_id} do not increase: {ids}"
    if seqs != list(range(1, len(seqs) + 1)):
        yield f"the events of {video_id} are numbered {seqs}"


def video_is_what_its_last_event_says(evidence: VideoEvidence) -> Iterator[str]:
    """The last event of a video that rests says how it stands: who follows events knows what a reader of rows knows."""
    video = evidence.video
    kinds = [event.kind for event in evidence.events if event.kind.startswith("video.")]
    last = kinds[-1] if kinds else "none"
    # a command line's video that was never begun is put back without a word
    if evidence.rests and video.error_code != INTERRUPTED and last != f"video.{video.state}":
        yield f"{video.id} is {video.state}, and its last event is {last}"


def steps_are_what_their_last_events_say(evidence: VideoEvidence) -> Iterator[str]:
    """The last event of a step that is done, or has failed, says so."""
    for key, row in evidence.steps.items():
        if row.state in (StepState.DONE, StepState.FAILED):
            kinds = [event.kind for event in evidence.events_of(key)]
            last = kinds[-1] if kinds else "none"
            if last != f"step.{row.state}":
                yield f"{row.step} of {row.video_id} is {row.state}, and its last event is {last}"


def what_is_told_to_be_done_has_a_row(evidence: VideoEvidence) -> Iterator[str]:
    """A step that an event tells to be done has a row."""
    told = {
        (event.video_id, event.step, event.take)
        for event in evidence.events
        if event.kind == "step.done" and event.step is not None and event.take is not None
    }
    for key in sorted(told - evidence.steps.keys()):
        yield f"{key} is told to be done, and has no row"


EVENTS = (
    numbered_without_gaps, video_is_what_its_last_event_says, steps_are_what_their_last_events_say,
    what_is_told_to_be_done_has_a_row,
)  # fmt: skip
