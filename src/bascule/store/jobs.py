"""Jobs and the queue as operators read them: the orchestration library's overview of our tables."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, bindparam, func, select

from bascule.orchestration.journal import NodeState
from bascule.orchestration.overview import Fields as Fields  # noqa: PLC0414  what these answer
from bascule.orchestration.overview import Overview
from bascule.store import tables

_OVERVIEW = Overview(tables.orchestration, names=tables.load_balancers)

latest, get, steps = _OVERVIEW.latest, _OVERVIEW.get, _OVERVIEW.steps
cancel, queue, touched_since = _OVERVIEW.cancel, _OVERVIEW.queue, _OVERVIEW.touched_since

_JOBS = tables.orchestration.jobs
_MINE = and_(_JOBS.c.kind == bindparam("of_kind"), _JOBS.c.entity_id.in_(bindparam("of_ids", expanding=True)))
_LAST = select(_JOBS.c.entity_id, func.max(_JOBS.c.epoch).label("epoch")).where(_MINE).group_by(_JOBS.c.entity_id)
_LAST_ROWS = _LAST.subquery()
_UNANSWERED = (
    select(_JOBS.c.entity_id, _JOBS.c.epoch)
    .join(_LAST_ROWS, and_(_JOBS.c.entity_id == _LAST_ROWS.c.entity_id, _JOBS.c.epoch == _LAST_ROWS.c.epoch))
    .where(_MINE, _JOBS.c.state != NodeState.SUCCESS)
)


def unanswered(connection: Connection, kind: str, entity_ids: Sequence[str]) -> dict[str, int]:
    """Entities whose last job did not end well, with its epoch: commands of it may still be on their way."""
    rows = connection.execute(_UNANSWERED, {"of_kind": kind, "of_ids": list(entity_ids)})
    return {row.entity_id: row.epoch for row in rows}
