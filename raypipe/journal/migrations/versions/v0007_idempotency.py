"""A request that is sent again under the same key makes one video."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "idempotency_keys",
        sa.Column("tenant", sa.String(40), primary_key=True),
        sa.Column("key", sa.String(255), primary_key=True),
        sa.Column("request", sa.String(64), nullable=False),
        sa.Column("video_id", sa.String(40), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Index("idempotency_keys_by_time", "at"),
    )
