"""Deleting videos, and which artifacts the others name."""

import re
import time
from collections import defaultdict
from typing import Any

from sqlalchemy import Connection, Text, cast, delete, func, insert, select, update

from raypipe.errors import VideoBusy, VideoNotFound
from raypipe.journal import tables
from raypipe.journal.money import DAY
from raypipe.journal.records import AT_PROVIDER
from raypipe.models import VideoState

#: seconds for which it is known what happened to a deleted video, for those who follow events
HEARD = 3_600.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
#: columns that may name artifacts
_NAMING = (
    tables.videos.c.request, tables.videos.c.spec, tables.videos.c.result,
    tables.steps.c.result, tables.phases.c.output,
)  # fmt: skip


def check_over(connection: Connection, video_id: str) -> None:
    """Check that a video may be deleted.

    Raises:
        VideoNotFound: There is no such video.
        VideoBusy: It is not over, or a provider has not said yet what became of a job of it.
    """
    videos = tables.videos.c
    state = connection.execute(select(videos.state).where(videos.id == video_id).with_for_update()).scalar()
    if state is None:
        raise VideoNotFound(video_id)
    if not VideoState(state).terminal:
        raise VideoBusy(f"Video {video_id} is {state}: cancel it first.")
    steps = tables.steps.c
    at_provider = select(steps.step).where(steps.video_id == video_id, steps.state.in_(AT_PROVIDER))
    if (step := connection.execute(at_provider.limit(1)).scalar()) is not None:
        raise VideoBusy(
            f"Video {video_id} is {state}, and what became of {step} at its provider is not known yet; it is asked for "
            "while raypipe makes videos or serves. Delete the video later."
        )


def forget(connection: Connection, video_id: str) -> None:
    """Delete a video, with all that is known of it but what it cost on which day.

    The keys of the requests that made it stay for their day: such a request that is sent again makes no second video.
    """
    videos, steps = tables.videos.c, tables.steps.c
    spent: dict[int, float] = defaultdict(float)
    money = steps.cost + steps.doubtful_cost + func.coalesce(steps.reserved_cost, 0.0)
    for row in connection.execute(
        select(steps.sent_at, money.label("cost")).where(steps.video_id == video_id)
    ):
        spent[int((row.sent_at or time.time()) // DAY)] += row.cost
    tenant = connection.execute(select(videos.tenant).where(videos.id == video_id)).scalar_one()
    for day, cost in spent.items():
        _add(connection, day, tenant, cost)
    _keep_events(connection, video_id)
    for table in (tables.events, tables.phases, tables.steps):
        connection.execute(delete(table).where(table.c.video_id == video_id))
    connection.execute(delete(tables.videos).where(videos.id == video_id))


def _keep_events(connection: Connection, video_id: str) -> None:
    """Keep what has just happened to a video, without what was said of it, for those who have not read it yet."""
    kept, events, since = tables.deleted_events, tables.events, time.time() - HEARD
    connection.execute(delete(kept).where(kept.c.at < since))
    columns = [column for column in events.c if column.name in kept.c]
    joined = events.join(tables.videos, tables.videos.c.id == events.c.video_id)
    lately = events.c.video_id == video_id, events.c.at >= since
    chosen = select(*columns, tables.videos.c.tenant).select_from(joined).where(*lately)
    connection.execute(insert(kept).from_select([column.name for column in chosen.selected_columns], chosen))


def named_digests(connection: Connection) -> set[str]:
    """Read which artifacts rows name."""
    found: set[str] = set()
    for column in _NAMING:
        query: Any = select(cast(column, Text)).where(column.is_not(None))
        for (text,) in connection.execute(query):
            found.update(_DIGEST.findall(text))
    lately = tables.uploads.c.at >= time.time() - DAY
    found.update(connection.execute(select(tables.uploads.c.digest).where(lately)).scalars())
    return found


def _add(connection: Connection, day: int, tenant: str, cost: float) -> None:
    table = tables.deleted_costs
    if not cost:
        return
    its = table.c.day == day, table.c.tenant == tenant
    if not connection.execute(update(table).where(*its).values(cost=table.c.cost + cost)).rowcount:
        connection.execute(insert(table).values(day=day, tenant=tenant, cost=cost))
