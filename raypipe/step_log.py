"""One step under way: what happens to it is committed before the next thing happens."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from raypipe.errors import UPSTREAM_FAILED, LeaseLost, RaypipeError
from raypipe.journal import Event, Journal, StepRecord
from raypipe.models import Artifact, Result, StepFailure, StepState
from raypipe.providers.base import provider_of
from raypipe.text import valid_text

ResultT = TypeVar("ResultT", bound=Result)

#: states of a create that the provider may have taken
_PERHAPS_TAKEN = (StepState.SENT, StepState.UNKNOWN)
#: states in which a step is not under way
AT_REST = (StepState.INTENT, StepState.DONE, StepState.FAILED)
#: seconds that a step whose video has changed hands waits for the new coordinator to call it
JOIN_SECONDS = 60.0
#: seconds by which the clocks of two nodes may differ
CLOCK_SKEW_SECONDS = 2.0


class StepWriter(Protocol):
    """Writes the rows of steps."""

    journal: Journal
    #: tells whether an artifact is where this gateway looks for it
    holds: Callable[[Artifact], Awaitable[bool]]
    #: whether the gateway is being ended, so that nothing may be sent any more
    stopping: bool

    async def write(self, record: StepRecord, happened: list[Event], epoch: int) -> None:
        """Commit a step's row and events.

        Raises:
            LeaseLost: That epoch of the video is over.
        """

    def note(self, record: StepRecord, before: StepRecord | None) -> None:
        """Tell who counts that a row was committed, and what it was before."""


class StepLog:
    """One step under way. It writes its progress; each coroutine returns when the journal has committed.

    A journal that is locked or full is waited for, however long: what was paid must not be lost.
    """

    def __init__(self, steps: StepWriter, record: StepRecord, epoch: int) -> None:
        self._steps, self._epoch = steps, epoch
        self._happened: list[Event] = []
        self._joined = asyncio.Event()
        self.record = record
        #: its row as the journal has it; None before it was read
        self.committed: StepRecord | None = None
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

    def is_at(self, row: StepRecord) -> bool:
        """Tell whether this is where a step's row says that it is; its job's id may have been brought meanwhile."""
        mine = self.committed
        if mine is None or mine.attempt != row.attempt:
            return False
        return mine.state is row.state or row.state not in AT_REST

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

    async def bound_sent_at(self) -> None:
        """Journal a create that the row has as sent in the future, by a clock that was set back since, as sent now.

        Else deadlines that count from it would be put off by as much.
        """
        now = time.time()
        if self.record.sent_at is not None and self.record.sent_at > now + CLOCK_SKEW_SECONDS:
            self.record = self.record.evolve(sent_at=now)
            await self.write()

    async def take_back(self, why: str) -> None:
        """Journal that nothing was sent after all.

        Raises:
            LeaseLost: Another process has gone on with the step meanwhile.
        """
        while True:
            epoch = self._epoch
            try:
                is_mine = await self._steps.journal.take_back(self.record, epoch)
            except LeaseLost:
                await self._newer_than(epoch)
            else:
                break
        if not is_mine:
            raise LeaseLost(self.record.video_id)
        self.record = self.record.evolve(attempt=self.record.attempt - 1)
        await self.not_taken(why)

    async def reserve(self, price: float, bounded: bool, daily: float | None, is_known: bool = True) -> None:
        """Reserve what the work costs, before it is sent.

        Args:
            price: US dollars.
            bounded: Whether the video, or the key that it is made under, may have a budget; rows say what it is now.
            daily: US dollars that may be spent a day; None for any sum.
            is_known: Whether that is all that it may cost.

        Raises:
            BudgetReached: A budget has no room for it, or there is one and the price is not known.
        """
        self._settle()
        if (price > 0 or not is_known) and (bounded or daily is not None):
            await self._reserve(price, daily, is_known)
        self.record = self.record.evolve(reserved_cost=price)

    async def _reserve(self, price: float, daily: float | None, is_known: bool) -> None:
        while True:
            epoch = self._epoch
            try:
                return await self._steps.journal.reserve(self.record, price, daily, epoch, is_known)
            except LeaseLost:
                await self._newer_than(epoch)

    def _settle(self) -> None:
        """Count what the create before may have cost as doubtful, where it may have been taken."""
        record = self.record
        taken = record.provider_job_id is not None or record.state in _PERHAPS_TAKEN
        doubtful = record.doubtful_cost + ((record.reserved_cost or 0.0) if taken else 0.0)
        self.record = record.evolve(reserved_cost=None, doubtful_cost=doubtful)

    async def accepted(self, provider_job_id: str) -> None:
        """Journal that a hosted provider has taken the work, and the id it gave it."""
        job_id = valid_text(provider_job_id)
        self.record = self.record.evolve(state=StepState.ACCEPTED, provider_job_id=job_id)
        await self.write()

    async def reread(self) -> None:
        """Read what others have written of this create: its job's id, or that it is to be sent again."""
        record = self.record
        for row in await self._steps.journal.steps_async(record.video_id):
            same = (row.step, row.take, row.attempt) == (record.step, record.take, record.attempt)
            if same and (row.provider_job_id is not None or row.state is StepState.INTENT):
                self.record = self.committed = row

    def note_not_taken(self) -> None:
        """Remember that the provider has surely not taken the work, which so costs nothing."""
        self.record = self.record.evolve(state=StepState.INTENT, reserved_cost=None)

    async def not_taken(self, why: str, wait: float = 0.0) -> None:
        """Journal that the provider has surely not taken the work, which is sent again after so many seconds."""
        self.note_not_taken()
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

    def note_model(self, name: str, price: float | None) -> None:
        """Remember which model does the work, and what that costs by its price, in US dollars, where it is known."""
        self.record = self.record.evolve(model=name, provider=provider_of(name), estimated_cost=price)

    async def fell_back(self, name: str, price: float | None, why: RaypipeError) -> None:
        """Journal that another model is next, from the beginning, because the one before did not deliver.

        Args:
            name: The other.
            price: What the work costs there, in US dollars; None if that is not known.
            why: What the one before has said.
        """
        had_job = self.record.provider_job_id is not None
        data = {"model": self.record.model, "code": why.code, "reason": valid_text(why), "next": name}
        self._happened.append(self._event("step.fell_back", time.time(), **data, had_job=had_job))
        self._settle()
        again = {"provider_job_id": None, "sent_at": None, "started_at": None}
        now = {"model": name, "provider": provider_of(name), "estimated_cost": price}
        self.record = self.record.evolve(state=StepState.INTENT, **again, **now)
        await self.write()

    async def fallbacks(self) -> dict[str, dict[str, Any]]:
        """Return what was journalled of each model that was left for another, since the step was last tried anew."""
        return await self._steps.journal.fallbacks(self.record)

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

    async def kept_delivery(self) -> Artifact | None:
        """Return what its provider delivered when nobody waited for it any more, if that is still there."""
        kept = self.record.delivered
        return kept if kept is not None and await self._steps.holds(kept) else None

    async def failed(self, error: RaypipeError, delivered: Artifact | None = None) -> StepFailure:
        """Journal that the work failed, and what was delivered all the same; return the failure as a value."""
        return await self._failed(error.code, str(error), error.retryable, None, delivered)

    async def not_attempted(self, cause: StepFailure) -> StepFailure:
        """Journal that the work is not begun, because what it needs failed, and return that as a failure."""
        root = cause.root
        beat = "" if root.beat_index is None else f" of beat {root.beat_index}"
        message = f"not attempted, because step {root.step}{beat} failed: {root.message}"
        return await self._failed(UPSTREAM_FAILED, valid_text(message), False, cause)

    async def _failed(
        self,
        code: str,
        message: str,
        retryable: bool,
        cause: StepFailure | None,
        delivered: Artifact | None = None,
    ) -> StepFailure:
        now, record = time.time(), self.record
        failure = StepFailure(
            **{name: getattr(record, name) for name in ("step", "phase", "beat_index", "provider", "cost")},
            code=code,
            message=message,
            retryable=retryable,
            cause=cause,
            delivered=delivered,
            started_at=record.started_at or 0.0,
            finished_at=now,
        )
        changes = {"finished_at": now, "error_code": code, "error_message": message}
        if record.provider_job_id is None and record.state not in _PERHAPS_TAKEN:
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
                record = self.record
                await self._steps.write(record, happened, epoch)
                before, self.committed = self.committed, record
                self._steps.note(record, before)
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
