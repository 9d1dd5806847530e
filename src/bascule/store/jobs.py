"""Jobs and the queue as operators read them: the orchestration library writes these tables, this looks, and asks it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, func, or_, select, update

from bascule.model.errors import Conflict, NotFound
from bascule.orchestration.journal import NodeState, steps_of
from bascule.store import tables

_JOBS = tables.orchestration.jobs
_QUEUE = tables.orchestration.reconciliations

_MINE = and_(_JOBS.c.kind == bindparam("of_kind"), _JOBS.c.entity_id.in_(bindparam("of_ids", expanding=True)))
_LAST = select(_JOBS.c.entity_id, func.max(_JOBS.c.epoch).label("epoch")).where(_MINE).group_by(_JOBS.c.entity_id)
_LAST_ROWS = _LAST.subquery()
_UNANSWERED = (
    select(_JOBS.c.entity_id, _JOBS.c.epoch)
    .join(_LAST_ROWS, and_(_JOBS.c.entity_id == _LAST_ROWS.c.entity_id, _JOBS.c.epoch == _LAST_ROWS.c.epoch))
    .where(_MINE, _JOBS.c.state != NodeState.SUCCESS)
)

Fields = Mapping[str, Any]
"""A row by column name; times are seconds since the epoch."""


def latest(connection: Connection, *, entity_id: str | None, limit: int) -> list[Fields]:
    """The newest jobs first, of one entity or of all."""
    query = select(_JOBS).order_by(_JOBS.c.started_at.desc(), _JOBS.c.id).limit(limit)
    if entity_id is not None:
        query = query.where(_JOBS.c.entity_id == entity_id)
    return [dict(row) for row in connection.execute(query).mappings()]


def get(connection: Connection, job_id: str) -> Fields:
    """One job. Raises NotFound."""
    row = connection.execute(select(_JOBS).where(_JOBS.c.id == job_id)).mappings().one_or_none()
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


def unanswered(connection: Connection, kind: str, entity_ids: Sequence[str]) -> dict[str, int]:
    """Entities whose last job did not end well, with its epoch: commands of it may still be on their way."""
    rows = connection.execute(_UNANSWERED, {"of_kind": kind, "of_ids": list(entity_ids)})
    return {row.entity_id: row.epoch for row in rows}


def touched_since(connection: Connection, since: float) -> frozenset[str]:
    """The entities on which a job works, or worked until after `since` (seconds since the epoch)."""
    query = select(_JOBS.c.entity_id).where(or_(_JOBS.c.ended_at.is_(None), _JOBS.c.ended_at >= since)).distinct()
    return frozenset(row.entity_id for row in connection.execute(query))
