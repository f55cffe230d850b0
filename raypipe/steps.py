"""Steps, each answered from its row: done, and its result is there; under way, and it is gone on with; else it is done.

So a step may be called any number of times, by Ray's retries or by a coordinator that takes its video over: what was
made is not made again, and what was paid is not paid again.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from raypipe.errors import (
    InternalError,
    JournalUnavailable,
    LeaseLost,
    RaypipeError,
    StepKillsGateway,
    as_raypipe_error,
)
from raypipe.journal import Event, Fence, Journal, StepKey, StepRecord
from raypipe.models import Artifact, Job, Kind, Phase, Result, StepFailure, StepState
from raypipe.providers.base import provider_of
from raypipe.step_log import AT_REST, StepLog
from raypipe.step_rows import StepRows, key_of

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT", bound=Result)
Work = Callable[[StepLog], Awaitable[ResultT]]
#: told a row as it is and as it was
Count = Callable[[StepRecord, StepRecord | None], None]

#: starts of a gateway that may find a step under way, without it being seen to survive, before it is failed
STARTS = 3
#: seconds after which a gateway has survived a step, whatever the step does
TRIAL_SECONDS = 1.0
#: seconds that creates under way get to be answered when the gateway is ended
ANSWER_SECONDS = 3.0
#: seconds that steps which are ended get to end
END_SECONDS = 1.0


def new_step(
    job: Job, step: str, phase: Phase, beat_index: int | None = None, kind: Kind | None = None
) -> StepRecord:
    """Return the row of a step that nothing has happened to yet, at the job's take of it.

    The first of the job's models for that kind of work does it; without a kind raypipe itself.
    """
    where = {"video_id": job.video_id, "step": step, "phase": phase, "beat_index": beat_index}
    where["take"] = job.takes.get(step, 1)
    if kind is None:
        return StepRecord(**where)
    model = job.models[kind][0]
    return StepRecord(**where, provider=provider_of(model), model=model)


class _Flight(NamedTuple):
    log: StepLog
    task: "asyncio.Task[Any]"


class Steps:
    """Does the steps of all videos of a gateway, each once at a time."""

    def __init__(
        self, journal: Journal, holds: Callable[[Artifact], Awaitable[bool]], count: Count = lambda *_: None
    ) -> None:
        """Do steps of a journal, whose results are where `holds` looks; `count` is told of every row committed."""
        self.journal, self.holds, self._count = journal, holds, count
        self._flights: dict[StepKey, _Flight] = {}
        self._rows = StepRows(journal.steps_async)
        self._trials = asyncio.Lock()
        #: calls that wait for a step
        self._calls = 0
        self.stopping = False

    @property
    def under_way(self) -> int:
        """How many steps are being done."""
        return len(self._flights)

    @property
    def rows_under_way(self) -> list[StepRecord]:
        """The rows of the steps that are being done."""
        return [flight.log.record for flight in self._flights.values()]

    def is_done_here(self, row: StepRecord) -> bool:
        """Tell whether a step is being done by this gateway."""
        return key_of(row) in self._flights

    async def stop(self) -> None:
        """End all steps where they stand, once creates under way are answered and all that was done is written.

        Nothing is sent any more, and an end that was asked for counts against no step.
        """
        self.stopping = True
        for flight in self._flights.values():
            flight.log.survived.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                while any(flight.log.record.state is StepState.SENT for flight in self._flights.values()):
                    await asyncio.sleep(0.01)
        await self.journal.writer.drain()
        for flight in self._flights.values():
            flight.task.cancel()
        # their calls are answered before the gateway is killed: Ray would tell the user of each that is not
        with suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                while self._calls or self._flights:
                    await asyncio.sleep(0.01)

    async def abandon(self, video_id: str, is_left: Callable[[StepRecord], bool]) -> None:
        """End those of a video's steps where they stand, once creates under way are answered and written."""
        flights = [
            each for key, each in self._flights.items() if key[0] == video_id and is_left(each.log.record)
        ]
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_SECONDS):
                while any(
                    each.log.record.state is StepState.SENT and not each.task.done() for each in flights
                ):
                    await asyncio.sleep(0.01)
        with suppress(JournalUnavailable):  # what was written before this is committed when this is
            await self.journal.writer.transact(lambda _: None)
        for flight in flights:
            flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)
        self._rows.forget(video_id)

    async def run(
        self, step: StepRecord, epoch: int, kind: type[ResultT], work: Work[ResultT]
    ) -> ResultT | StepFailure:
        """Return a step's stored result, or do its work; a call that finds it being done waits for that.

        What goes wrong becomes a value here, once.

        Args:
            step: Its row, for the case that the journal has none yet.
            epoch: Epoch of the coordinator that asks.
            kind: What the step makes.
            work: Does it, given the row as it stands.

        Raises:
            LeaseLost: The video has gone to another coordinator, which does not ask for this step.
        """
        answer: ResultT | StepFailure = await self._join(
            step, epoch, lambda log: self._answer(log, kind, work)
        )
        return answer

    async def pass_on(self, step: StepRecord, epoch: int, cause: StepFailure) -> StepFailure:
        """Journal a step that cannot be done because what it needs failed."""
        failure: StepFailure = await self._join(step, epoch, lambda log: self._pass_on(log, cause))
        return failure

    async def write(self, record: StepRecord, happened: list[Event], epoch: int) -> None:
        """Commit a step's row and events.

        Raises:
            LeaseLost: That epoch of the video is over.
        """
        writes = [self.journal.step(record), *map(self.journal.event, happened)]
        fence = Fence(record.video_id, epoch)
        await self.journal.writer.put(*writes, fence=fence, patience=float("inf"))
        self._rows.put(record)

    def note(self, record: StepRecord, before: StepRecord | None) -> None:
        """Count a row that was committed, and say in the log how a step has ended."""
        self._count(record, before)
        if record.state in (StepState.DONE, StepState.FAILED):
            logger.info(
                "Step %s of %s is %s", record.step, record.video_id, record.state, extra=about_step(record)
            )

    async def _join(self, step: StepRecord, epoch: int, do: Callable[[StepLog], Any]) -> Any:
        key = key_of(step)
        while (flight := self._flights.get(key)) is not None:
            if epoch <= flight.log.epoch or await self._goes_on_for(flight, epoch):
                break
        else:
            log = StepLog(self, step, epoch)
            flight = self._flights[key] = _Flight(log, asyncio.create_task(do(log)))
            flight.task.add_done_callback(lambda _: self._flights.pop(key))
        self._calls += 1
        try:
            return await asyncio.shield(flight.task)
        except asyncio.CancelledError:
            if flight.task.cancelled():  # and not who waits for it
                raise LeaseLost(step.video_id) from None
            raise
        finally:
            self._calls -= 1

    async def _goes_on_for(self, flight: _Flight, epoch: int) -> bool:
        """Have a step go on for a newer coordinator, if it is where its row says.

        Else gateways of another coordinator have gone on with it meanwhile; then it is ended here, and begun from its
        row.
        """
        row = (await self._rows.at(flight.log.record.video_id, epoch)).get(key_of(flight.log.record))
        if flight.task.done():
            await asyncio.sleep(0)  # it is noted as over in this turn of the loop
            return False
        if epoch <= flight.log.epoch:
            return True
        if row is None or flight.log.is_at(row):
            flight.log.join(epoch)
            return True
        flight.task.cancel()
        await asyncio.gather(flight.task, return_exceptions=True)
        return False

    async def _answer(self, log: StepLog, kind: type[ResultT], work: Work[ResultT]) -> ResultT | StepFailure:
        record = log.record = log.committed = await self._row(log)
        if record.state is StepState.DONE and record.result is not None:
            result = kind.model_validate(record.result)
            if await self.holds(result.artifact):
                return result
            record = log.record = _without_result(record)
        if record.state is StepState.FAILED:
            return _stored_failure(record)
        try:
            made = await (work(log) if record.state in AT_REST else self._go_on(log, work))
        except Exception as error:
            if isinstance(error, LeaseLost):
                raise
            return await log.failed(_named(error, record))
        return await log.done(made)

    async def _pass_on(self, log: StepLog, cause: StepFailure) -> StepFailure:
        log.record = log.committed = await self._row(log)
        if log.record.state is StepState.FAILED:
            return _stored_failure(log.record)
        return await log.not_attempted(cause)

    async def _go_on(self, log: StepLog, work: Work[ResultT]) -> ResultT:
        """Go on with a step that was under way when a gateway ended.

        It may be the one that ended it. So each start is counted before anything runs, until the gateway is seen to
        live with the step. The second time it is begun alone, so that no other step is suspected for its sake.
        """
        starts = log.record.starts + 1
        if starts >= STARTS:
            raise StepKillsGateway(
                f"it was under way each of the {STARTS} times that its gateway died, and is not tried again"
            )
        tasks: list[asyncio.Future[Any]] = []
        try:
            if starts == 1:
                await self._count_start(log, starts)
                tasks = [asyncio.create_task(self._clear(log)), asyncio.ensure_future(work(log))]
            else:
                async with self._trials:
                    await self._count_start(log, starts)
                    tasks = [asyncio.create_task(self._clear(log)), asyncio.ensure_future(work(log))]
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            result: ResultT = await tasks[1]
            return result
        finally:
            for task in tasks:
                task.cancel()

    async def _count_start(self, log: StepLog, starts: int) -> None:
        log.record = log.record.evolve(starts=starts)
        await log.write()

    async def _clear(self, log: StepLog) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(TRIAL_SECONDS):
                await log.survived.wait()
        log.record = log.record.evolve(starts=0)
        await log.write()

    async def _row(self, log: StepLog) -> StepRecord:
        return (await self._rows.at(log.record.video_id, log.epoch)).get(key_of(log.record), log.record)


