"""What LB nodes run, how instances are reached, how clients stay on them, what nodes have

Only adds, with defaults of the database's own: the release before can still write.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward."""
    op.add_column(
        "lb_nodes", sa.Column("data_plane", sa.String(length=16), nullable=False, server_default=sa.text("'xdp'"))
    )
    op.add_column("lb_nodes", sa.Column("seen_at", sa.Float(), nullable=True))
    op.add_column("instances", sa.Column("forwarding_method", sa.String(length=16), nullable=True))
    op.add_column(
        "services",
        sa.Column("forwarding_method", sa.String(length=16), nullable=False, server_default=sa.text("'tunnel'")),
    )
    op.add_column("services", sa.Column("persistence_timeout", sa.Integer(), nullable=True))
    op.add_column("services", sa.Column("persistence_prefix_length", sa.Integer(), nullable=True))
    op.create_table(
        "node_states",
        sa.Column("lb_node_id", sa.String(length=36), nullable=False),
        sa.Column("load_balancer_id", sa.String(length=36), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("lb_node_id", "load_balancer_id", name=op.f("pk_node_states")),
    )
    op.create_index("ix_node_states_load_balancer_id", "node_states", ["load_balancer_id"])


def downgrade() -> None:
    """Go back."""
    op.drop_table("node_states")
    for table, columns in (
        ("services", ("persistence_prefix_length", "persistence_timeout", "forwarding_method")),
        ("instances", ("forwarding_method",)),
        ("lb_nodes", ("seen_at", "data_plane")),
    ):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for column in columns:
                batch_op.drop_column(column)
