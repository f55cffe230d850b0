"""All that is written row by row, as SQL that is compiled once."""

from typing import Any

from sqlalchemy import (
    Dialect,
    String,
    Table,
    and_,
    bindparam,
    case,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from raypipe.journal import tables
from raypipe.journal.dialects import insert_of
from raypipe.journal.records import TERMINAL
from raypipe.journal.writer import Statement
from raypipe.models import StepState


class Statements:
    """All that is written row by row, in the order in which rows need each other."""

    def __init__(self, dialect: Dialect) -> None:
        insert_or_update = insert_of(dialect)
        # a video that is there already, as its id is new, is of this very write, whose first answer was lost
        self.insert_video = Statement(0, insert_or_update(tables.videos).on_conflict_do_nothing(), dialect)
        self.put_back = Statement(0, _PUT_BACK, dialect)
        self.finish_video = Statement(0, _FINISH_VIDEO, dialect)
        self.put_step = Statement(1, _put_step(insert_or_update), dialect)
        self.job_id = Statement(1, _JOB_ID, dialect)
        self.put_phase = Statement(2, _upsert(insert_or_update, tables.phases), dialect)
        self.append_event = Statement(3, append_event(), dialect)


def _upsert(insert_or_update: Any, table: Table, **special: Any) -> Any:
    statement = insert_or_update(table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.c if column.name not in keys}
    changed |= {name: value(statement.excluded) for name, value in special.items()}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def _put_step(insert_or_update: Any) -> Any:
    """Replace a step's row, but for the id of a create's job that a webhook or another process has brought."""

    def job_id(new: Any) -> Any:
        unanswered = new.state.in_([literal(StepState.SENT.value), literal(StepState.UNKNOWN.value)])
        known = and_(new.provider_job_id.is_(None), new.attempt == tables.steps.c.attempt, unanswered)
        return case((known, tables.steps.c.provider_job_id), else_=new.provider_job_id)

    return _upsert(insert_or_update, tables.steps, provider_job_id=job_id)


def append_event() -> Any:
    """Return the statement that puts an event at the end of a video's log; its parameters begin with `e_`."""
    e = tables.events
    next_seq = func.coalesce(func.max(e.c.seq), 0) + 1
    values = [
        bindparam(f"e_{name}", None, type_=e.c[name].type)
        for name in ("at", "kind", "step", "take", "beat_index", "data")
    ]
    video_id = bindparam("e_video_id", None, type_=e.c.video_id.type)
    chosen = select(video_id, next_seq, *values).where(e.c.video_id == video_id)
    return insert(e).from_select(
        ["video_id", "seq", "at", "kind", "step", "take", "beat_index", "data"], chosen
    )


#: columns that say how a video ended, as they are while it has not
NO_END = {"result": None, "cost": 0.0, "error_code": None, "error_message": None}
_JOB_ID = (
    update(tables.steps)
    .where(
        *(
            tables.steps.c[name] == bindparam(f"s_{name}", None)
            for name in ("video_id", "step", "take", "attempt")
        )
    )
    .where(tables.steps.c.provider_job_id.is_(None))
    .where(or_(*(tables.steps.c.state == each.value for each in (StepState.SENT, StepState.UNKNOWN))))
    .values(provider_job_id=bindparam("job_id", None))
)
_OPEN_VIDEO = update(tables.videos).where(
    # an end is final: of two that write one, the first has
    tables.videos.c.id == bindparam("v_id", None, type_=String),
    *(tables.videos.c.state != state for state in TERMINAL),
)
_PUT_BACK = _OPEN_VIDEO.values(
    {name: bindparam(name, None) for name in ("state", "lease_owner", "error_code", "error_message")}
)
_FINISH_VIDEO = _OPEN_VIDEO.values(
    {name: bindparam(name, None) for name in ("state", "finished_at", *NO_END)}
)
