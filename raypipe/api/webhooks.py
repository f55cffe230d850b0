"""Routes by which a tenant says where it wants to be told what becomes of its videos."""

import asyncio
from typing import Annotated, Literal
from urllib.parse import urlsplit

import httpx
from fastapi import FastAPI
from fastapi import Path as PathParameter
from pydantic import BaseModel, ConfigDict, Field

from raypipe.addresses import NotPublic, addresses_of, anywhere, public_only
from raypipe.api.callers import Calling
from raypipe.config import Settings
from raypipe.errors import InvalidRequest
from raypipe.journal import Journal, WebhookRecord
from raypipe.signing import webhook_secret

WebhookId = Annotated[str, PathParameter(max_length=64, description="The webhook's id.")]


class AddWebhook(BaseModel):
    """Where to send what becomes of videos."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"url": "https://example.com/hook"}]}
    )

    url: str = Field(min_length=1, max_length=2_000, description="An https:// address on the Internet.")


class WebhookView(BaseModel):
    """A webhook."""

    id: str
    object: Literal["webhook"] = "webhook"
    url: str
    status: Literal["enabled", "disabled"] = Field(description="Disabled, because it has answered 410 Gone.")
    created_at: int


class NewWebhook(WebhookView):
    """A webhook, and what its messages are signed with."""

    secret: str = Field(description="Checks messages, by Standard Webhooks; it is shown this once.")


class WebhookList(BaseModel):
    """A tenant's webhooks."""

    object: Literal["list"] = "list"
    data: list[WebhookView]


def add_webhook_routes(app: FastAPI, settings: Settings, journal: Journal) -> None:
    """Add them."""

    @app.post("/v1/webhooks", status_code=201, tags=["webhooks"])
    async def add_webhook(body: AddWebhook, caller: Calling) -> NewWebhook:
        """Have an address be told when a video is completed, partial, failed, cancelled or waits.

        Messages are signed by Standard Webhooks 1.0, come at least once under the same `webhook-id`, and are tried
        again for a day; 410 ends them.
        """
        await _check(body.url, settings)
        webhook = WebhookRecord(tenant=caller.tenant, url=body.url)
        secret = await asyncio.to_thread(webhook_secret, settings, webhook.id)
        await journal.webhooks.add(webhook)
        return NewWebhook(**_view(webhook).model_dump(), secret=secret)

    @app.get("/v1/webhooks", tags=["webhooks"])
    def list_webhooks(caller: Calling) -> WebhookList:
        """List webhooks."""
        return WebhookList(data=[_view(each) for each in journal.webhooks.of(caller.tenant)])

    @app.delete("/v1/webhooks/{webhook_id}", tags=["webhooks"])
    async def delete_webhook(webhook_id: WebhookId, caller: Calling) -> dict[str, str | bool]:
        """Tell an address nothing more."""
        await journal.webhooks.remove(caller.tenant, webhook_id)
        return {"id": webhook_id, "object": "webhook.deleted", "deleted": True}


def _view(webhook: WebhookRecord) -> WebhookView:
    status: Literal["enabled", "disabled"] = "enabled" if webhook.disabled_at is None else "disabled"
    return WebhookView(id=webhook.id, url=webhook.url, status=status, created_at=int(webhook.created_at))


async def _check(url: str, settings: Settings) -> None:
    """Check an address as far as can be now; when it is asked, what it then resolves to is checked again.

    Raises:
        InvalidRequest: Nothing may be sent there.
    """
    private = settings.allow_private_urls
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"url: it is no address: {error}.") from error
    schemes = ("https", "http") if private else ("https",)
    if (
        parts.scheme not in schemes
        or not host
        or port == 0
        or parts.username is not None
        or not url.isascii()
    ):
        raise InvalidRequest("url: it must be an address that begins with https://, without a user's name.")
    try:
        await (anywhere if private else public_only)(host, await addresses_of(host))
        httpx.URL(url).host.encode("ascii")  # as it will be asked
    except (NotPublic, OSError, ValueError, httpx.InvalidURL) as error:
        said = error if isinstance(error, NotPublic) else f"there is no host {host:.80}"
        raise InvalidRequest(f"url: {said}.") from error
