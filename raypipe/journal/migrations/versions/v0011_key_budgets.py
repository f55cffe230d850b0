"""A budget a day for each key: which key a video is made under, and whose deleted videos cost what."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    """Add the columns; what videos cost that are deleted already is nobody's."""
    with op.batch_alter_table("api_keys") as table:
        table.add_column(sa.Column("daily_budget", sa.Float))
    with op.batch_alter_table("videos") as table:
        table.add_column(sa.Column("api_key", sa.String(80)))
    _add_tenant_to_deleted_costs()


def _add_tenant_to_deleted_costs() -> None:
    """Make the table anew, as its primary key changes."""
    connection = op.get_bind()
    old = sa.table("deleted_costs", sa.column("day"), sa.column("cost"))
    rows = [{"day": row.day, "tenant": "", "cost": row.cost} for row in connection.execute(sa.select(old))]
    op.drop_table("deleted_costs")
    table = op.create_table(
        "deleted_costs",
        sa.Column("day", sa.Integer, primary_key=True),
        sa.Column("tenant", sa.String(40), primary_key=True),
        sa.Column("cost", sa.Float, nullable=False),
    )
    op.bulk_insert(table, rows)
