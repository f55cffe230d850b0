"""Metrics for Prometheus, on the endpoint that Ray has on each node. All are named raypipe_...

Each process counts its own; what a sum over processes means is said beside each.
"""

from collections import Counter as Tally
from collections.abc import Iterable
from functools import cached_property

from ray.util.metrics import Counter, Gauge, Histogram

from raypipe.journal import StepRecord
from raypipe.models import StepState, VideoState

#: seconds from a step's first create, or the begin of its work, to its end
_SECONDS = [0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1_800.0, 3_600.0]
_BY = ("provider", "phase")
#: states of videos that are shown, also where there are none
_SHOWN = [state for state in VideoState if not state.terminal]


class StepMetrics:
    """What a gateway counts of the steps that it does."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    @cached_property
    def _ended(self) -> Counter:
        return Counter("raypipe_steps", "Steps that have ended", tag_keys=(*_BY, "state"))

    @cached_property
    def _seconds(self) -> Histogram:
        said = "Seconds from the first create, or the begin of the work, to its end"
        return Histogram("raypipe_step_seconds", said, boundaries=_SECONDS, tag_keys=_BY)

    @cached_property
    def _cost(self) -> Counter:
        return Counter("raypipe_cost_dollars", "US dollars that steps have cost", tag_keys=_BY)

    @cached_property
    def _retries(self) -> Counter:
        return Counter("raypipe_step_retries", "Creates and runs after a step's first", tag_keys=_BY)

    @cached_property
    def _in_flight(self) -> Gauge:
        return Gauge("raypipe_steps_in_flight", "Steps under way; sum over gateways", tag_keys=("provider",))

    def note(self, row: StepRecord, before: StepRecord | None) -> None:
        """Count a step whose row was committed.

        Args:
            row: As it is now.
            before: As it was; None if this process has not seen it before.
        """
        tags = {"provider": row.provider, "phase": row.phase.value}
        if row.attempt > max(1, before.attempt if before else 0):
            self._retries.inc(1, tags)
        if (more := row.cost - (before.cost if before else 0.0)) > 0:
            self._cost.inc(more, tags)
        if row.state in (StepState.DONE, StepState.FAILED):
            self._ended.inc(1, {**tags, "state": row.state.value})
            if row.started_at is not None and row.finished_at is not None:
                self._seconds.observe(max(0.0, row.finished_at - row.started_at), tags)

    def show_in_flight(self, rows: Iterable[StepRecord]) -> None:
        """Set how many steps each provider has under way here; a provider that had some and has none is at 0."""
        tally = Tally(row.provider for row in rows)
        self._seen |= tally.keys()
        for provider in self._seen:
            self._in_flight.set(tally[provider], {"provider": provider})


class ServiceMetrics:
    """What a service counts of videos."""

    @cached_property
    def _videos(self) -> Gauge:
        said = "Videos in the journal that are not over, by state; the same from every service"
        return Gauge("raypipe_videos", said, tag_keys=("state",))

    @cached_property
    def _lost(self) -> Counter:
        return Counter("raypipe_lease_losses", "Videos that another coordinator has taken over from this one")

    def show_videos(self, counts: dict[VideoState, int]) -> None:
        """Set how many videos are in which state; queued is the depth of the queue."""
        for state in _SHOWN:
            self._videos.set(counts.get(state, 0), {"state": state.value})

    def note_lost(self) -> None:
        """Count a video that was taken over."""
        self._lost.inc(1)
