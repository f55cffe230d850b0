"""What the creates before the newest cost a step is kept beside what that costs."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """Add the two sums; nothing is known of earlier creates."""
    for name in ("earlier_cost", "doubtful_cost"):
        op.add_column("steps", sa.Column(name, sa.Float, nullable=False, server_default="0"))
