"""Jobs and the queue as operators read them: the orchestration library writes these tables, this looks, and asks it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Select, and_, func, or_, select, update

from bascule.model.errors import Conflict, NotFound
from bascule.orchestration.journal import NodeState, steps_of
from bascule.store import tables

_JOBS = tables.orchestration.jobs
_QUEUE = tables.orchestration.reconciliations
_NAMES = tables.load_balancers

Fields = Mapping[str, Any]
"""A row by column name; times are seconds since the epoch."""


def latest(connection: Connection, *, entity_id: str | None, limit: int) -> list[Fields]:
    """The newest jobs first, of one entity or of all."""
    query = _jobs().order_by(_JOBS.c.started_at.desc(), _JOBS.c.id).limit(limit)
    if entity_id is not None:
        query = query.where(_JOBS.c.entity_id == entity_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def get(connection: Connection, job_id: str) -> Fields:
    """One job. Raises NotFound."""
    row = connection.execute(_jobs().where(_JOBS.c.id == job_id)).mappings().one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}: list them to find the one you mean (only the newest are kept).")
    return dict(row)


def steps(connection: Connection, job_id: str) -> list[Fields]:
    """The nodes of a job's tree, read from the top."""
    return [dict(row._mapping) for row in steps_of(tables.orchestration, connection, job_id)]


def cancel(connection: Connection, job_id: str, *, now: float) -> Fields:
    """Ask the worker that runs it to stop; it hears of it within a third of its lease. Asking twice is asking once.

    Raises NotFound, and Conflict when it has ended.
    """
    asked = connection.execute(
        update(_JOBS)
        .where(_JOBS.c.id == job_id, _JOBS.c.state == NodeState.RUNNING)
        .values(cancel_requested_at=func.coalesce(_JOBS.c.cancel_requested_at, now))
    )
    job = get(connection, job_id)
    if not asked.rowcount:
        raise Conflict(f"Job {job_id} has ended ({job['state']}): there is nothing left to cancel.")
    return job


def queue(connection: Connection, entity_id: str | None = None) -> list[Fields]:
    """The queue's rows, those that wait first, then by priority and time; of one entity or of all."""
    waiting = _QUEUE.c.requested > _QUEUE.c.done
    query = select(_QUEUE, waiting.label("waiting")).order_by(waiting.desc(), _QUEUE.c.priority, _QUEUE.c.due_at)
    if entity_id is not None:
        query = query.where(_QUEUE.c.entity_id == entity_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def touched_since(connection: Connection, since: float) -> frozenset[str]:
    """The entities on which a job works, or worked until after `since` (seconds since the epoch)."""
    query = select(_JOBS.c.entity_id).where(or_(_JOBS.c.ended_at.is_(None), _JOBS.c.ended_at >= since)).distinct()
    return frozenset(row.entity_id for row in connection.execute(query))


def _jobs() -> Select[Any]:
    """Jobs with their entity's name, and with why they ran where the queue has not heard anything newer."""
    running, settled = _JOBS.c.ended_at.is_(None), _QUEUE.c.requested <= _QUEUE.c.done
    same = and_(_QUEUE.c.kind == _JOBS.c.kind, _QUEUE.c.entity_id == _JOBS.c.entity_id, _QUEUE.c.epoch == _JOBS.c.epoch)
    return (
        select(_JOBS, _NAMES.c.name.label("entity_name"), _QUEUE.c.priority, _QUEUE.c.reasons)
        .outerjoin(_NAMES, _NAMES.c.id == _JOBS.c.entity_id)
        .outerjoin(_QUEUE, and_(same, or_(running, settled)))
    )
