"""Webhooks of vendors: checked, and noted in the journal for the gateway that waits for the job."""

import logging
from typing import Annotated

from fastapi import FastAPI, Query, Request
from fastapi import Path as PathParameter

from raypipe.artifacts import ArtifactStore
from raypipe.config import Settings
from raypipe.errors import (
    KeyMissing,
    KeyRefused,
    ProviderUnavailable,
    SecretsExposed,
    SecretsUnreadable,
    WebhookRefused,
)
from raypipe.journal import Journal, Token
from raypipe.providers.base import Context
from raypipe.providers.http import HttpProvider
from raypipe.providers.registry import provider_class

logger = logging.getLogger(__name__)


class Hooks:
    """Takes webhooks."""

    def __init__(self, settings: Settings, journal: Journal, store: ArtifactStore) -> None:
        self._context, self._journal = Context(settings, store), journal
        self._providers: dict[str, HttpProvider] = {}

    async def take(self, provider: str, token: str, seal: str, headers: dict[str, str], body: bytes) -> bool:
        """Check a webhook and note it; tells whether anybody waits for its job.

        Raises:
            UnknownProvider: There is no such vendor.
            WebhookRefused: It is not surely the vendor's.
            ProviderError: There is no key, or the vendor could not be asked for what it signs with.
        """
        try:
            create = Token.parse(token)
        except ValueError as error:
            raise WebhookRefused("the address of the webhook names no step") from error
        try:
            job_id = await self._provider(provider).job_of_hook(token, seal, headers, body)
        except (
            KeyMissing,
            KeyRefused,
            SecretsExposed,
            SecretsUnreadable,
        ) as error:  # what is set where is nobody's business outside
            logger.error("Webhooks of %s cannot be checked here: %s", provider, error)
            raise ProviderUnavailable(f"webhooks of {provider} cannot be checked here") from error
        return await self._journal.hint(create, provider, job_id)

    def _provider(self, name: str) -> HttpProvider:
        if name not in self._providers:
            found = provider_class(name)
            if not issubclass(found, HttpProvider):
                raise WebhookRefused(f"{name} sends no webhooks")
            self._providers[name] = found(self._context)
        return self._providers[name]


def add_route(app: FastAPI, hooks: Hooks) -> None:
    """Add the address that creates give to vendors."""

    @app.post("/v1/hooks/{provider}", tags=["service"])
    async def take_webhook(
        provider: Annotated[str, PathParameter(max_length=80, description="The vendor's name.")],
        step: Annotated[str, Query(max_length=200, description="Names the create.")],
        seal: Annotated[str, Query(max_length=64, description="Shows that the address was written here.")],
        request: Request,
    ) -> dict[str, bool]:
        """Take a vendor's word that a job is over; only what is signed is believed, and then the vendor is asked."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        return {"awaited": await hooks.take(provider, step, seal, headers, await request.body())}
