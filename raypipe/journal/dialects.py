"""What SQLite and PostgreSQL have in common and SQLAlchemy has twice."""

from typing import Any

from sqlalchemy import Dialect
from sqlalchemy.dialects import sqlite


def insert_of(dialect: Dialect) -> Any:
    """Return the `insert` of a dialect that knows what to do where a row is there already."""
    if dialect.name == "postgresql":
        # here, because it takes a tenth of a second that most processes need not spend
        from sqlalchemy.dialects import postgresql

        return postgresql.insert
    return sqlite.insert
