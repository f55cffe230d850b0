"""Telling webhooks what has become of videos, by Standard Webhooks 1.0 (https://www.standardwebhooks.com)."""

import asyncio
import json
import logging
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

import httpx
from standardwebhooks.webhooks import Webhook

from raypipe.addresses import anywhere, pinned_client, public_only
from raypipe.config import Settings
from raypipe.errors import JournalUnavailable
from raypipe.journal import Journal, Message
from raypipe.signing import webhook_secret

logger = logging.getLogger(__name__)

#: seconds between looks for something to tell
LOOK = 1.0
#: messages under way at once
AT_ONCE = 20
#: of each tenant: one whose webhooks never answer delays no other's
AT_ONCE_EACH = 4
#: seconds in which a webhook has to answer
ANSWER_SECONDS = 15.0


class Outbox:
    """Sends the messages of an installation's webhooks; any number of processes may, each message is sent by one."""

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings, self._journal = settings, journal
        check = anywhere if settings.allow_private_urls else public_only
        self._client = pinned_client(check, ANSWER_SECONDS)
        self._sending: dict[asyncio.Task[None], str] = {}
        self._ended = asyncio.Event()

    async def run(self) -> None:
        """Send what is due, until cancelled."""
        try:
            while True:
                self._ended.clear()
                while await self._start_due():
                    pass
                with suppress(TimeoutError):  # where one has ended, there is room for another
                    async with asyncio.timeout(LOOK):
                        await self._ended.wait()
        finally:
            for task in self._sending:
                task.cancel()
            await asyncio.gather(*self._sending, return_exceptions=True)
            await self._client.aclose()

    async def _start_due(self) -> bool:
        """Begin to send as much as may be under way, of each tenant and in all; tells whether anything was due."""
        tenants = Counter(self._sending.values())
        busy = [tenant for tenant, number in tenants.items() if number >= AT_ONCE_EACH]
        most = max((number for number in tenants.values() if number < AT_ONCE_EACH), default=0)
        free = min(AT_ONCE_EACH - most, AT_ONCE - len(self._sending))
        due = await self._due(free, busy) if free > 0 else []
        for message in due:
            task = asyncio.create_task(self._send(message))
            self._sending[task] = message.tenant
            task.add_done_callback(self._has_ended)
        return bool(due)

    def _has_ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._ended.set()

    async def _due(self, limit: int, busy: list[str]) -> list[Message]:
        try:
            return await self._journal.webhooks.due(limit, busy)
        except Exception as error:  # noqa: BLE001 - it is asked again; the coordinator lives here too, and goes on
            logger.warning("What webhooks are to be told cannot be read for now: %r", error)
            return []

    async def _send(self, message: Message) -> None:
        """Tell a webhook, and note how that ended; what cannot be noted is sent again."""
        webhooks = self._journal.webhooks
        try:
            try:
                answer = await self._post(message)
            except Exception as error:  # noqa: BLE001 - whatever an address does to us, it was not told
                await self._not_told(message, str(error) or type(error).__name__)
                return
            if answer.is_success:
                await webhooks.told(message)
            elif answer.status_code == httpx.codes.GONE:
                logger.info("Webhook %s says that it is gone and is told nothing more", message.webhook_id)
                await webhooks.gone(message)
            else:
                await self._not_told(message, f"it answers {answer.status_code}")
        except JournalUnavailable as error:
            logger.warning("What became of %s cannot be noted, it is sent again: %s", message.id, error)

    async def _post(self, message: Message) -> httpx.Response:
        """Send a message; of the answer nothing but the status is read."""
        at, body = datetime.now(UTC), json.dumps(message.body, separators=(",", ":"))
        seal = Webhook(webhook_secret(self._settings, message.webhook_id)).sign(message.id, at, body)
        headers = {
            "content-type": "application/json",
            "user-agent": "raypipe",
            "webhook-id": message.id,
            "webhook-timestamp": str(int(at.timestamp())),
            "webhook-signature": seal,
        }
        async with asyncio.timeout(ANSWER_SECONDS):
            async with self._client.stream("POST", message.url, content=body, headers=headers) as answer:
                return answer

    async def _not_told(self, message: Message, why: str) -> None:
        logger.info("Webhook %s has not taken %s: %s", message.webhook_id, message.id, why)
        await self._journal.webhooks.not_told(message, why[:500])
