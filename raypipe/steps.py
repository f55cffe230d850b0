"""A step under way: the journal learns when it is queued, starts, is accepted, ends or fails."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from raypipe.errors import RaypipeError, as_raypipe_error
from raypipe.journal import Event, Journal, Recorder, StepRecord
from raypipe.models import Job, Phase, Result, StepFailure, StepState
from raypipe.text import valid_text

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT", bound=Result)


class StepLog:
    """Writes one step's progress to the journal; each coroutine returns when the journal has committed."""

    def __init__(self, steps: "Steps", record: StepRecord) -> None:
        self._steps = steps
        self._happened: list[Event] = []
        self.record = record

    async def queued(self) -> None:
        """Journal that the work waits for a CPU."""
        await self._write()

    async def started(self, node: str, at: float | None = None) -> None:
        """Journal that the work begins, on a node of the cluster."""
        self.note_start(node, time.time() if at is None else at)
        await self._write()

    def note_start(self, node: str, at: float) -> None:
        """Remember that the work began; the journal learns it with what is written next."""
        self.record = self.record.evolve(state=StepState.RUNNING, node=node, started_at=at)
        self._happened.append(self._event("step.started", at))

    def note_cost(self, dollars: float) -> None:
        """Remember what was spent; the journal learns it with what is written next, even if the step fails."""
        self.record = self.record.evolve(cost=dollars)

    async def accepted(self, provider_job_id: str) -> None:
        """Journal that a hosted provider has taken the work, and the id it gave it."""
        job_id = valid_text(provider_job_id)
        self.record = self.record.evolve(state=StepState.ACCEPTED, provider_job_id=job_id)
        await self._write()

    async def done(self, result: ResultT) -> ResultT:
        """Journal that the work is done, and return its result with the step's times."""
        ended = result.finished_at or time.time()
        changes = {"finished_at": ended, "artifact": result.artifact, "cost": result.cost}
        self.record = self.record.evolve(state=StepState.DONE, **changes)
        self._happened.append(self._event("step.done", ended))
        await self._write()
        return result.model_copy(update={"started_at": self.record.started_at or ended, "finished_at": ended})

    async def failed(self, error: RaypipeError, cause: StepFailure | None = None) -> StepFailure:
        """Journal that the work failed, and return the failure as a value."""
        return await self._failed(error.code, str(error), error.retryable, cause)

    async def not_attempted(self, cause: StepFailure) -> StepFailure:
        """Journal that the work is not begun, because what it needs failed, and return that as a failure."""
        root = cause.root
        beat = "" if root.beat_index is None else f" of beat {root.beat_index}"
        message = f"not attempted, because step {root.step}{beat} failed: {root.message}"
        return await self._failed("upstream_failed", valid_text(message), False, cause)

    async def _failed(
        self, code: str, message: str, retryable: bool, cause: StepFailure | None
    ) -> StepFailure:
        now = time.time()
        changes = {"finished_at": now, "error_code": code, "error_message": message}
        record = self.record = self.record.evolve(state=StepState.FAILED, **changes)
        self._happened.append(self._event("step.failed", now, code=code, message=message))
        await self._write()
        return StepFailure(
            **{name: getattr(record, name) for name in ("step", "phase", "beat_index", "provider", "cost")},
            code=code,
            message=message,
            retryable=retryable,
            cause=cause,
            started_at=record.started_at or 0.0,
            finished_at=now,
        )

    async def _write(self) -> None:
        journal = self._steps.journal
        writes = [journal.step(self.record), *map(journal.event, self._happened)]
        self._happened.clear()
        await self._steps.recorder.record(*writes)

    def _event(self, kind: str, at: float, **data: Any) -> Event:
        step = self.record
        return Event(
            video_id=step.video_id, kind=kind, at=at, step=step.step, beat_index=step.beat_index, data=data
        )


def new_step(
    job: Job, step: str, phase: Phase, beat_index: int | None = None, provider: str | None = None
) -> StepRecord:
    """Return the row of a step that nothing has happened to yet; without a provider raypipe does it itself."""
    return StepRecord(
        video_id=job.video_id,
        step=step,
        phase=phase,
        beat_index=beat_index,
        state=StepState.INTENT,
        provider=provider or "raypipe",
        intent_at=time.time(),
    )


class Steps:
    """Does steps and journals them."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.recorder = Recorder(journal)

    async def run(
        self, record: StepRecord, work: Callable[[StepLog], Awaitable[ResultT]]
    ) -> ResultT | StepFailure:
        """Do a step's work and return its result; here, once, what goes wrong becomes a value."""
        log = StepLog(self, record)
        try:
            result = await work(log)
        except Exception as error:
            named = as_raypipe_error(error, record.step)
            level = logging.WARNING if isinstance(error, RaypipeError) else logging.ERROR
            trace = None if isinstance(error, RaypipeError) else error
            logger.log(level, "Step %s of %s failed: %s", record.step, record.video_id, named, exc_info=trace)
            return await log.failed(named)
        return await log.done(result)

    async def pass_on(self, record: StepRecord, cause: StepFailure) -> StepFailure:
        """Journal a step that cannot be done because what it needs failed."""
        return await StepLog(self, record).not_attempted(cause)
