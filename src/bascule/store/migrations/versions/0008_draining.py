"""Instances and LB nodes that drain

Only adds: to the release before, an instance that drains serves, and an LB node that drains is disabled.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    for name in ("drained", "leaving"):
        op.add_column("instances", sa.Column(name, sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("instances", sa.Column("drain_until", sa.Float(), nullable=True))
    op.add_column("lb_nodes", sa.Column("drain_until", sa.Float(), nullable=True))


def downgrade() -> None:
    """Go back: what was drained stays out of service, as if evicted."""
    op.execute(sa.text("DELETE FROM instances WHERE leaving"))
    op.execute(sa.text("UPDATE instances SET evicted = drained OR evicted"))
    with op.batch_alter_table("lb_nodes", schema=None) as batch_op:
        batch_op.drop_column("drain_until")
    with op.batch_alter_table("instances", schema=None) as batch_op:
        for name in ("drain_until", "leaving", "drained"):
            batch_op.drop_column(name)
