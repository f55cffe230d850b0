"""Requests that say by a key that they are the same: they make one video."""

import time
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from raypipe.errors import KeyReused
from raypipe.journal import tables
from raypipe.journal.dialects import insert_of

#: seconds for which a key is remembered
REMEMBERED = 86_400.0

_keys = tables.idempotency_keys


class Idempotency(NamedTuple):
    """What a client calls its request, and what it asked for."""

    key: str
    #: digest of the request
    request: str
    tenant: str


def known(connection: Connection, asked: Idempotency) -> str | None:
    """Return the video that a request under the same key has made; None if there was none within a day.

    Raises:
        KeyReused: That request asked for something else.
    """
    mine = _keys.c.tenant == asked.tenant, _keys.c.key == asked.key, _keys.c.at > time.time() - REMEMBERED
    row = connection.execute(select(_keys.c.request, _keys.c.video_id).where(*mine)).first()
    if row is None:
        return None
    if row.request != asked.request:
        raise KeyReused(
            f"The Idempotency-Key {asked.key!r} was used for another request; a new request needs a new key."
        )
    return str(row.video_id)


def remember(connection: Connection, asked: Idempotency, video_id: str) -> bool:
    """Note that a request makes a video; tells whether it is the first under its key, and forgets old ones."""
    connection.execute(delete(_keys).where(_keys.c.at <= time.time() - REMEMBERED))
    row = {**asked._asdict(), "video_id": video_id, "at": time.time()}
    return bool(
        connection.execute(insert_of(connection.dialect)(_keys).values(row).on_conflict_do_nothing()).rowcount
    )
