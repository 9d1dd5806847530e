"""Tenants in the queue, pages to be sent, and what steps were given and answered"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_WAITING = sa.text("requested > done")


def upgrade() -> None:
    """Go forward. The previous release works on: what is new is null or has a default."""
    op.add_column("reconciliations", sa.Column("tenant", sa.String(length=64), nullable=False, server_default=""))
    op.add_column("reconciliations", sa.Column("paged_at", sa.Float(), nullable=True))
    op.create_index(
        "ix_reconciliations_turn",
        "reconciliations",
        ["priority", "tenant", "due_at"],
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    )
    op.drop_index("ix_reconciliations_due", "reconciliations")
    op.add_column("jobs", sa.Column("cancel_requested_at", sa.Float(), nullable=True))
    op.create_index("ix_jobs_started", "jobs", ["started_at"])
    op.add_column("job_steps", sa.Column("input", sa.JSON(none_as_null=True), nullable=True))
    op.add_column("job_steps", sa.Column("output", sa.JSON(none_as_null=True), nullable=True))
    op.create_table(
        "pages",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=64), nullable=False),
        sa.Column("entity_id", sa.String(length=36), nullable=False),
        sa.Column("recovered", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("tree", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("sent_to", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pages")),
    )
    op.create_index("ix_pages_entity", "pages", ["kind", "entity_id"])


def downgrade() -> None:
    """Go back."""
    op.drop_table("pages")
    op.drop_column("job_steps", "output")
    op.drop_column("job_steps", "input")
    op.drop_index("ix_jobs_started", "jobs")
    op.drop_column("jobs", "cancel_requested_at")
    op.create_index("ix_reconciliations_due", "reconciliations", ["priority", "due_at"])
    op.drop_index("ix_reconciliations_turn", "reconciliations")
    op.drop_column("reconciliations", "paged_at")
    op.drop_column("reconciliations", "tenant")
