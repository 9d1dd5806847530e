"""The rules by which LB nodes may send

Only adds: the release before knows nothing of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "given_rules",
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("rules", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("load_balancer_id", name=op.f("pk_given_rules")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("given_rules")
