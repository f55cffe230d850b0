"""The tables of raypipe before it had migrations."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "videos",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("state", sa.String(12), nullable=False),
        sa.Column("spec", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("result", sa.JSON),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("error_code", sa.String(40)),
        sa.Column("error_message", sa.Text),
        sa.Column("lease_owner", sa.String(80)),
        sa.Column("lease_until", sa.Float),
        sa.Column("epoch", sa.Integer, nullable=False),
        sa.Column("cancel_requested_at", sa.Float),
        sa.Column("crash_count", sa.Integer, nullable=False),
    )
    op.create_index("videos_by_state", "videos", ["state", "id"])
    op.create_table(
        "steps",
        sa.Column("video_id", sa.String(40), sa.ForeignKey("videos.id"), primary_key=True),
        sa.Column("step", sa.String(40), primary_key=True),
        sa.Column("phase", sa.String(12), nullable=False),
        sa.Column("beat_index", sa.Integer),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("provider", sa.String(80), nullable=False),
        sa.Column("provider_job_id", sa.String(200)),
        sa.Column("input_key", sa.String(64)),
        sa.Column("node", sa.String(80)),
        sa.Column("intent_at", sa.Float, nullable=False),
        sa.Column("started_at", sa.Float),
        sa.Column("finished_at", sa.Float),
        sa.Column("artifact", sa.JSON),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("error_code", sa.String(40)),
        sa.Column("error_message", sa.Text),
    )
    op.create_table(
        "phases",
        sa.Column("video_id", sa.String(40), sa.ForeignKey("videos.id"), primary_key=True),
        sa.Column("phase", sa.String(12), primary_key=True),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("output", sa.JSON, nullable=False),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("duration", sa.Float, nullable=False),
        sa.Column("error", sa.Text),
        sa.Column("finished_at", sa.Float),
    )
    op.create_table(
        "events",
        sa.Column("video_id", sa.String(40), sa.ForeignKey("videos.id"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("step", sa.String(40)),
        sa.Column("beat_index", sa.Integer),
        sa.Column("data", sa.JSON, nullable=False),
    )
