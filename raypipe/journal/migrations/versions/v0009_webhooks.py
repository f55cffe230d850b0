"""Webhooks of tenants, and what they are to be told."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the tables, and up to which event webhooks have been told."""
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("tenant", sa.String(40), nullable=False),
        sa.Column("url", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("disabled_at", sa.Float),
        sa.Index("webhooks_by_tenant", "tenant"),
    )
    op.create_table(
        "webhook_messages",
        sa.Column("id", sa.String(80), primary_key=True),
        sa.Column("webhook_id", sa.String(40), sa.ForeignKey("webhooks.id"), nullable=False),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("next_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float),
        sa.Column("error", sa.Text),
        sa.Index("webhook_messages_by_webhook", "webhook_id"),
        sa.Index("webhook_messages_by_time", "ended_at", "next_at"),
    )
    with op.batch_alter_table("installation") as table:
        table.add_column(sa.Column("told_upto", sa.Integer, nullable=False, server_default="0"))
