"""Rows of the journal as frozen values."""

import secrets
import time
from typing import Any, Self

from pydantic import Field

from raypipe.models import Artifact, Phase, Spec, StepState, Value, VideoState


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
    spec: Spec
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    #: the finished MP4
    result: Artifact | None = None
    cost: float = 0.0
    error_code: str | None = None
    error_message: str | None = None
    lease_owner: str | None = None
    lease_until: float | None = None
    epoch: int = 0
    cancel_requested_at: float | None = None
    crash_count: int = 0


class StepRecord(Value):
    """One piece of slow or paid work and how far it got."""

    video_id: str
    step: str
    phase: Phase
    beat_index: int | None
    state: StepState
    provider: str
    attempt: int = 1
    provider_job_id: str | None = None
    input_key: str | None = None
    node: str | None = None
    intent_at: float
    started_at: float | None = None
    finished_at: float | None = None
    artifact: Artifact | None = None
    cost: float = 0.0
    error_code: str | None = None
    error_message: str | None = None

    def evolve(self, **changes: Any) -> Self:
        """Return the same step with other values."""
        return self.model_copy(update=changes)


class Event(Value):
    """Something that happened to a video; `seq` is given by the journal."""

    video_id: str
    seq: int = 0
    at: float = Field(default_factory=time.time)
    kind: str
    step: str | None = None
    beat_index: int | None = None
    data: dict[str, Any] = Field(default_factory=dict)
