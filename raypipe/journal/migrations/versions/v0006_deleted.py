"""What deleted videos have cost stays known by day, so that a day's budget is kept."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add the table."""
    op.create_table(
        "deleted_costs",
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("cost", sa.Float, nullable=False),
    )
