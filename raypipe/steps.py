"""A step under way: the journal learns when it starts, is accepted, ends or fails."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from raypipe.errors import RaypipeError
from raypipe.journal import Event, Journal, Recorder, StepRecord
from raypipe.models import Job, Made, Phase, StepFailure, StepState

logger = logging.getLogger(__name__)

MadeT = TypeVar("MadeT", bound=Made)


class StepLog:
    """Writes one step's progress to the journal; each method returns when the journal has committed."""

    def __init__(self, steps: "Steps", record: StepRecord) -> None:
        self._steps = steps
        self._happened: list[Event] = []
        self.record = record

    async def started(self, node: str, at: float | None = None) -> None:
        """The work begins, on a node of the cluster."""
        self.note_start(node, time.time() if at is None else at)
        await self._write()

    def note_start(self, node: str, at: float) -> None:
        """The work began; the journal learns it with what is written next."""
        self.record = self.record.evolve(state=StepState.RUNNING, node=node, started_at=at)
        self._happened.append(self._event("step.started", at))

    async def accepted(self, provider_job_id: str) -> None:
        """A hosted provider has taken the work and named it."""
        self.record = self.record.evolve(state=StepState.ACCEPTED, provider_job_id=provider_job_id)
        await self._write()

    async def done(self, made: MadeT) -> MadeT:
        """The work is done; gives what was made with its times."""
        ended = made.finished_at or time.time()
        changes = {"finished_at": ended, "artifact": made.artifact, "cost": made.cost}
        self.record = self.record.evolve(state=StepState.DONE, **changes)
        self._happened.append(self._event("step.done", ended))
        await self._write()
        return made.model_copy(update={"started_at": self.record.started_at or ended, "finished_at": ended})

    async def failed(self, code: str, message: str, retryable: bool = False) -> StepFailure:
        """The work failed; gives the failure as a value."""
        now = time.time()
        changes = {"finished_at": now, "error_code": code, "error_message": message}
        record = self.record = self.record.evolve(state=StepState.FAILED, **changes)
        self._happened.append(self._event("step.failed", now, code=code, message=message))
        await self._write()
        return StepFailure(
            step=record.step,
            phase=record.phase,
            beat_index=record.beat_index,
            provider=record.provider,
            code=code,
            message=message,
            retryable=retryable,
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
    """A step that is meant to be done; without a provider raypipe does it itself."""
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
        self, record: StepRecord, make: Callable[[StepLog], Awaitable[MadeT]]
    ) -> MadeT | StepFailure:
        """Do a step; what goes wrong comes back as a value."""
        log = StepLog(self, record)
        try:
            made = await make(log)
        except RaypipeError as error:
            logger.warning("Step %s of %s failed: %s", record.step, record.video_id, error)
            return await log.failed(error.code, str(error), error.retryable)
        except Exception as error:
            logger.exception("Step %s of %s failed unexpectedly", record.step, record.video_id)
            return await log.failed("internal_error", f"{type(error).__name__}: {error}")
        return await log.done(made)

    async def pass_on(self, record: StepRecord, cause: StepFailure) -> StepFailure:
        """Journal a step that cannot be done because what it needs failed."""
        beat = "" if cause.beat_index is None else f" of beat {cause.beat_index}"
        message = f"not attempted, because step {cause.step}{beat} failed: {cause.message}"
        return await StepLog(self, record).failed("upstream_failed", message)
