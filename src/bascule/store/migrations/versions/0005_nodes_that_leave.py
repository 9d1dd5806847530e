"""Which LB nodes a load balancer is leaving"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Go forward. The previous release works on: what it places has the default."""
    op.add_column("placements", sa.Column("leaving", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Go back."""
    op.execute(sa.text("DELETE FROM placements WHERE leaving"))
    with op.batch_alter_table("placements", schema=None) as batch_op:
        batch_op.drop_column("leaving")
