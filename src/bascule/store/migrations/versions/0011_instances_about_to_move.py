"""Where an instance is about to move

Only adds: the release before knows nothing of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("instances", sa.Column("moving_to_id", sa.String(length=36), nullable=True))


def downgrade() -> None:
    """Go back: what was about to move is told of when it has moved."""
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.drop_column("moving_to_id")
