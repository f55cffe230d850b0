"""Rows of the journal as frozen values."""

import secrets
import time
from typing import Any, NamedTuple, Self

from pydantic import Field

from raypipe.models import Artifact, Phase, Spec, StepState, Value, VideoRequest, VideoState

#: what ids of videos look like
VIDEO_ID = r"^vid_[0-9a-f]{28}$"


def new_video_id() -> str:
    """Make an id that sorts by the time it was made."""
    return f"vid_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(8)}"


def accepted_at(video_id: str) -> float:
    """Return when a video's id was made, in Unix seconds; 0 if the id does not say."""
    try:
        return int(video_id[4:16], 16) / 1e3
    except ValueError:
        return 0.0


class VideoRecord(Value):
    """One accepted video."""

    id: str
    state: VideoState
    tenant: str = "local"
    #: name of the key that somebody last had it made under
    api_key: str | None = None
    #: the kind of coordinator that may make it
    runner: str
    request: VideoRequest | None = None
    spec: Spec
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    #: the finished MP4
    result: Artifact | None = None
    estimated_cost: float | None = None
    cost: float = 0.0
    error_code: str | None = None
    error_message: str | None = None
    #: the coordinator that makes it, and how many had it before
    lease_owner: str | None = None
    #: when that coordinator's lease runs out, as it was read
    lease_until: float | None = None
    epoch: int = 0
    cancel_requested_at: float | None = None
    crash_count: int = 0


#: states of a step whose job a provider has, or may have
AT_PROVIDER = [StepState.SENT, StepState.ACCEPTED, StepState.UNKNOWN]
#: states of a step that something is being done for
UNDER_WAY = [StepState.QUEUED, StepState.RUNNING, *AT_PROVIDER]
#: a step: its video, name and take
StepKey = tuple[str, str, int]


class Token(NamedTuple):
    """One create: of which step, which take, which attempt."""

    video_id: str
    step: str
    take: int
    attempt: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `StepRecord.token` wrote.

        Raises:
            ValueError: It is something else.
        """
        video_id, *step, take, attempt = text.split("/")
        return cls(video_id, "/".join(step), int(take), int(attempt))


class StepRecord(Value):
    """One piece of slow or paid work and how far it got."""

    video_id: str
    step: str
    take: int = 1
    phase: Phase
    beat_index: int | None
    state: StepState = StepState.INTENT
    #: how many creates were sent, or runs begun
    attempt: int = 0
    #: starts of a gateway that found it under way and were not seen to survive it
    starts: int = 0
    provider: str = "raypipe"
    model: str | None = None
    provider_job_id: str | None = None
    #: whether an earlier create may have been accepted too
    possible_duplicate: bool = False
    input_key: str | None = None
    node: str | None = None
    intent_at: float = Field(default_factory=time.time)
    sent_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    #: what it made, a `Result`, or how it failed, a `StepFailure`
    result: dict[str, Any] | None = None
    estimated_cost: float | None = None
    #: what the newest create may cost, until that is known
    reserved_cost: float | None = None
    #: what creates before it may have cost: nobody knows what became of them, or they brought nothing
    doubtful_cost: float = 0.0
    #: what creates before it have cost
    earlier_cost: float = 0.0
    #: what all creates that brought something have cost
    cost: float = 0.0
    error_code: str | None = None
    error_message: str | None = None

    @property
    def artifact(self) -> Artifact | None:
        """What it made; None if it has not, or failed."""
        return self._named_in_result("artifact")

    @property
    def delivered(self) -> Artifact | None:
        """What its provider delivered when nobody waited for it any more."""
        return self._named_in_result("delivered")

    def _named_in_result(self, name: str) -> Artifact | None:
        found = None if self.result is None else self.result.get(name)
        return None if found is None else Artifact.model_validate(found)

    @property
    def token(self) -> str:
        """Name of the create that was sent last, as `Token.parse` reads it."""
        return f"{self.video_id}/{self.step}/{self.take}/{self.attempt}"

    @property
    def doubtful(self) -> float:
        """US dollars that may have been paid, besides its cost, for what brought nothing."""
        ended = self.state in (StepState.DONE, StepState.FAILED)
        return self.doubtful_cost + ((self.reserved_cost or 0.0) if ended else 0.0)

    def evolve(self, **changes: Any) -> Self:
        """Return the same step with other values."""
        return self.model_copy(update=changes)


#: states of videos that are over
TERMINAL = [state.value for state in VideoState if state.terminal]
#: kind of the last event of a video
DELETED = "video.deleted"


class Event(Value):
    """Something that happened to a video; `id` and `seq` are given by the journal."""

    #: grows with every event of the installation
    id: int = 0
    video_id: str
    #: 1, 2, 3, ... within the video
    seq: int = 0
    at: float = Field(default_factory=time.time)
    kind: str
    step: str | None = None
    take: int | None = None
    beat_index: int | None = None
    data: dict[str, Any] = Field(default_factory=dict)


class TenantEvent(Event):
    """An event with whose it is, which its receivers are not told."""

    tenant: str = Field(exclude=True)
