"""The library's tables: one row per entity in the queue, the record of jobs and their steps, and pages to be sent.

Times are seconds since the epoch, as the clock that is passed in tells them.
"""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text, text

# Only these rows are ever looked for; an index of them alone stays small however many entities there are.
_WAITING = text("requested > done")


def define(metadata: MetaData) -> OrchestrationTables:
    """Add the library's tables to the application's metadata, so that one migration history covers both."""
    return OrchestrationTables(metadata)


class OrchestrationTables:
    """`reconciliations` is the queue, `jobs` and `job_steps` the history, `pages` what humans are still to be told."""

    def __init__(self, metadata: MetaData) -> None:
        self.reconciliations = Table(
            "reconciliations",
            metadata,
            Column("kind", String(64), primary_key=True),
            Column("entity_id", String(36), primary_key=True),
            Column("priority", Integer, nullable=False),
            # Grows with every request; a run that began at an older number is followed by another run.
            Column("requested", Integer, nullable=False),
            Column("done", Integer, nullable=False, default=0),
            Column("due_at", Float, nullable=False),
            Column("attempts", Integer, nullable=False, default=0),
            Column("last_error", Text, nullable=False, default=""),
            Column("reasons", JSON, nullable=False, default=list),
            # Grows with every claim, never shrinks: the fencing token that agents compare.
            Column("epoch", Integer, nullable=False, default=0),
            Column("lease_holder", String(128), nullable=True),
            Column("lease_until", Float, nullable=True),
            # Whose it is: those who wait are served in turn. The library does not care what the word means.
            Column("tenant", String(64), nullable=False, server_default=""),
            # When a human was told that it keeps failing; null while none was, or since recovery.
            Column("paged_at", Float, nullable=True),
            Index(
                "ix_reconciliations_turn",
                "priority",
                "tenant",
                "due_at",
                sqlite_where=_WAITING,
                postgresql_where=_WAITING,
            ),
        )
        self.jobs = Table(
            "jobs",
            metadata,
            Column("id", String(36), primary_key=True),
            Column("kind", String(64), nullable=False),
            Column("entity_id", String(36), nullable=False),
            Column("epoch", Integer, nullable=False),
            Column("event", Text, nullable=False),
            Column("state", String(16), nullable=False),
            Column("started_at", Float, nullable=False),
            Column("ended_at", Float, nullable=True),
            Column("error", Text, nullable=False, default=""),
            # When an operator asked that it stop; the worker that runs it looks here.
            Column("cancel_requested_at", Float, nullable=True),
            Index("ix_jobs_entity", "kind", "entity_id", "started_at"),
            Index("ix_jobs_started", "started_at"),
        )
        self.job_steps = Table(
            "job_steps",
            metadata,
            Column("job_id", String(36), ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
            # The place in the tree, as "1.2.3": sorting by its numbers is reading the tree from the top.
            Column("path", String(128), primary_key=True),
            Column("node", String(16), nullable=False),
            Column("title", Text, nullable=False),
            Column("state", String(16), nullable=False),
            Column("started_at", Float, nullable=True),
            Column("ended_at", Float, nullable=True),
            Column("error", Text, nullable=False, default=""),
            # What a step was given and what it answered, secrets left out.
            Column("input", JSON(none_as_null=True), nullable=True),
            Column("output", JSON(none_as_null=True), nullable=True),
        )
        self.pages = _pages(metadata)


def _pages(metadata: MetaData) -> Table:
    return Table(
        "pages",
        metadata,
        Column("id", Integer, primary_key=True),
        Column("kind", String(64), nullable=False),
        Column("entity_id", String(36), nullable=False),
        Column("recovered", Boolean, nullable=False),
        Column("attempts", Integer, nullable=False),
        Column("error", Text, nullable=False),
        Column("tree", Text, nullable=False),
        Column("created_at", Float, nullable=False),
        Column("tries", Integer, nullable=False),
        Column("due_at", Float, nullable=False),
        # Which receivers have it already, by the names the notifier gives them.
        Column("sent_to", JSON, nullable=False),
        Index("ix_pages_entity", "kind", "entity_id"),
    )
