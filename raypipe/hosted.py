"""One piece of work at a hosted provider: sent once, then polled by its id, whichever process sent it.

The journal knows of each state before the next thing happens: sent before the create, accepted before the first poll.
What was sent and not answered is looked for at the provider; only where the provider is sure that it has no such job,
or where the settings say so, is it sent again.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from raypipe.config import Settings
from raypipe.costs import charge_of
from raypipe.errors import (
    InvalidRequest,
    MediaError,
    OutcomeUnknown,
    ProviderError,
    ProviderUnavailable,
    RateLimited,
    RaypipeError,
    TookTooLong,
)
from raypipe.journal import StepRecord
from raypipe.models import StepState
from raypipe.prices import Prices
from raypipe.providers.base import Create, Delivery, HostedProvider, Pending, Work
from raypipe.step_log import StepLog

logger = logging.getLogger(__name__)

ResultT = TypeVar("ResultT")

#: seconds between questions that the provider could not answer: at first, at most
ASK_AGAIN, MOST_ASK_AGAIN = 0.1, 10.0
#: seconds that a question may take
ANSWER_SECONDS = 60.0
#: seconds that a provider may take to prepare a create; those reached over HTTP give up earlier by themselves
PREPARE_SECONDS = 120.0
#: seconds for which what was uploaded is surely still there when a create names it
PREPARED_SECONDS = 3_600.0
#: seconds for which a turn is surely kept for a create that is not sent yet
TURN_SECONDS = 10.0
#: seconds for which a provider that cannot be asked is polled again
UNREACHABLE_SECONDS = 3_600.0
#: how often a create is sent that was lost on its way
CREATES = 3
#: how often a create is sent that the provider did not take; one that asks to wait may do so oftener
TRIES = 5
#: seconds before the second of them
TRY_AGAIN = 1.0


#: waits for so many seconds at most
Pause = Callable[[float], Awaitable[None]]


class Turn(Protocol):
    """What a step has to ask before it sends a create, where its provider's account has limits."""

    async def acquire(self) -> None:
        """Return when the create may be sent."""

    def release(self) -> None:
        """Say that the work is no longer under way."""

    def hold(self, seconds: float) -> None:
        """Say that the provider asks everybody to wait."""


