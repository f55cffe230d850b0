"""What must hold of each video that was accepted, once everything has come to rest."""

from collections.abc import Iterator

from raypipe.errors import APPROVAL, PAUSING, ArtifactMissing
from raypipe.journal import INTERRUPTED
from raypipe.media.video import probe
from raypipe.models import Phase, PhaseStatus, StepState, VideoState
from tests.chaos.invariants.evidence import VideoEvidence

#: phases that have succeeded where a film is complete; it may lack its music, and say so
_OF_A_FILM = (Phase.STORYBOARD, Phase.REFERENCES, Phase.CHUNKS, Phase.STITCH)


def comes_to_an_end(evidence: VideoEvidence) -> Iterator[str]:
    """A video ends, or waits for somebody."""
    video = evidence.video
    if not (video.state.terminal or video.state is VideoState.WAITING):
        yield f"{video.id} is {video.state}"


def completed_has_its_film(evidence: VideoEvidence) -> Iterator[str]:
    """A completed video has a film, which its stitch step made."""
    video, stitch = evidence.video, evidence.in_use.get("stitch")
    if video.state is not VideoState.COMPLETED:
        return
    if video.result is None:
        yield f"{video.id} is completed and has no film"
    elif stitch is None or stitch.artifact != video.result:
        yield f"{video.id} is completed, and its film is not what its stitch step has made"


def film_is_as_long_as_its_plan(evidence: VideoEvidence) -> Iterator[str]:
    """The film of a completed video can be played, and has as many frames as its plan."""
    video = evidence.video
    if video.state is not VideoState.COMPLETED or video.result is None:
        return
    try:
        frames = probe(evidence.store.get(video.result)).frames
    except ArtifactMissing:
        yield f"{video.id} is completed, and its film is missing"
        return
    if frames != video.spec.frames:
        yield f"{video.id} has a film of {frames} frames, and a plan of {video.spec.frames}"


def only_what_was_stitched_has_a_film(evidence: VideoEvidence) -> Iterator[str]:
    """A video that is neither completed nor partial has no film."""
    video = evidence.video
    if video.result is not None and video.state not in (VideoState.COMPLETED, VideoState.PARTIAL):
        yield f"{video.id} is {video.state} and has a film"


def completed_has_all_of_its_beats(evidence: VideoEvidence) -> Iterator[str]:
    """A completed video has the image and the chunk of each of its beats, and the phases of a film have succeeded."""
    if evidence.video.state is not VideoState.COMPLETED:
        return
    video, steps = evidence.video, evidence.in_use
    indices = [beat.beat_index for beat in video.spec.beats]
    for name in [*(f"image/{i}" for i in indices), *(f"chunk/{i}" for i in indices), "stitch"]:
        if name not in steps or steps[name].state is not StepState.DONE:
            state = steps[name].state if name in steps else "not there"
            yield f"{video.id} is completed, and its step {name} is {state}"
    for phase in _OF_A_FILM:
        output = evidence.phases.get(phase)
        if output is None or output.status is not PhaseStatus.SUCCESS:
            status = "not there" if output is None else output.status
            yield f"{video.id} is completed, and its phase {phase} is {status}"


def says_why_it_ended(evidence: VideoEvidence) -> Iterator[str]:
    """A video that has not succeeded has a code and a message for it; a completed one has none."""
    video = evidence.video
    if video.state is VideoState.COMPLETED:
        if video.error_code is not None:
            yield f"{video.id} is completed and has the code {video.error_code}"
    elif video.state.terminal and not (video.error_code and video.error_message):
        what = "message" if video.error_code else "code"
        yield f"{video.id} is {video.state} and has no {what}"


def says_when_it_ended(evidence: VideoEvidence) -> Iterator[str]:
    """A video has a time of its end if, and only if, it has ended; it is not before its beginning."""
    video = evidence.video
    if video.state.terminal and video.finished_at is None:
        yield f"{video.id} is {video.state} and does not say since when"
    elif not video.state.terminal and video.finished_at is not None:
        yield f"{video.id} is {video.state} and says that it has ended"
    elif video.finished_at is not None and video.finished_at < video.created_at:
        yield f"{video.id} has ended before it began"


def waits_for_something(evidence: VideoEvidence) -> Iterator[str]:
    """A video that waits names what it waits for, and that is there: an approval to give, or a step without money."""
    video, steps = evidence.video, evidence.in_use.values()
    if video.state is not VideoState.WAITING:
        return
    code = video.error_code
    if code == APPROVAL:
        images = [step for step in steps if step.phase is Phase.STORYBOARD]
        if video.spec.until is None or any(step.state is not StepState.DONE for step in images):
            yield f"{video.id} waits for approval, and there is no storyboard to approve"
    elif code in PAUSING:
        if not any(step.state is StepState.FAILED and step.error_code == code for step in steps):
            yield f"{video.id} waits because of {code}, and no step of it does"
    elif code != INTERRUPTED:
        yield f"{video.id} waits, and for what is not known: its code is {code}"


VIDEOS = (
    comes_to_an_end, completed_has_its_film, film_is_as_long_as_its_plan, only_what_was_stitched_has_a_film,
    completed_has_all_of_its_beats, says_why_it_ended, says_when_it_ended, waits_for_something,
)  # fmt: skip
