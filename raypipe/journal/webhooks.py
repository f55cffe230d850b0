"""Webhooks that tenants have asked for: what they are to be told is a row, until they were told or it is given up."""

import secrets
import time
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import Field
from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from raypipe.errors import InvalidRequest, WebhookNotFound
from raypipe.journal import tables
from raypipe.journal.dialects import insert_of
from raypipe.journal.writer import Writer
from raypipe.models import Value

#: what is told
KINDS = ("video.completed", "video.partial", "video.failed", "video.cancelled", "video.waiting")
#: seconds between tries; an answer 2xx ends them, and the last of them is about a day after the first
BACK_OFF = (5, 30, 120, 600, 1_800, 3_600, 7_200, 14_400, 21_600, 36_000)
#: seconds within which whoever sends a message ends, one way or the other; then another may
SENDING = 60.0
#: webhooks that a tenant may have
MOST = 20
#: seconds for which what was told, or given up, is kept
KEPT = 7 * 86_400
#: seconds within which an event is seen by all, once it has its id: with Postgres a later one may be seen before it
_SEEN = 30.0
#: events that are looked through at a time
AT_A_TIME = 1_000
_hooks, _messages, _events, _videos = tables.webhooks, tables.webhook_messages, tables.events, tables.videos
_installation = tables.installation

Read = Callable[[Any, str], Sequence[Row[Any]]]


class WebhookRecord(Value):
    """An address that is told what becomes of a tenant's videos."""

    id: str = Field(default_factory=lambda: f"wh_{secrets.token_hex(12)}")
    tenant: str
    url: str
    created_at: float = Field(default_factory=time.time)
    #: when it was told nothing more, because it said that it is gone
    disabled_at: float | None = None


class Message(Value):
    """Something to tell a webhook, once more or for the first time."""

    id: str
    webhook_id: str
    tenant: str
    url: str
    body: dict[str, Any]
    #: how often it was tried, this time included
    attempt: int


class Webhooks:
    """The webhooks of an installation, and what they are to be told."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer, self._read = writer, read

    async def add(self, webhook: WebhookRecord) -> None:
        """Have an address be told what happens from now on.

        Raises:
            InvalidRequest: The tenant has as many as it may.
        """

        def run(connection: Connection) -> None:
            mine = select(func.count()).select_from(_hooks).where(_hooks.c.tenant == webhook.tenant)
            if connection.execute(mine).scalar_one() >= MOST:
                raise InvalidRequest(f"There are {MOST} webhooks already; delete one first.")
            if connection.execute(select(_hooks.c.id).limit(1)).first() is None:
                # nobody had to be told anything up to now
                newest = select(func.coalesce(func.max(_events.c.id), 0)).scalar_subquery()
                connection.execute(update(_installation).values(told_upto=newest))
            connection.execute(insert(_hooks).values(webhook.model_dump()))

        await self._writer.transact(run)

    def of(self, tenant: str) -> list[WebhookRecord]:
        """Read a tenant's webhooks, in the order in which they were added."""
        query = select(_hooks).where(_hooks.c.tenant == tenant).order_by(_hooks.c.created_at)
        return [WebhookRecord.model_validate(dict(row._mapping)) for row in self._read(query, "the webhooks")]

    async def remove(self, tenant: str, webhook_id: str) -> None:
        """Tell an address nothing more.

        Raises:
            WebhookNotFound: The tenant has no such webhook.
        """

        def run(connection: Connection) -> None:
            mine = _hooks.c.id == webhook_id, _hooks.c.tenant == tenant
            if connection.execute(select(_hooks.c.id).where(*mine)).first() is None:
                raise WebhookNotFound(webhook_id)
            connection.execute(delete(_messages).where(_messages.c.webhook_id == webhook_id))
            connection.execute(delete(_hooks).where(*mine))

        await self._writer.transact(run)

    async def due(self, limit: int, busy: Collection[str] = ()) -> list[Message]:
        """Take up to so many messages that are to be sent now; nobody else gets them for `SENDING` seconds.

        What has happened since is written down first. The id of a message says what it tells whom, so that nothing is
        written twice.

        Args:
            limit: How many.
            busy: Tenants that have as many under way as they may.
        """
        anybody = select(_hooks.c.id).where(_hooks.c.disabled_at.is_(None)).limit(1)
        if not await self._writer.read(lambda connection: connection.execute(anybody).all()):
            return []

        def run(connection: Connection) -> list[Message]:
            write_down(connection, AT_A_TIME)
            return _taken(connection, limit, busy)

        found: list[Message] = await self._writer.transact(run)
        return found

    async def told(self, message: Message) -> None:
        """Note that a webhook has taken a message."""
        await self._end(message, {"ended_at": time.time(), "error": None})

    async def not_told(self, message: Message, error: str) -> None:
        """Note that a webhook has not taken a message: it is sent again later, or given up after a day."""
        again = (
            {"next_at": time.time() + BACK_OFF[message.attempt - 1]}
            if message.attempt <= len(BACK_OFF)
            else None
        )
        await self._end(message, {"error": error, **(again or {"ended_at": time.time()})})

    async def gone(self, message: Message) -> None:
        """Note that a webhook wants to be told nothing more."""

        def run(connection: Connection) -> None:
            mine = _messages.c.webhook_id == message.webhook_id
            connection.execute(delete(_messages).where(mine, _messages.c.ended_at.is_(None)))
            off = update(_hooks).where(_hooks.c.id == message.webhook_id)
            connection.execute(off.values(disabled_at=func.coalesce(_hooks.c.disabled_at, time.time())))

        await self._writer.transact(run)

    async def _end(self, message: Message, values: dict[str, Any]) -> None:
        mine = _messages.c.id == message.id, _messages.c.attempt == message.attempt
        statement = update(_messages).where(*mine).values(**values)
        await self._writer.transact(lambda connection: connection.execute(statement).rowcount)


