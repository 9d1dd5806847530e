"""/admin/v1/jobs and /admin/v1/queue: what the orchestrator did, does and will do."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from bascule.api.context import Ctx
from bascule.store import jobs
from bascule.store.jobs import Fields
from bascule.store.times import from_seconds
from bascule.wire.admin_v1_work import JobStepView, JobsView, JobTreeView, JobView, QueueEntryView, QueueView

router = APIRouter(prefix="/admin/v1", tags=["operators: jobs"])


@router.get("/jobs")
def list_jobs(context: Ctx, entity: str | None = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> JobsView:
    """The newest jobs first, of one entity (a load balancer's id) or of all."""
    with context.database.read() as connection:
        found = jobs.latest(connection, entity_id=entity, limit=limit)
    return JobsView(jobs=[JobView(**_with_times(row)) for row in found])


@router.get("/jobs/{id}")
def get_job(context: Ctx, id: UUID) -> JobTreeView:  # noqa: A002
    """One job with every step of its tree."""
    with context.database.read() as connection:
        job = jobs.get(connection, str(id))
        steps = [JobStepView(**_with_times(row)) for row in jobs.steps(connection, str(id))]
    return JobTreeView(**_with_times(job), steps=steps)


@router.post("/jobs/{id}/cancel", status_code=202)
def cancel_job(context: Ctx, id: UUID) -> JobView:  # noqa: A002
    """End a running job: its steps stop, every *finally* is done. The entity is tried again a while later."""
    with context.database.write() as connection:
        return JobView(**_with_times(jobs.cancel(connection, str(id), now=context.clock.now())))


@router.get("/queue")
def get_queue(context: Ctx) -> QueueView:
    """Every entity, those that wait for a worker first."""
    with context.database.read() as connection:
        return QueueView(entries=[queue_entry_view(row) for row in jobs.queue(connection)])


def queue_entry_view(row: Fields) -> QueueEntryView:
    """One entity in the queue."""
    return QueueEntryView(
        kind=row["kind"],
        id=row["entity_id"],
        waiting=row["waiting"],
        priority=row["priority"],
        due_at=from_seconds(row["due_at"]),
        attempts=row["attempts"],
        last_error=row["last_error"],
        reasons=row["reasons"],
        epoch=row["epoch"],
        lease_holder=row["lease_holder"],
        lease_until=None if row["lease_until"] is None else from_seconds(row["lease_until"]),
        tenant=row["tenant"],
        paged_at=None if row["paged_at"] is None else from_seconds(row["paged_at"]),
    )


def _with_times(row: Fields) -> dict[str, Any]:
    names = ("started_at", "ended_at", "cancel_requested_at")
    times = {name: row[name] and from_seconds(row[name]) for name in names if name in row}
    return {**row, **times}
