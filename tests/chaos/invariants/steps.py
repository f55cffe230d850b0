"""What must hold of the steps of each video: their states, their artifacts, and what they were seen to be."""

import hashlib
from collections.abc import Iterator

from raypipe.errors import ArtifactMissing
from raypipe.journal import UNDER_WAY
from raypipe.models import StepState
from tests.chaos.invariants.evidence import VideoEvidence


def nothing_is_under_way_in_what_rests(evidence: VideoEvidence) -> Iterator[str]:
    """Of a video that has ended, or waits for somebody, nothing is under way."""
    for step in evidence.steps.values() if evidence.rests else ():
        if step.state in UNDER_WAY:
            video = evidence.video
            yield f"{step.step} of {video.id} is under way ({step.state}), and the video is {video.state}"


def done_has_its_artifact(evidence: VideoEvidence) -> Iterator[str]:
    """A step that is done has an artifact, which the store holds, byte for byte."""
    for step in evidence.steps.values():
        if step.state is not StepState.DONE:
            continue
        if step.artifact is None:
            yield f"{step.video_id} {step.step} is done and has no artifact"
            continue
        try:
            data = evidence.store.get(step.artifact)
        except ArtifactMissing:
            yield f"{step.video_id} {step.step}: its artifact is missing"
            continue
        if hashlib.sha256(data).hexdigest() != step.artifact.digest:
            yield f"{step.video_id} {step.step}: its artifact is not what its name says"


def says_how_it_ended(evidence: VideoEvidence) -> Iterator[str]:
    """A step that failed has a code, a message and its whole failure; one that is done has no code; both say when."""
    for step in evidence.steps.values():
        name = f"{step.step} of {step.video_id}"
        if step.state is StepState.FAILED:
            if not (step.error_code and step.error_message):
                yield f"{name} has failed and has no {'message' if step.error_code else 'code'}"
            elif step.result is None or step.result.get("code") != step.error_code:
                yield f"{name} has failed, and what is stored of that is another failure"
        if step.state is StepState.DONE and step.error_code is not None:
            yield f"{name} is done and has the code {step.error_code}"
        if step.state in (StepState.DONE, StepState.FAILED) and step.finished_at is None:
            yield f"{name} is {step.state} and does not say since when"


def done_stays_as_it_is(evidence: VideoEvidence) -> Iterator[str]:
    """A step that was done once keeps its row, and nothing of it changes."""
    for key, before in evidence.done.items():
        step = evidence.steps.get(key)
        if step is None:
            yield f"{key} was done, and has no row any more"
        elif step != before:
            fields = type(step).model_fields
            names = [name for name in fields if getattr(step, name) != getattr(before, name)]
            yield f"{key} was done and has changed: {', '.join(names)}"


STEPS = (
    nothing_is_under_way_in_what_rests, done_has_its_artifact, says_how_it_ended, done_stays_as_it_is,
)  # fmt: skip