class HostedWork:
    """A piece of work at a hosted provider, on behalf of a step.

    Args:
        provider: Does it.
        work: What to make, with its model and its start image.
        log: The step.
        node: Where this runs.
        settings: Say what to do where nobody knows the outcome of a create, and what may be spent.
        turn: Paces its creates; None where nothing limits them.
        pause: Waits so many seconds between questions, or until the provider says that there is news.
    """

    def __init__(
        self,
        provider: HostedProvider,
        work: Work,
        log: StepLog,
        node: str,
        settings: Settings,
        turn: Turn | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._provider, self._work, self._log, self._node = provider, work, log, node
        self._turn, self._pause = turn, pause
        self._tries, self._began = 0, time.monotonic()
        self._on_unknown, self._daily_budget = settings.on_unknown, settings.daily_budget
        self._prices = settings.prices

    async def delivery(self) -> Delivery:
        """Return what the provider delivers, sending the work unless it has been sent.

        Raises:
            ProviderRejected: The provider refused the work or failed at it.
            MediaError: What it delivers is of no use.
            ProviderUnavailable: It could not be reached.
            OutcomeUnknown: Whether it has taken the work is not known, and will not be.
        """
        try:
            await self._log.bound_sent_at()
            while self._log.record.provider_job_id is None:
                doubt = self._log.record.possible_duplicate
                job_id = await (self._find() if self._is_sent else self._create(doubt))
                if job_id is not None:
                    await self._log.accepted(job_id)
            return await self._paid_delivery(self._log.record.provider_job_id)
        finally:
            if self._turn is not None:
                self._turn.release()

    async def _paid_delivery(self, job_id: str) -> Delivery:
        """Return what the provider delivers and note what it cost, though it be of no use."""
        if (kept := await self._log.kept_delivery()) is not None:
            self._log.note_cost(self._price)
            return Delivery(artifact=kept, cost=None)
        try:
            delivery = await self._poll(job_id)
        except MediaError:
            self._log.note_cost(self._price)
            raise
        self._log.note_cost(self._price if delivery.cost is None else delivery.cost)
        return delivery

    @property
    def _price(self) -> float:
        return reserved_price(self._log.record, self._work, self._prices)

    @property
    def _is_sent(self) -> bool:
        return self._log.record.state in (StepState.SENT, StepState.UNKNOWN)

    async def _create(self, possible_duplicate: bool) -> str | None:
        """Send the work; None if it is not known whether the provider has taken it."""
        charge = charge_of(self._work, self._prices)
        # its row may have been planned at another price: the higher one counts
        price = max(charge.usd, self._log.record.estimated_cost or 0.0)
        bounded = self._work.job.budget is not None or self._work.job.api_key is not None
        create = await self._prepared_in_turn()
        if create is None:
            return None
        await self._log.reserve(price, bounded, self._daily_budget, charge.is_known)
        # from here on nothing but the create itself lies between the row, which is fenced, and the provider
        await self._log.sent(self._node, possible_duplicate)
        took = time.time() - (self._log.record.sent_at or 0.0)
        if took > self._provider.create_seconds / 2:  # others would count it as over before it is answered
            await self._log.take_back(f"it took {took:.1f} s to journal it")
            return None
        try:
            return await self._send(create)
        except ProviderUnavailable as error:
            self._log.note_not_taken()
            await self._wait_to_send(error)
            return None
        except Exception as error:
            if isinstance(error, RaypipeError) and not isinstance(error, OutcomeUnknown):
                self._log.note_not_taken()
                raise
            step = self._log.record
            trace = None if isinstance(error, RaypipeError | TimeoutError) else error
            logger.warning("Create of %s of %s: %r", step.step, step.video_id, error, exc_info=trace)
            await self._note_unknown(str(error) or f"no answer within {self._provider.create_seconds:g} s")
            return None

    async def _wait_to_send(self, error: ProviderUnavailable) -> None:
        """Return when the work, which the provider has surely not taken this time, may be sent again.

        Raises:
            ProviderUnavailable: It was tried often enough, or long enough where the provider asked to wait.
        """
        self._tries += 1
        limited = isinstance(error, RateLimited)
        started_at = self._log.record.started_at or time.time()
        waited = max(time.time() - started_at, time.monotonic() - self._began)  # the clock may be set back
        if waited > UNREACHABLE_SECONDS or (self._tries >= TRIES and not limited):
            raise error
        asked = error.retry_after or 0.0 if isinstance(error, RateLimited) else 0.0
        pause = min(MOST_ASK_AGAIN, TRY_AGAIN * 2 ** (self._tries - 1)) * random.uniform(0.8, 1.2)
        if not self._is_sent:  # else an earlier create may have been taken, and its row goes on saying so
            await self._log.not_taken(str(error), max(pause, asked))
        if self._turn is not None and limited:
            self._turn.hold(asked or TRY_AGAIN)
        await asyncio.sleep(max(pause, asked))

    async def _note_unknown(self, why: str) -> None:
        """Journal that nobody knows whether the provider has the work, and for how long that will be so."""
        again = self._on_unknown == "resubmit_once" and not self._log.record.possible_duplicate
        held = (self._log.record.sent_at or 0.0) + self._provider.unknown_seconds
        until, then = (self._create_ends, "it is sent again") if again else (held, "the step fails")
        await self._log.unknown(why, until, then)

    async def _prepared_in_turn(self) -> Create | None:
        """Return what sends the create when the account has room for it; None if the provider was not reached.

        It is prepared in its turn, so that creates that wait hold no pictures; where that took longer than the turn is
        kept, it waits for another.
        """
        if self._turn is None:
            return await self._prepare()
        create, prepared_at = None, 0.0
        while True:
            await self._turn.acquire()
            turn_at = time.monotonic()
            if create is None or turn_at - prepared_at > PREPARED_SECONDS:
                create, prepared_at = await self._prepare(), time.monotonic()
            if create is None or time.monotonic() - turn_at < TURN_SECONDS:
                return create

    async def _prepare(self) -> Create | None:
        """Have the provider prepare a create; None if it could not be reached, and is to be asked again."""
        try:
            return await in_time(self._provider.prepare(self._work), PREPARE_SECONDS)
        except ProviderUnavailable as error:
            await self._wait_to_send(error)
            return None

    async def _send(self, create: Create) -> str:
        left = min(self._create_ends - time.time(), self._provider.create_seconds)
        if left <= 0:  # this process was stopped just here; meanwhile others may count the create as over
            raise TimeoutError
        async with asyncio.timeout(left):
            return await create(self._log.record.token)

    @property
    def _create_ends(self) -> float:
        return (self._log.record.sent_at or 0.0) + self._provider.create_seconds

    async def _find(self) -> str | None:
        """Ask the provider what became of a create that was not answered, and go by that.

        None if it is to be sent again, or was and was not answered.
        """
        pause = ASK_AGAIN
        while True:
            await self._log.bound_sent_at()
            over = time.time() > self._create_ends
            await self._log.reread()
            if self._log.record.provider_job_id is not None or not self._is_sent:
                return self._log.record.provider_job_id
            try:
                job_id = await in_time(self._provider.find(self._work, self._log.record.token))
            except (OutcomeUnknown, ProviderUnavailable) as error:
                if over and await self._is_given_up(error):
                    return await self._create(possible_duplicate=True)
            else:
                if job_id is not None:
                    return job_id
                if over:  # the provider is sure that there is none
                    return await self._send_again()
            await self._pause(pause)
            pause = min(2 * pause, MOST_ASK_AGAIN)

    async def _send_again(self) -> str | None:
        step = self._log.record
        if step.attempt >= CREATES:
            raise ProviderUnavailable(f"it was sent {step.attempt} times, and the provider never got it")
        await self._log.not_taken(f"{self._provider.name} has no such job")
        return await self._create(step.possible_duplicate)

    async def _is_given_up(self, why: RaypipeError) -> bool:
        """Tell whether to send again what may have been taken: once, and only where the settings say so."""
        await self._note_unknown(str(why))
        step = self._log.record
        if self._on_unknown == "resubmit_once" and not step.possible_duplicate:
            return True
        if time.time() > (step.sent_at or 0.0) + self._provider.unknown_seconds:
            raise OutcomeUnknown(
                f"the work was sent and not answered, and it is not known whether it was taken, and paid: {why}. "
                "Retrying the video with `resubmit` sends it again."
            )
        return False

    async def _poll(self, job_id: str) -> Delivery:
        pause, unreachable_until = ASK_AGAIN, time.monotonic() + UNREACHABLE_SECONDS
        while True:
            try:
                polled = self._provider.poll(job_id, self._work)
                reply = await in_time(polled, self._provider.poll_seconds)
            except ProviderUnavailable as error:
                # it is paid: whatever goes wrong with asking is asked again
                if time.monotonic() > unreachable_until:
                    raise
                logger.info(
                    "%s of %s is asked for again: %s", self._work.step, self._work.job.video_id, error
                )
                asked = error.retry_after if isinstance(error, RateLimited) else None
                await asyncio.sleep(max(pause, asked or 0.0))
                pause = min(2 * pause, MOST_ASK_AGAIN)
                continue
            if not isinstance(reply, Pending):
                return reply
            self._log.survived.set()
            await self._check_deadline(job_id)
            pause, unreachable_until = ASK_AGAIN, time.monotonic() + UNREACHABLE_SECONDS
            await self._pause(reply.poll_after)

    async def _check_deadline(self, job_id: str) -> None:
        """Have a job stopped that takes too long, and give it up once that is answered, or an hour later.

        Raises:
            TookTooLong: It is given up.
        """
        await self._log.bound_sent_at()
        deadline = self._provider.deadline_seconds
        late = time.time() - (self._log.record.sent_at or time.time()) - deadline
        if late <= 0:
            return
        became = "was cancelled"
        try:
            await in_time(self._provider.cancel(job_id, self._work))
        except ProviderError as error:
            if late < UNREACHABLE_SECONDS:  # it may deliver yet, and is paid if it does
                logger.warning(
                    "%s of %s is late, and the job %s cannot be stopped for now: %s",
                    self._work.step, self._work.job.video_id, job_id, error,
                )  # fmt: skip
                return
            became = f"could not be stopped, and may be paid: {error}"
        raise TookTooLong(
            f"{self._provider.name} had not delivered after {deadline:g} s; the job {job_id} {became}"
        )


def reserved_price(step: StepRecord, work: Work, prices: Prices) -> float:
    """Return the price in US dollars that was reserved for a step, else noted when its job was fetched before.

    Else it is its model's, or 0 if that is not known any more.
    """
    if step.reserved_cost is not None:
        return step.reserved_cost
    if step.cost > step.earlier_cost:
        return step.cost - step.earlier_cost
    try:
        return charge_of(work, prices).usd
    except InvalidRequest as error:
        logger.warning("What %s cost cannot be told: %s", step.step, error)
        return 0.0


async def in_time(question: Awaitable[ResultT], seconds: float = ANSWER_SECONDS) -> ResultT:
    """Ask a provider.

    Raises:
        ProviderUnavailable: It does not answer in time, or with something that cannot be understood.
    """
    try:
        async with asyncio.timeout(seconds):
            return await question
    except RaypipeError:
        raise
    except TimeoutError as error:
        raise ProviderUnavailable(f"no answer within {seconds:g} s") from error
    except Exception as error:
        logger.warning("A provider's answer cannot be understood", exc_info=error)
        raise ProviderUnavailable(f"{type(error).__name__}: {error}") from error
