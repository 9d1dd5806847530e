"""Audits that operators ask for, and quarantines of what reconciling does not mend

Only adds: the release before knows nothing of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.create_table(
        "drift_audits",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("node_ids", sa.JSON(), nullable=False),
        sa.Column("requested_at", sa.Float(), nullable=False),
        sa.Column("claimed_until", sa.Float(), nullable=True),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("answered", sa.JSON(), nullable=False),
        sa.Column("silent", sa.JSON(), nullable=False),
        sa.Column("unsettled", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_audits")),
    )
    op.create_table(
        "drift_quarantines",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("open_key", sa.String(length=128), nullable=True),
        sa.Column("node_id", sa.String(length=36), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("released_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_quarantines")),
        sa.UniqueConstraint("open_key", name=op.f("uq_drift_quarantines_open_key")),
    )


def downgrade() -> None:
    """Go back."""
    op.drop_table("drift_quarantines")
    op.drop_table("drift_audits")
