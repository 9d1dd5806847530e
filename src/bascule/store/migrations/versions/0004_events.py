"""What machine events said last, instances that are stopped, and where nodes differ from the expected state

Only adds, with defaults of the database's own: the release before can still write.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column("instances", sa.Column("stopped", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.create_table(
        "machines",
        sa.Column("machine", sa.String(length=255), nullable=False),
        sa.Column("instance_id", sa.String(length=36), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("machine", name=op.f("pk_machines")),
    )
    op.create_index("ix_machines_instance_id", "machines", ["instance_id"])
    op.create_table(
        "drift_findings",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("open_key", sa.String(length=128), nullable=True),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("node_id", sa.String(length=36), nullable=False),
        sa.Column("node", sa.String(length=255), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("words", sa.Text(), nullable=False),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.Column("resolved_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_drift_findings")),
        sa.UniqueConstraint("open_key", name=op.f("uq_drift_findings_open_key")),
    )
    op.create_index("ix_drift_findings_last_seen", "drift_findings", ["last_seen"])


def downgrade() -> None:
    """Go back."""
    op.drop_table("drift_findings")
    op.drop_table("machines")
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.drop_column("stopped")
