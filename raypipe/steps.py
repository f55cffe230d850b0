"""Steps, each answered from its row: done, and its result is there; under way, and it is gone on with; else it is done.

So a step may be called any number of times, by Ray's retries or by a coordinator that takes its video over: what was
made is not made again, and what was paid is not paid again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar

from raypipe.errors import (
    UPSTREAM_FAILED,
    InternalError,
    LeaseLost,
    OutcomeUnknown,
    RaypipeError,
    StepKillsGateway,
    as_raypipe_error,
)
from raypipe.journal import Event, Fence, Journal, StepRecord
from raypipe.models import Artifact, Job, Kind, Phase, Result, StepFailure, StepState
from raypipe.providers.base import provider_of
from raypipe.text import valid_text

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT", bound=Result)
Work = Callable[["StepLog"], Awaitable[ResultT]]
Key = tuple[str, str, int]

#: seconds that a step whose video has changed hands waits for the new coordinator to call it
JOIN_SECONDS = 60.0
#: starts of a gateway that may find a step under way, without it being seen to survive, before it is failed
STARTS = 3
#: seconds after which a gateway has survived a step, whatever the step does
TRIAL_SECONDS = 1.0
#: seconds that creates under way get to be answered when the gateway is ended
ANSWER_SECONDS = 3.0
#: videos whose rows are kept at hand
VIDEOS_KEPT = 2_000
#: states in which a step is not under way
_AT_REST = (StepState.INTENT, StepState.DONE, StepState.FAILED)


class StepLog:
    """One step under way. It writes its progress; each coroutine returns when the journal has committed.

    A journal that is locked or full is waited for, however long: what was paid must not be lost.
    """

    def __init__(self, steps: "Steps", record: StepRecord, epoch: int) -> None:
        self._steps, self._epoch = steps, epoch
        self._happened: list[Event] = []
        self._joined = asyncio.Event()
        self.record = record
        #: set once the gateway is seen to live with it
        self.survived = asyncio.Event()

    @property
    def epoch(self) -> int:
        """Epoch of the newest call."""
        return self._epoch

    def join(self, epoch: int) -> None:
        """Go on for another call; if its epoch is newer, under that."""
        if epoch > self._epoch:
            self._epoch = epoch
            self._joined.set()

    async def queued(self) -> None:
        """Journal that the work waits for a CPU."""
        self.record = self.record.evolve(state=StepState.QUEUED, attempt=self.record.attempt + 1)
        await self.write()

    async def started(self, node: str, at: float | None = None) -> None:
        """Journal that the work begins, on a node of the cluster."""
        self.note_start(node, time.time() if at is None else at)
        await self.write()

    async def sent(self, node: str, possible_duplicate: bool) -> None:
        """Journal that the work is about to be given to a hosted provider, once more if it was before.

        Raises:
            LeaseLost: The gateway is being ended.
        """
        if self._steps.stopping:
            raise LeaseLost(self.record.video_id)
        now, record = time.time(), self.record
        changes = {"state": StepState.SENT, "attempt": record.attempt + 1, "sent_at": now, "node": node}
        changes |= {"provider_job_id": None, "earlier_cost": record.cost}
        changes["started_at"] = record.started_at or now
        self.record = record.evolve(**changes, possible_duplicate=possible_duplicate)
        again = {"attempt": self.record.attempt, "possible_duplicate": possible_duplicate}
        kind, data = ("step.sent_again", again) if record.attempt else ("step.started", {})
        self._happened.append(self._event(kind, now, **data))
        await self.write()

    async def reserve(self, price: float, budget: float | None, daily: float | None) -> None:
        """Reserve what the work costs, before it is sent.

        Raises:
            BudgetReached: The video's budget, or the day's, has no room for it.
        """
        self._settle()
        if price > 0 and (budget, daily) != (None, None):
            await self._steps.journal.reserve(self.record, price, budget, daily)
        self.record = self.record.evolve(reserved_cost=price)

    def _settle(self) -> None:
        """Count what the create before may have cost as doubtful, where it may have been taken."""
        record = self.record
        taken = record.provider_job_id is not None or record.state is StepState.UNKNOWN
        doubtful = record.doubtful_cost + ((record.reserved_cost or 0.0) if taken else 0.0)
        self.record = record.evolve(reserved_cost=None, doubtful_cost=doubtful)

    async def accepted(self, provider_job_id: str) -> None:
        """Journal that a hosted provider has taken the work, and the id it gave it."""
        job_id = valid_text(provider_job_id)
        self.record = self.record.evolve(state=StepState.ACCEPTED, provider_job_id=job_id)
        await self.write()

    async def job_id_by_another(self) -> str | None:
        """Read the id that the provider gave this create, should the process that sent it have learned it meanwhile."""
        record = self.record
        for row in await self._steps.journal.steps_async(record.video_id):
            if (row.step, row.take, row.attempt) == (record.step, record.take, record.attempt):
                return row.provider_job_id
        return None

    async def not_taken(self, why: str, wait: float = 0.0) -> None:
        """Journal that the provider has surely not taken the work, which is sent again after so many seconds."""
        self.record = self.record.evolve(state=StepState.INTENT)
        data = {"reason": valid_text(why), "wait": round(wait, 1)}
        self._happened.append(self._event("step.not_taken", time.time(), **data))
        await self.write()

    async def unknown(self, why: str, until: float, then: str) -> None:
        """Journal that nobody knows whether the provider has taken the work.

        Args:
            why: Nobody knows.
            until: When asking for it ends.
            then: What becomes of it then.
        """
        if self.record.state is not StepState.UNKNOWN:
            self.record = self.record.evolve(state=StepState.UNKNOWN)
            data = {"reason": valid_text(why), "until": until, "then": then}
            self._happened.append(self._event("step.unknown", time.time(), **data))
            await self.write()

    def note_start(self, node: str, at: float) -> None:
        """Remember that the work began; the journal learns it with what is written next."""
        attempt = self.record.attempt + (self.record.state is not StepState.QUEUED)
        self.record = self.record.evolve(state=StepState.RUNNING, attempt=attempt, node=node, started_at=at)
        self._happened.append(self._event("step.started", at))

    def note_cost(self, dollars: float) -> None:
        """Remember what the newest create has cost; the journal learns it with what is written next, also a failure."""
        self.record = self.record.evolve(cost=self.record.earlier_cost + dollars, reserved_cost=None)

    def note_input(self, key: str) -> None:
        """Remember what the work is made from."""
        self.record = self.record.evolve(input_key=key)

    def note_model(self, name: str) -> None:
        """Remember which model does the work."""
        if name != self.record.model:
            self.record = self.record.evolve(model=name, provider=provider_of(name), estimated_cost=None)

    def note_fallback(self, name: str, why: RaypipeError) -> None:
        """Remember that another model is tried, from the beginning, because the one before did not deliver."""
        data = {"model": self.record.model, "reason": valid_text(why), "next": name}
        self._happened.append(self._event("step.fell_back", time.time(), **data))
        self._settle()
        again = {"provider_job_id": None, "sent_at": None, "started_at": None}
        self.record = self.record.evolve(state=StepState.INTENT, **again)

    async def done(self, result: ResultT) -> ResultT:
        """Journal that the work is done, and return its result with the step's times and cost."""
        ended, record = time.time(), self.record
        known = {"started_at": record.started_at or ended, "finished_at": ended, "cost": record.cost}
        result = result.model_copy(update=known)
        changes = {"finished_at": ended, "result": result.model_dump(mode="json")}
        self.record = self.record.evolve(state=StepState.DONE, starts=0, **changes)
        self._happened.append(self._event("step.done", ended))
        await self.write()
        return result

    async def failed(self, error: RaypipeError) -> StepFailure:
        """Journal that the work failed, and return the failure as a value."""
        return await self._failed(error.code, str(error), error.retryable, None)

    async def not_attempted(self, cause: StepFailure) -> StepFailure:
        """Journal that the work is not begun, because what it needs failed, and return that as a failure."""
        root = cause.root
        beat = "" if root.beat_index is None else f" of beat {root.beat_index}"
        message = f"not attempted, because step {root.step}{beat} failed: {root.message}"
        return await self._failed(UPSTREAM_FAILED, valid_text(message), False, cause)

    async def _failed(
        self, code: str, message: str, retryable: bool, cause: StepFailure | None
    ) -> StepFailure:
        now, record = time.time(), self.record
        failure = StepFailure(
            **{name: getattr(record, name) for name in ("step", "phase", "beat_index", "provider", "cost")},
            code=code,
            message=message,
            retryable=retryable,
            cause=cause,
            started_at=record.started_at or 0.0,
            finished_at=now,
        )
        changes = {"finished_at": now, "error_code": code, "error_message": message}
        if record.provider_job_id is None and code != OutcomeUnknown.code:  # else it may have been paid
            changes["reserved_cost"] = None
        self.record = record.evolve(state=StepState.FAILED, result=failure.model_dump(mode="json"), **changes)
        self._happened.append(self._event("step.failed", now, code=code, message=message))
        await self.write()
        return failure

    async def write(self) -> None:
        """Commit the row and what happened, under the epoch of the newest call.

        Raises:
            LeaseLost: The video has changed hands, and its new coordinator does not call this step.
        """
        happened, self._happened = self._happened, []
        while True:
            epoch = self._epoch
            try:
                await self._steps.write(self.record, happened, epoch)
                return
            except LeaseLost:
                # it is paid: the next coordinator must learn the id
                if self.record.state is StepState.ACCEPTED:
                    await self._steps.journal.writer.put(self._steps.journal.job_id(self.record))
                await self._newer_than(epoch)

    async def _newer_than(self, epoch: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(JOIN_SECONDS):
                while self._epoch <= epoch:
                    self._joined.clear()
                    await self._joined.wait()
        if self._epoch <= epoch:
            raise LeaseLost(self.record.video_id)

    def _event(self, kind: str, at: float, **data: Any) -> Event:
        step = self.record
        where = {"step": step.step, "take": step.take, "beat_index": step.beat_index}
        return Event(video_id=step.video_id, kind=kind, at=at, **where, data=data)


def new_step(
    job: Job, step: str, phase: Phase, beat_index: int | None = None, kind: Kind | None = None
) -> StepRecord:
    """Return the row of a step that nothing has happened to yet.

    The first of the job's models for that kind of work does it; without a kind raypipe itself.
    """
    where = {"video_id": job.video_id, "step": step, "phase": phase, "beat_index": beat_index}
    if kind is None:
        return StepRecord(**where)
    model = job.models[kind][0]
    return StepRecord(**where, provider=provider_of(model), model=model)


class _Flight(NamedTuple):
    log: StepLog
    task: "asyncio.Task[Any]"


class _Rows(NamedTuple):
    """What the journal says of a video's steps; read anew when a newer epoch calls."""

    epoch: int
    read: "asyncio.Task[dict[Key, StepRecord]]"
    #: what was written since
    written: dict[Key, StepRecord]


class Steps:
    """Does the steps of all videos of a gateway, each once at a time."""

    def __init__(self, journal: Journal, holds: Callable[[Artifact], Awaitable[bool]]) -> None:
        """Do steps of a journal, whose results are where `holds` looks."""
        self.journal, self._holds = journal, holds
        self._flights: dict[Key, _Flight] = {}
        self._rows: dict[str, _Rows] = {}
        self._trials = asyncio.Lock()
        self.stopping = False

    @property
    def under_way(self) -> int:
        """How many steps are being done."""
        return len(self._flights)

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
        for flight in list(self._flights.values()):
            flight.task.cancel()

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
        if (rows := self._rows.get(record.video_id)) is not None:
            rows.written[_key(record)] = record

    async def _join(self, step: StepRecord, epoch: int, do: Callable[[StepLog], Any]) -> Any:
        key = _key(step)
        flight = self._flights.get(key)
        if flight is None:
            log = StepLog(self, step, epoch)
            flight = self._flights[key] = _Flight(log, asyncio.create_task(do(log)))
            flight.task.add_done_callback(lambda _: self._flights.pop(key))
        else:
            flight.log.join(epoch)
        return await asyncio.shield(flight.task)

    async def _answer(self, log: StepLog, kind: type[ResultT], work: Work[ResultT]) -> ResultT | StepFailure:
        record = log.record = await self._row(log)
        if record.state is StepState.DONE and record.result is not None:
            result = kind.model_validate(record.result)
            if await self._holds(result.artifact):
                return result
            record = log.record = _without_result(record)
        if record.state is StepState.FAILED:
            return _stored_failure(record)
        try:
            made = await (work(log) if record.state in _AT_REST else self._go_on(log, work))
        except Exception as error:
            if isinstance(error, LeaseLost):
                raise
            return await log.failed(_named(error, record))
        return await log.done(made)

    async def _pass_on(self, log: StepLog, cause: StepFailure) -> StepFailure:
        log.record = await self._row(log)
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
        video_id, epoch = log.record.video_id, log.epoch
        rows = self._rows.get(video_id)
        if rows is None or rows.epoch < epoch:
            rows = self._rows[video_id] = _Rows(epoch, asyncio.create_task(self._read(video_id)), {})
            while len(self._rows) > VIDEOS_KEPT:
                del self._rows[next(iter(self._rows))]
        try:
            read = rows.read.result() if rows.read.done() else await asyncio.shield(rows.read)
            key = _key(log.record)
            return rows.written.get(key) or read.get(key, log.record)
        except RaypipeError:
            self._rows.pop(video_id, None)  # the next call reads again
            raise

    async def _read(self, video_id: str) -> dict[Key, StepRecord]:
        return {_key(step): step for step in await self.journal.steps_async(video_id)}


def _key(step: StepRecord) -> Key:
    return step.video_id, step.step, step.take


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
