"""Jobs and the queue as operators read them: the orchestration library writes these tables, this only looks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, or_, select

from bascule.model.errors import NotFound
from bascule.store import tables

_JOBS = tables.orchestration.jobs
_STEPS = tables.orchestration.job_steps
_QUEUE = tables.orchestration.reconciliations

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
    rows = connection.execute(select(_STEPS).where(_STEPS.c.job_id == job_id)).mappings()
    return sorted((dict(row) for row in rows), key=lambda row: _numbers(row["path"]))


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


def _numbers(path: str) -> tuple[int, ...]:
    return tuple(int(part) for part in path.split(".") if part.isdigit())
