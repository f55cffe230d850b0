"""What became of steps that were under way when their video ended: asked for until it is known, and journaled.

A provider may be paid for a job whether or not anybody still wants it. So the step's row says that it is under way, and
its price stays reserved, until the provider has said that the job was stopped, has delivered or has failed, or that
there is no such job. One that its provider does not explain is given up as one of a video under way would be: after its
deadline, and an hour in which the provider may be out of reach; its price then stays with it as doubtful.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from raypipe.errors import (
    Cancelled,
    ContentRefused,
    LeaseLost,
    MediaError,
    OutcomeUnknown,
    ProviderError,
    ProviderRejected,
    RaypipeError,
    TookTooLong,
)
from raypipe.hosted import UNREACHABLE_SECONDS, in_time, reserved_price
from raypipe.models import StepState
from raypipe.prices import Prices
from raypipe.providers.base import Delivery, HostedProvider, Work
from raypipe.step_log import StepLog

logger = logging.getLogger(__name__)

#: seconds after which a job counts as over whose provider is not installed any more, so that it cannot be asked
UNINSTALLED_SECONDS = 7_200.0
#: states of work that raypipe does itself
_ON_OUR_CPUS = (StepState.QUEUED, StepState.RUNNING)
#: errors that say that a job is over, and has nothing to fetch
_OVER = (ProviderRejected, ContentRefused, MediaError, TookTooLong)


class LeftStep:
    """A step that was under way when its video ended.

    Args:
        log: The step, as its row stands.
        provider: Who has its job, or may have it; None if it is not installed.
        work: What the step was to make; None if that cannot be told any more.
        prices: The operator's.
        is_over: Tells whether the video is still over, or is made again by now.
    """

    def __init__(
        self,
        log: StepLog,
        provider: HostedProvider | None,
        work: Work | None,
        prices: Prices,
        is_over: Callable[[], Awaitable[bool]],
    ) -> None:
        self._log, self._provider, self._work = log, provider, work
        self._prices, self._is_over = prices, is_over

    async def settle(self, stop: bool, seconds: float) -> None:
        """Journal what became of the step; its row stays under way where that cannot be known yet.

        Args:
            stop: Whether to have a job stopped that is under way.
            seconds: How long each question to the provider may take.
        """
        step = self._log.record
        try:
            await self._log.bound_sent_at()
            if step.state in _ON_OUR_CPUS:
                await self._end()
            elif self._provider is None or self._work is None:
                await self._give_up_uninstalled()
            else:
                await self._ask_or_give_up(self._provider, self._work, stop, seconds)
        except LeaseLost:
            logger.info("%s of %s is gone on with: it is not left any more", step.step, step.video_id)
        except RaypipeError as error:  # it is asked again
            logger.warning("What became of %s of %s is not known yet: %s", step.step, step.video_id, error)

    async def _ask_or_give_up(self, provider: HostedProvider, work: Work, stop: bool, seconds: float) -> None:
        """Ask the provider; end the step if it has no answer to give and has had all the time that it may take."""
        try:
            await self._ask(provider, work, stop, seconds)
        except LeaseLost:
            raise
        except RaypipeError as error:
            step = self._log.record
            if self._age() < provider.deadline_seconds + UNREACHABLE_SECONDS:
                raise
            logger.warning(
                "%s of %s is given up, and may have been paid: %s", step.step, step.video_id, error
            )
            # its price stays with it as doubtful; a retry asks for the job again
            await self._log.failed(error)

    def _age(self) -> float:
        """Return for how many seconds the step has been at its provider."""
        return time.time() - (self._log.record.sent_at or 0.0)

    async def _ask(self, provider: HostedProvider, work: Work, stop: bool, seconds: float) -> None:
        job_id = self._log.record.provider_job_id
        if job_id is None:
            job_id = await self._find(provider, work, seconds)
        if job_id is None:
            return
        try:
            reply = await in_time(provider.poll(job_id, work), seconds)
        except _OVER as error:
            if isinstance(error, MediaError):  # it was made, and so paid
                self._log.note_cost(reserved_price(self._log.record, work, self._prices))
            await self._log.failed(error)
            return
        if isinstance(reply, Delivery):
            price = reserved_price(self._log.record, work, self._prices) if reply.cost is None else reply.cost
            self._log.note_cost(price)  # with that the row says that a retry takes it
            await self._log.failed(Cancelled("cancelled"), reply.artifact)
        elif await self._is_over():
            await self._stop(provider, job_id, work, stop, seconds)

    async def _stop(
        self, provider: HostedProvider, job_id: str, work: Work, stop: bool, seconds: float
    ) -> None:
        """Stop a job that is not wanted; of one that is late the step ends whatever its provider says to that."""
        is_late = self._age() > provider.deadline_seconds
        if stop or is_late:
            with suppress(*(ProviderError,) if is_late else ()):
                await in_time(provider.cancel(job_id, work), seconds)
            await self._end()

    async def _find(self, provider: HostedProvider, work: Work, seconds: float) -> str | None:
        """Return the id of the job that an unanswered create made; None if there is none, or none is known yet."""
        await self._log.reread()
        step, now = self._log.record, time.time()
        if step.provider_job_id is not None:
            return step.provider_job_id
        sent_at = step.sent_at or now
        try:
            job_id = await in_time(provider.find(work, step.token), seconds)
        except OutcomeUnknown:
            if now > sent_at + provider.unknown_seconds:
                await self._end()  # the price stays with it as doubtful
                return None
            raise
        if job_id is not None:
            await self._log.accepted(job_id)
        elif now > sent_at + provider.create_seconds:
            self._log.note_not_taken()
            await self._end()
        return job_id

    async def _give_up_uninstalled(self) -> None:
        step, now = self._log.record, time.time()
        if now > (step.sent_at or 0.0) + UNINSTALLED_SECONDS:
            await self._end()
            return
        raise OutcomeUnknown(f"the provider {step.provider!r} or its model {step.model!r} is not installed")

    async def _end(self) -> None:
        await self._log.failed(Cancelled("cancelled"))
