"""Jobs and the queue as operators read them: worker and journal write these tables, this looks, and asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, FromClause, Select, and_, func, null, or_, select, update

from bascule.model.errors import Conflict, NotFound
from bascule.orchestration.journal import NodeState, steps_of
from bascule.orchestration.pages import drawn
from bascule.orchestration.tables import OrchestrationTables

Fields = Mapping[str, Any]
"""A row by column name; times are seconds since the epoch."""


class Overview:
    """All methods work inside the caller's transaction. `names` has the columns `id` and `name` of your entities."""

    def __init__(self, tables: OrchestrationTables, *, names: FromClause | None = None) -> None:
        self._tables, self._names = tables, names

    def latest(self, connection: Connection, *, entity_id: str | None = None, limit: int = 50) -> list[Fields]:
        """The newest jobs first, of one entity or of all."""
        jobs = self._tables.jobs
        query = self._jobs().order_by(jobs.c.started_at.desc(), jobs.c.id).limit(limit)
        if entity_id is not None:
            query = query.where(jobs.c.entity_id == entity_id)
        return [dict(row) for row in connection.execute(query).mappings()]

    def get(self, connection: Connection, job_id: str) -> Fields:
        """One job. Raises NotFound."""
        jobs = self._tables.jobs
        row = connection.execute(self._jobs().where(jobs.c.id == job_id)).mappings().one_or_none()
        if row is None:
            raise NotFound(f"There is no job {job_id}: list them to find the one you mean (only the newest are kept).")
        return dict(row)

    def steps(self, connection: Connection, job_id: str) -> list[Fields]:
        """The nodes of a job's tree, read from the top."""
        return [dict(row._mapping) for row in steps_of(self._tables, connection, job_id)]

    def drawn(self, connection: Connection, job_id: str) -> str:
        """The same as text, a line a node."""
        return drawn(steps_of(self._tables, connection, job_id))

    def cancel(self, connection: Connection, job_id: str, *, now: float) -> Fields:
        """Ask the worker that runs it to stop; it hears of it within a third of its lease. Asking twice is asking once.

        Raises NotFound, and Conflict when it has ended.
        """
        jobs = self._tables.jobs
        asked = connection.execute(
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state == NodeState.RUNNING)
            .values(cancel_requested_at=func.coalesce(jobs.c.cancel_requested_at, now))
        )
        job = self.get(connection, job_id)
        if not asked.rowcount:
            raise Conflict(f"Job {job_id} has ended ({job['state']}): there is nothing left to cancel.")
        return job

    def queue(self, connection: Connection, entity_id: str | None = None) -> list[Fields]:
        """The queue's rows, those that wait first, then by priority and time; of one entity or of all."""
        queue = self._tables.reconciliations
        waiting = queue.c.requested > queue.c.done
        query = select(queue, waiting.label("waiting")).order_by(waiting.desc(), queue.c.priority, queue.c.due_at)
        if entity_id is not None:
            query = query.where(queue.c.entity_id == entity_id)
        return [dict(row) for row in connection.execute(query).mappings()]

    def touched_since(self, connection: Connection, since: float) -> frozenset[str]:
        """The entities on which a job works, or worked until after `since` (seconds since the epoch)."""
        jobs = self._tables.jobs
        query = select(jobs.c.entity_id).where(or_(jobs.c.ended_at.is_(None), jobs.c.ended_at >= since)).distinct()
        return frozenset(row.entity_id for row in connection.execute(query))

    def _jobs(self) -> Select[Any]:
        """Jobs with their entity's name, and with why they ran where the queue has not heard anything newer."""
        jobs, queue, names = self._tables.jobs, self._tables.reconciliations, self._names
        running, settled = jobs.c.ended_at.is_(None), queue.c.requested <= queue.c.done
        same = and_(queue.c.kind == jobs.c.kind, queue.c.entity_id == jobs.c.entity_id, queue.c.epoch == jobs.c.epoch)
        name = null() if names is None else names.c.name
        query = select(jobs, name.label("entity_name"), queue.c.priority, queue.c.reasons)
        query = query.outerjoin(queue, and_(same, or_(running, settled)))
        return query if names is None else query.outerjoin(names, names.c.id == jobs.c.entity_id)
