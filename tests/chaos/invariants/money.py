"""What must hold of each video's creates and of its money, by its rows and by the provider's ledger."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from raypipe.errors import (
    Cancelled,
    ContentRefused,
    DeliveryExpired,
    MediaError,
    ProviderRejected,
    TookTooLong,
)
from raypipe.journal import Event, StepKey, StepRecord
from raypipe.models import StepState, VideoState
from tests.chaos.invariants.evidence import VideoEvidence

#: seconds that a create which was on its way when its video was cancelled may take to arrive
ON_ITS_WAY = 2.0
#: kinds of events after which nothing may be created, until one after which it may again
_STOPS = ("video.cancelling", "video.cancelled")
_GOES_ON = ("video.started", "video.resumed", "video.edited")
#: codes of failures after which a job that was paid brings nothing, so that the step may be created again
NOTHING_TO_FETCH = [
    error.code
    for error in (ProviderRejected, ContentRefused, MediaError, DeliveryExpired, TookTooLong, Cancelled)
]
#: US dollars by which sums may differ
ROUNDING = 1e-6


def created_once(evidence: VideoEvidence) -> Iterator[str]:
    """A step is created once; again only where a job failed, or where its row says that it may be paid twice."""
    failed = Counter(
        (event.video_id, event.step, event.take)
        for event in evidence.events
        if event.kind == "step.failed" and event.data.get("code") in NOTHING_TO_FETCH
    )
    for key, number in Counter(create.key for create in evidence.creates).items():
        row = evidence.steps.get(key)
        if row is None:
            yield f"{key} was created, and has no row"
        elif number > 1 + failed[key] and not row.possible_duplicate:
            yield f"{key} was created {number} times, and its row does not say so"
    for token, number in Counter(create.token for create in evidence.creates).items():
        if number > 1:
            yield f"the same create, {token}, was sent {number} times"


def created_no_further_than_its_row(evidence: VideoEvidence) -> Iterator[str]:
    """No create is of an attempt that its step's row has not come to."""
    for create in evidence.creates:
        row = evidence.steps.get(create.key)
        if row is not None and create.token.attempt > row.attempt:
            yield f"{create.token} was created, and its row has come to attempt {row.attempt} only"


def job_is_one_that_was_created(evidence: VideoEvidence) -> Iterator[str]:
    """The job that a step's row names is one that was created for that step."""
    jobs: dict[StepKey, set[str]] = defaultdict(set)
    for create in evidence.creates:
        jobs[create.key].add(create.job_id)
    for key, row in evidence.steps.items():
        if row.provider_job_id is not None and jobs[key] and row.provider_job_id not in jobs[key]:
            yield f"{key} has the job {row.provider_job_id}, which was not created for it"


def not_created_once_cancelled(evidence: VideoEvidence) -> Iterator[str]:
    """Nothing is created for a video that was cancelled."""
    for create in evidence.creates:
        if create.at is not None and _is_stopped(evidence.events, create.at - ON_ITS_WAY):
            yield f"{create.key} was created after its video was cancelled"


def _is_stopped(events: list[Event], at: float) -> bool:
    """Tell whether a video was cancelled by then, and not gone on with within what a create may take to arrive."""
    steered = [event for event in events if event.kind in (*_STOPS, *_GOES_ON) and event.at < at]
    soon = any(event.kind in _GOES_ON and at <= event.at <= at + ON_ITS_WAY for event in events)
    return bool(steered) and steered[-1].kind in _STOPS and not soon


def costs_what_its_steps_cost(evidence: VideoEvidence) -> Iterator[str]:
    """A video that has ended costs what its steps cost; one that is completed also what its phases cost."""
    video, spent = evidence.video, sum(row.cost for row in evidence.steps.values())
    if video.state.terminal and abs(video.cost - spent) > ROUNDING:
        yield f"{video.id} has cost {video.cost}, and its steps {spent}"
    phases = sum(output.cost for output in evidence.phases.values())
    if video.state is VideoState.COMPLETED and abs(video.cost - phases) > ROUNDING:
        yield f"{video.id} has cost {video.cost}, and its phases {phases}"


def rows_are_what_was_paid(evidence: VideoEvidence) -> Iterator[str]:
    """What the ledger says was paid for a step lies between what its row says was, and may have been."""
    paid: dict[StepKey, float] = defaultdict(float)
    for create in evidence.creates:
        paid[create.key] += create.price or 0.0
    for key, row in evidence.steps.items() if evidence.has_prices else ():
        at_most = row.cost + row.doubtful_cost + (row.reserved_cost or 0.0)
        if not row.cost - ROUNDING <= paid[key] <= at_most + ROUNDING:
            yield f"{key} has cost {row.cost}, at most {at_most}, and its creates {paid[key]}"


def money_is_reserved_only_for_what_may_be_paid(evidence: VideoEvidence) -> Iterator[str]:
    """Of a video that rests only a step that failed, after it had been sent, has money reserved: it may be paid."""
    for row in evidence.steps.values() if evidence.rests else ():
        if row.reserved_cost and not _may_be_paid(row):
            reserve = f"has {row.reserved_cost} dollars reserved"
            yield f"{row.step} of {row.video_id} is {row.state}, and {reserve} that nobody will spend"


def _may_be_paid(row: StepRecord) -> bool:
    was_sent = row.sent_at is not None and row.attempt > 0
    return was_sent and row.state not in (StepState.DONE, StepState.INTENT)


def stays_within_its_budget(evidence: VideoEvidence) -> Iterator[str]:
    """What a video has cost, may have cost and has reserved is no more than its budget; nor is what the ledger says."""
    budget = evidence.video.spec.budget
    if budget is None:
        return
    if evidence.committed > budget + ROUNDING:
        yield f"{evidence.video.id} has spent {evidence.committed} of a budget of {budget}"
    paid = sum(create.price or 0.0 for create in evidence.creates)
    if paid > budget + ROUNDING:
        yield f"{evidence.video.id} was paid with {paid} of a budget of {budget}"


def no_sum_is_negative(evidence: VideoEvidence) -> Iterator[str]:
    """No sum of money is negative, and what earlier creates of a step cost is part of what it costs."""
    for row in evidence.steps.values():
        sums = (row.cost, row.doubtful_cost, row.earlier_cost, row.reserved_cost or 0.0)
        if min(sums) < 0:
            yield f"{row.step} of {row.video_id} has a negative sum of money: {sums}"
        elif row.earlier_cost > row.cost + ROUNDING:
            yield f"{row.step} of {row.video_id} has cost {row.cost}, and {row.earlier_cost} before that"


MONEY = (
    created_once, created_no_further_than_its_row, job_is_one_that_was_created, not_created_once_cancelled,
    costs_what_its_steps_cost, rows_are_what_was_paid, money_is_reserved_only_for_what_may_be_paid,
    stays_within_its_budget, no_sum_is_negative,
)  # fmt: skip
