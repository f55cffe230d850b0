"""Keys of the API, whose callers are told apart as tenants."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the tables, and find a tenant's videos by an index."""
    op.create_table(
        "api_keys",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(80), nullable=False, unique=True),
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("revoked_at", sa.Float),
        sa.Column("most_in_flight", sa.Integer),
        sa.Column("most_per_day", sa.Integer),
    )
    op.create_table(
        "submissions",
        sa.Column("tenant", sa.String(40), primary_key=True),
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("videos", sa.Integer, nullable=False),
    )
    op.create_table(
        "uploads",
        sa.Column("tenant", sa.String(40), primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("at", sa.Float, nullable=False),
    )
    op.create_index("videos_by_tenant", "videos", ["tenant", "id"])
