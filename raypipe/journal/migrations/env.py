"""Alembic's entry: migrations run in the transaction of whoever opens the journal."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