def write_down(connection: Connection, most: int | None = None) -> None:
    """Write down what webhooks are to be told of what has happened, of at most so many events."""
    now = time.time()
    if connection.execute(select(_hooks.c.id).limit(1)).first() is None:
        return
    upto = connection.execute(select(_installation.c.told_upto).with_for_update()).scalar_one()
    new = select(_events.c.id).where(_events.c.id > upto).order_by(_events.c.id).limit(most).subquery()
    last = connection.execute(select(func.max(new.c.id))).scalar()
    if last is None:
        return
    columns = (
        _events.c.id, _events.c.video_id, _events.c.kind, _events.c.at, _hooks.c.id.label("webhook_id"),
        _videos.c.error_code, _videos.c.error_message,
    )  # fmt: skip
    joined = _events.join(_videos, _videos.c.id == _events.c.video_id).join(
        _hooks, _hooks.c.tenant == _videos.c.tenant
    )
    wanted = (
        _events.c.id > upto, _events.c.id <= last, _events.c.kind.in_(KINDS),
        # one that was added in the future was added before the clock was set back
        or_(_events.c.at >= _hooks.c.created_at, _hooks.c.created_at > now),
        _hooks.c.disabled_at.is_(None),
    )  # fmt: skip
    rows = [
        {
            "id": f"msg_{row.id}_{row.webhook_id}",
            "webhook_id": row.webhook_id,
            "body": _body(row),
            "attempt": 0,
        }
        for row in connection.execute(select(*columns).select_from(joined).where(*wanted))
    ]
    if rows:
        timed = [{**row, "created_at": now, "next_at": now} for row in rows]
        connection.execute(insert_of(connection.dialect)(_messages).on_conflict_do_nothing(), timed)
    if connection.dialect.name == "postgresql":  # there an event may be seen after one of a higher id
        settled = _events.c.id > upto, _events.c.id <= last, _events.c.at < now - _SEEN
        last = connection.execute(select(func.max(_events.c.id)).where(*settled)).scalar() or upto
    connection.execute(update(_installation).values(told_upto=last))
    connection.execute(delete(_messages).where(_messages.c.ended_at < now - KEPT))


def _body(row: Any) -> dict[str, Any]:
    """Return what a webhook is told of an event, in the shape of Standard Webhooks 1.0."""
    failed = row.error_code is not None and row.kind != "video.completed"
    error = {"code": row.error_code, "message": row.error_message} if failed else None
    state = row.kind.removeprefix("video.")
    data = {"id": row.video_id, "object": "video", "state": state, "error": error}
    return {"type": row.kind, "timestamp": datetime.fromtimestamp(row.at, UTC).isoformat(), "data": data}


def _is_due(now: float) -> ColumnElement[bool]:
    """Whether a message is to be sent; one whose time is too far off was timed before the clock was set back."""
    return or_(_messages.c.next_at <= now, _messages.c.next_at > now + max(SENDING, *BACK_OFF))


def _taken(connection: Connection, limit: int, busy: Collection[str]) -> list[Message]:
    now = time.time()
    columns = (
        _messages.c.id, _messages.c.webhook_id, _hooks.c.tenant, _hooks.c.url, _messages.c.body, _messages.c.attempt,
    )  # fmt: skip
    joined = _messages.join(_hooks, _hooks.c.id == _messages.c.webhook_id)
    open_ones = (
        _messages.c.ended_at.is_(None), _is_due(now), _hooks.c.disabled_at.is_(None),
        _hooks.c.tenant.not_in(list(busy)),
    )  # fmt: skip
    query = select(*columns).select_from(joined).where(*open_ones).order_by(_messages.c.next_at)
    rows = connection.execute(query.limit(limit).with_for_update(skip_locked=True, of=_messages)).all()
    taken = [Message.model_validate({**row._mapping, "attempt": row.attempt + 1}) for row in rows]
    for message in taken:
        mine = update(_messages).where(_messages.c.id == message.id)
        connection.execute(mine.values(attempt=message.attempt, next_at=now + SENDING))
    return taken
