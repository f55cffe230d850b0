"""What happened lately to videos that are deleted."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "deleted_events",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("video_id", sa.String(40), nullable=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("kind", sa.String(40), nullable=False),
        sa.Column("step", sa.String(40)),
        sa.Column("take", sa.Integer),
        sa.Column("beat_index", sa.Integer),
        sa.Index("deleted_events_by_video", "video_id"),
    )
