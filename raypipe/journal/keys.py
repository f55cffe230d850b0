"""Keys of the API, and what their tenants may do: a key is known by its digest, and is itself nowhere."""

import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, Self

from pydantic import Field
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from raypipe.errors import InvalidRequest, TenantLimit
from raypipe.journal import tables
from raypipe.journal.dialects import insert_of
from raypipe.journal.money import DAY, DailyBudget
from raypipe.journal.writer import Writer
from raypipe.models import Artifact, Dollars, Value, VideoState

#: tenant of who calls from this machine
LOCAL_TENANT = "local"
#: how keys begin, so that one can be told from other secrets
PREFIX = "rp_"
#: bytes of chance in a key: no digest of so many can be guessed back, so a fast one will do
_BYTES = 32
_keys, _videos = tables.api_keys, tables.videos
_UNDER_WAY = (VideoState.QUEUED, VideoState.RUNNING, VideoState.CANCELLING)

Read = Callable[[Any, str], Sequence[Row[Any]]]


class ApiKey(Value):
    """A key, without what opens: its name, whose it is and what it allows."""

    name: str = Field(pattern=r"^[\w.@-]+$", max_length=80)
    tenant: str = Field(pattern=r"^[\w.@-]+$", max_length=40)
    created_at: float = Field(default_factory=time.time)
    revoked_at: float | None = None
    #: the tenant's videos that may be queued or made at once; None: any number
    most_in_flight: int | None = Field(default=None, ge=0, le=2**31 - 1)
    #: videos that the tenant may submit a day, which begins at midnight UTC; None: any number
    most_per_day: int | None = Field(default=None, ge=0, le=2**31 - 1)
    #: US dollars that the tenant may spend a day; None: any sum
    daily_budget: Dollars | None = None

    @property
    def budget(self) -> DailyBudget | None:
        """What the tenant may spend a day; None: any sum."""
        return None if self.daily_budget is None else DailyBudget(self.daily_budget, self.tenant, self.name)

    @classmethod
    def _of(cls, row: Row[Any]) -> Self:
        return cls.model_validate({name: getattr(row, name) for name in cls.model_fields})


class Keys:
    """The keys of an installation."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer, self._read = writer, read

    async def create(self, key: ApiKey) -> str:
        """Make a key and return it; this is the only time that it can be seen.

        Raises:
            InvalidRequest: There is a key of that name.
            JournalUnavailable: It cannot be written.
        """
        secret = PREFIX + secrets.token_urlsafe(_BYTES)
        row = {**key.model_dump(), "digest": _digest(secret)}

        def run(connection: Connection) -> None:
            if connection.execute(select(_keys.c.name).where(_keys.c.name == key.name)).first():
                raise InvalidRequest(f"There is a key named {key.name!r} already, or was.")
            connection.execute(insert(_keys).values(row))

        await self._writer.transact(run)
        return secret

    async def revoke(self, name: str) -> None:
        """Have a key open nothing any more, from within seconds on.

        Raises:
            InvalidRequest: There is no such key.
            JournalUnavailable: It cannot be written.
        """
        ended = func.coalesce(_keys.c.revoked_at, time.time())
        statement = update(_keys).where(_keys.c.name == name).values(revoked_at=ended)
        if not await self._writer.transact(lambda connection: connection.execute(statement).rowcount):
            raise InvalidRequest(
                f"There is no key named {name!r}; `raypipe keys list` shows those there are."
            )

    def all(self) -> list[ApiKey]:
        """Read all keys, revoked ones too, in the order in which they were made."""
        return [ApiKey._of(row) for row in self._read(select(_keys).order_by(_keys.c.created_at), "the keys")]

    def opened_by(self, secret: str) -> ApiKey | None:
        """Read which key this is; None if none, or a revoked one."""
        mine = select(_keys).where(_keys.c.digest == _digest(secret), _keys.c.revoked_at.is_(None))
        rows = self._read(mine, "the keys")
        return ApiKey._of(rows[0]) if rows else None

    async def note_uploads(self, tenant: str, digests: Sequence[str]) -> None:
        """Let a tenant name pictures for a day that it has brought."""
        if not digests:
            return
        now = time.time()

        def run(connection: Connection) -> None:
            connection.execute(delete(tables.uploads).where(tables.uploads.c.at < now - DAY))
            for digest in digests:
                _upsert(
                    connection, tables.uploads, {"tenant": tenant, "digest": digest, "at": now}, {"at": now}
                )

        await self._writer.transact(run)

    def may_name(self, tenant: str, artifact: Artifact) -> bool:
        """Tell whether a tenant may name an artifact: it has brought it within a day."""
        uploads = tables.uploads.c
        mine = uploads.tenant == tenant, uploads.digest == artifact.digest
        brought = select(uploads.digest).where(*mine, uploads.at >= time.time() - DAY)
        return bool(self._read(brought, "the uploads"))

    async def check_room(self, key: ApiKey) -> None:
        """Check, before any work is done, that a key allows its tenant one more video; `admit` has the last word.

        Raises:
            TenantLimit: It does not.
        """
        await self._writer.read(lambda connection: _check(connection, key, 1))


def admit(connection: Connection, key: ApiKey, more: int = 1) -> None:
    """Count videos that a tenant has made, if its key allows them.

    Args:
        connection: Where the rows are.
        key: The key.
        more: How many; 0 for one that was counted before, and is gone on with.

    Raises:
        TenantLimit: It does not.
    """
    day, submissions = _today(), tables.submissions
    counted = {"videos": submissions.c.videos + more}
    _upsert(connection, submissions, {"tenant": key.tenant, "day": day, "videos": more}, counted)
    connection.execute(delete(submissions).where(submissions.c.day < day - 1))
    _check(connection, key, 0)


def _check(connection: Connection, key: ApiKey, more: int) -> None:
    if key.most_per_day is not None:
        day, submissions = _today(), tables.submissions.c
        mine = submissions.tenant == key.tenant, submissions.day == day
        count = connection.execute(select(submissions.videos).where(*mine)).scalar() or 0
        if count + more > key.most_per_day:
            limit = f"{key.most_per_day} videos a day (it ends at midnight UTC)"
            raise TenantLimit(limit, (day + 1) * DAY - time.time())
    if key.most_in_flight is not None:
        under_way = _videos.c.tenant == key.tenant, _videos.c.state.in_(_UNDER_WAY)
        count = connection.execute(select(func.count()).select_from(_videos).where(*under_way)).scalar_one()
        if count >= key.most_in_flight:
            raise TenantLimit(f"{key.most_in_flight} videos at once")


def _today() -> int:
    return int(time.time() // DAY)


def _upsert(connection: Connection, table: Any, row: dict[str, Any], changed: dict[str, Any]) -> None:
    keys = [column.name for column in table.primary_key]
    statement = insert_of(connection.dialect)(table).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed))


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
