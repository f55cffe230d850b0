"""News of jobs, as events: what came in at one process is read by those that wait for it."""

from sqlalchemy import Connection, and_, func, or_, select, update

from raypipe.journal import tables
from raypipe.journal.records import StepKey, Token
from raypipe.models import StepState

#: kind of the event that says that a provider has news of a step's job
HINTED = "step.hinted"
#: events before the newest that are looked through first: enough for what happens while a gateway starts
_RECENT = 2_000


def hint(connection: Connection, create: Token, provider: str, job_id: str) -> bool:
    """Give a create that was not answered the id of its job; tells whether it may be that job's."""
    steps = tables.steps.c
    step = and_(steps.video_id == create.video_id, steps.step == create.step, steps.take == create.take)
    under_way = steps.state.in_([StepState.SENT, StepState.ACCEPTED, StepState.UNKNOWN])
    its = or_(steps.provider_job_id == job_id, steps.provider_job_id.is_(None))
    mine = and_(step, steps.attempt == create.attempt, steps.provider == provider, under_way, its)
    changed = connection.execute(update(tables.steps).where(mine).values(provider_job_id=job_id))
    return bool(changed.rowcount)


def hinted_since(connection: Connection, last: int | None) -> tuple[int, list[StepKey]]:
    """Read of which steps there is news after an event; gives the id of the newest event too."""
    events = tables.events.c
    newest = connection.execute(select(func.coalesce(func.max(events.id), 0))).scalar_one()
    after = max(0, newest - _RECENT) if last is None else last
    if newest == after:
        return newest, []
    columns = events.video_id, events.step, events.take
    query = select(*columns).where(events.id > after, events.id <= newest, events.kind == HINTED)
    return newest, [(row.video_id, row.step, row.take) for row in connection.execute(query)]
