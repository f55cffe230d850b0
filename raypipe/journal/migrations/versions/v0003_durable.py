"""Leases, takes, whole results and a cursor over all events."""

import json
import secrets
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

#: frames a second of all videos so far
_FPS = 24


def upgrade() -> None:
    """Make the new tables, and bring the rows over."""
    _make_installation()
    for name in ("videos", "steps", "phases", "events"):
        op.rename_table(name, f"old_{name}")
    op.drop_index("videos_by_state", "old_videos")
    _make_videos()
    _make_steps()
    _make_phases_and_events()
    _move_videos()
    _move_steps()
    _move_phases_and_events()
    for name in ("events", "phases", "steps", "videos"):
        op.drop_table(f"old_{name}")


def _make_installation() -> None:
    installation = op.create_table(
        "installation",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("gateways", sa.Integer),
        sa.Column("gateways_ended", sa.Integer, nullable=False),
    )
    op.bulk_insert(installation, [{"id": secrets.token_hex(8), "gateways_ended": 0}])
    op.create_table(
        "coordinators",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("runner", sa.String(20), nullable=False),
        sa.Column("lease_until", sa.Float, nullable=False),
    )


def _make_videos() -> None:
    op.create_table(
        "videos",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("runner", sa.String(20), nullable=False),
        sa.Column("request", sa.JSON),
        sa.Column("spec", sa.JSON),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("result", sa.JSON),
        sa.Column("estimated_cost", sa.Float),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("error_code", sa.String(40)),
        sa.Column("error_message", sa.Text),
        sa.Column("lease_owner", sa.String(80)),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("cancel_requested_at", sa.Float),
        sa.Column("crash_count", sa.Integer, nullable=False),
    )
    op.create_index("videos_by_state", "videos", ["state", "id"])
    op.create_index("videos_by_owner", "videos", ["lease_owner"])


def _make_steps() -> None:
    op.create_table(
        "steps",
        sa.Column("video_id", sa.String(40), sa.ForeignKey("videos.id"), primary_key=True),
        sa.Column("step", sa.String(40), primary_key=True),
        sa.Column("take", sa.Integer, primary_key=True),
        sa.Column("phase", sa.String(12), nullable=False),
        sa.Column("beat_index", sa.Integer),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("starts", sa.Integer, nullable=False),
        sa.Column("provider", sa.String(80), nullable=False),
        sa.Column("model", sa.String(200)),
        sa.Column("provider_job_id", sa.Text),
        sa.Column("possible_duplicate", sa.Boolean, nullable=False),
        sa.Column("input_key", sa.String(64)),
        sa.Column("node", sa.String(80)),
        sa.Column("intent_at", sa.Float, nullable=False),
        sa.Column("sent_at", sa.Float),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("result", sa.JSON),
        sa.Column("estimated_cost", sa.Float),
        sa.Column("reserved_cost", sa.Float),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("error_code", sa.String(40)),
        sa.Column("error_message", sa.Text),
    )


