"""Jobs and the queue."""

from __future__ import annotations

from uuid import UUID

from bascule.client.transport import Transport
from bascule.wire.admin_v1_work import JobsView, JobTreeView, JobView, QueueEntryView, QueueView


class Jobs:
    """/admin/v1/jobs and /admin/v1/queue"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self, *, entity: UUID | None = None, limit: int = 50) -> list[JobView]:
        """The newest jobs first, of one entity or of all."""
        answer = self._transport.get("/admin/v1/jobs", entity=None if entity is None else str(entity), limit=limit)
        return JobsView.model_validate(answer).jobs

    def get(self, job_id: UUID) -> JobTreeView:
        """One job with its steps. Raises NotFound."""
        return JobTreeView.model_validate(self._transport.get(f"/admin/v1/jobs/{job_id}"))

    def cancel(self, job_id: UUID) -> JobView:
        """Ask that a running job end. Raises NotFound, and Conflict when it has ended."""
        return JobView.model_validate(self._transport.post(f"/admin/v1/jobs/{job_id}/cancel", {}))

    def queue(self) -> list[QueueEntryView]:
        """Every entity, those that wait for a worker first."""
        return QueueView.model_validate(self._transport.get("/admin/v1/queue")).entries
