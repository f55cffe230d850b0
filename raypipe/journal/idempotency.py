"""Requests that say by a key that they are the same: they make one video."""

import time
from typing import NamedTuple

from sqlalchemy import Connection, delete, select

from raypipe.errors import KeyReused, VideoDeleted
from raypipe.journal import tables
from raypipe.journal.dialects import insert_of

#: seconds for which a key is remembered
REMEMBERED = 86_400.0

_keys, _videos = tables.idempotency_keys, tables.videos


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
        VideoDeleted: The video has been deleted since; the key's row outlives it, so that it is not paid again.
    """
    mine = _keys.c.tenant == asked.tenant, _keys.c.key == asked.key, _keys.c.at > time.time() - REMEMBERED
    with_video = _keys.outerjoin(_videos, _videos.c.id == _keys.c.video_id)
    columns = _keys.c.request, _keys.c.video_id, _videos.c.id.label("existing_id")
    row = connection.execute(select(*columns).select_from(with_video).where(*mine)).first()
    if row is None:
        return None
    if row.request != asked.request:
        raise KeyReused(
            f"The Idempotency-Key {asked.key!r} was used for another request; a new request needs a new key."
        )
    if row.existing_id is None:
        raise VideoDeleted(row.video_id)
    return str(row.video_id)


def remember(connection: Connection, asked: Idempotency, video_id: str) -> bool:
    """Note that a request makes a video; tells whether it is the first under its key, and forgets old ones."""
    connection.execute(delete(_keys).where(_keys.c.at <= time.time() - REMEMBERED))
    row = {**asked._asdict(), "video_id": video_id, "at": time.time()}
    return bool(
        connection.execute(insert_of(connection.dialect)(_keys).values(row).on_conflict_do_nothing()).rowcount
    )