def _make_phases_and_events() -> None:
    op.create_table(
        "phases",
        sa.Column("video_id", sa.String(40), sa.ForeignKey("videos.id"), primary_key=True),
        sa.Column("phase", sa.String(12), primary_key=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("output", sa.JSON, nullable=False),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("duration", sa.Float, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("video_id", sa.String(40), sa.ForeignKey("videos.id"), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("step", sa.String(40)),
        sa.Column("take", sa.Integer),
        sa.Column("beat_index", sa.Integer),
        sa.Column("data", sa.JSON, nullable=False),
        sa.UniqueConstraint("video_id", "seq", name="events_by_video"),
        sqlite_autoincrement=True,
    )


def _move_videos() -> None:
    """Bring videos over; one that was being made waits, for nobody makes it any more."""
    op.execute("""
        INSERT INTO videos (id, state, tenant, runner, spec, created_at, started_at, finished_at, result, cost,
            error_code, error_message, epoch, cancel_requested_at, crash_count)
        SELECT id, state, 'local', CASE WHEN lease_owner IS NULL THEN 'service' ELSE 'local' END, spec, created_at,
            started_at, finished_at, result, cost, error_code, error_message, epoch, cancel_requested_at, 0
        FROM old_videos
    """)
    op.execute("""
        UPDATE videos SET state = 'waiting', error_code = 'interrupted',
            error_message = 'interrupted before raypipe was updated; `raypipe resume` goes on with it'
        WHERE state IN ('running', 'cancelling') OR (state = 'queued' AND runner = 'local')
    """)


def _move_steps() -> None:
    op.execute("""
        INSERT INTO steps (video_id, step, take, phase, beat_index, state, attempt, starts, provider,
            provider_job_id, possible_duplicate, input_key, node, intent_at, started_at, finished_at, cost,
            error_code, error_message)
        SELECT video_id, step, 1, phase, beat_index, state, attempt, 0, provider, provider_job_id, false, input_key,
            node, intent_at, started_at, finished_at, cost, error_code, error_message
        FROM old_steps
    """)
    connection = op.get_bind()
    old = _table("old_steps", "video_id", "step", "state", "artifact", "cost", "started_at", "finished_at")
    videos = connection.execute(sa.select(_table("old_videos", "id", "spec"))).all()
    specs = {video.id: _parsed(video.spec) for video in videos}
    rows = connection.execute(sa.select(old)).all()
    followed = {(row.video_id, row.step.replace("last_frame", "chunk")) for row in rows if "last" in row.step}
    steps = sa.table("steps", sa.column("video_id"), sa.column("step"), sa.column("result", sa.JSON))
    for row in rows:
        artifact, spec = _parsed(row.artifact), specs.get(row.video_id)
        if row.state == "done" and artifact is not None and spec is not None:
            result = {"artifact": artifact, **_result_of(row, spec, (row.video_id, row.step) in followed)}
            chosen = (steps.c.video_id == row.video_id) & (steps.c.step == row.step)
            connection.execute(sa.update(steps).where(chosen).values(result=result))


def _parsed(value: Any) -> Any:
    """Read JSON as the database's driver gives it; None if it is none: a broken row stays a broken row."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError:
        return None


def _result_of(row: Any, spec: dict[str, Any], followed: bool) -> dict[str, Any]:
    """Rebuild what a step made from what the old row says of it."""
    result = {"cost": row.cost, "started_at": row.started_at or 0.0, "finished_at": row.finished_at or 0.0}
    kind, _, index = row.step.partition("/")
    if index:
        result["beat_index"] = int(index)
    if kind == "chunk":
        result["frames"] = _frames(spec["beats"][int(index)]) + followed
    if kind in ("music", "music_fit"):
        result["seconds"] = _all_frames(spec) / _FPS
    if kind == "stitch":
        result["frames"] = _all_frames(spec)
    return result


def _frames(beat: dict[str, float]) -> int:
    return round((beat["start"] + beat["duration"]) * _FPS) - round(beat["start"] * _FPS)


def _all_frames(spec: dict[str, Any]) -> int:
    return sum(_frames(beat) for beat in spec["beats"])


def _move_phases_and_events() -> None:
    op.execute("""
        INSERT INTO phases (video_id, phase, status, output, cost, duration, error, started_at, finished_at)
        SELECT video_id, phase, status, output, cost, duration, error, started_at, finished_at FROM old_phases
    """)
    op.execute("""
        INSERT INTO events (video_id, seq, at, kind, step, take, beat_index, data)
        SELECT video_id, seq, at, kind, step, CASE WHEN step IS NULL THEN NULL ELSE 1 END, beat_index, data
        FROM old_events ORDER BY at, video_id, seq
    """)


def _table(name: str, *columns: str) -> sa.TableClause:
    return sa.table(name, *map(sa.column, columns))