def about_step(record: StepRecord) -> dict[str, Any]:
    """Return what a line of a structured log says of a step."""
    taken = None
    if record.started_at is not None and record.finished_at is not None:
        taken = round(record.finished_at - record.started_at, 3)
    return {
        "video": record.video_id, "step": record.step, "take": record.take, "beat": record.beat_index,
        "state": record.state.value, "provider": record.provider, "model": record.model, "attempt": record.attempt,
        "seconds": taken, "cost": record.cost, "error": record.error_code,
    }  # fmt: skip


def _without_result(record: StepRecord) -> StepRecord:
    """Return a step whose artifact is gone as it was before that was there: what was paid is fetched again."""
    logger.warning(
        "The artifact of %s of %s is gone and is made or fetched again", record.step, record.video_id
    )
    state = StepState.INTENT if record.provider_job_id is None else StepState.ACCEPTED
    return record.evolve(state=state, result=None)


def _stored_failure(record: StepRecord) -> StepFailure:
    if record.result is not None:
        return StepFailure.model_validate(record.result)
    # journaled before failures were stored whole
    names = ("step", "phase", "beat_index", "provider", "cost")
    said = {
        "code": record.error_code or InternalError.code,
        "message": record.error_message or "no reason is known",
    }
    return StepFailure(**{name: getattr(record, name) for name in names}, **said)


def _named(error: Exception, record: StepRecord) -> RaypipeError:
    named = as_raypipe_error(error, record.step)
    level = logging.WARNING if isinstance(error, RaypipeError) else logging.ERROR
    trace = None if isinstance(error, RaypipeError) else error
    logger.log(level, "Step %s of %s failed: %s", record.step, record.video_id, named, exc_info=trace)
    return named
