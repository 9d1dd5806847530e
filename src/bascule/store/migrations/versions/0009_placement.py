"""On how many and on which LB nodes a load balancer shall be, and how long an LB node has been silent

Only adds, with defaults: the release before knows nothing of it and places as it did.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def _labels(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.JSON(), nullable=False, server_default=sa.text("'{}'"))


def _word(name: str, length: int) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=length), nullable=False, server_default="")


def upgrade() -> None:
    """Go forward."""
    op.add_column("lb_nodes", _labels("labels"))
    op.add_column("lb_nodes", sa.Column("silent_since", sa.Float(), nullable=True))
    op.add_column("lb_nodes", _word("silence", 16))
    op.add_column("load_balancers", sa.Column("node_count", sa.Integer(), nullable=False, server_default="2"))
    op.add_column("load_balancers", _labels("affinity"))
    op.add_column("load_balancers", _word("anti_affinity", 255))


def downgrade() -> None:
    """Go back."""
    for table, names in (
        ("load_balancers", ("anti_affinity", "affinity", "node_count")),
        ("lb_nodes", ("silence", "silent_since", "labels")),
    ):
        with op.batch_alter_table(table, schema=None) as batch_op:
            for name in names:
                batch_op.drop_column(name)
