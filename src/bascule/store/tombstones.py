"""Load balancers that are gone, read and written inside the caller's transaction."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, select
from sqlalchemy import insert as sql_insert

from bascule.store import tables

_TABLE = tables.tombstones


def insert(connection: Connection, load_balancer_id: UUID, *, epoch: int, now: float) -> None:
    """Remember the last epoch under which it was served; `now` is seconds since the epoch."""
    connection.execute(sql_insert(_TABLE).values(load_balancer_id=str(load_balancer_id), epoch=epoch, deleted_at=now))


def epochs(connection: Connection, load_balancer_ids: frozenset[UUID]) -> dict[UUID, int]:
    """Those of the given load balancers that are gone, with their last epoch."""
    wanted = [str(load_balancer_id) for load_balancer_id in load_balancer_ids]
    rows = connection.execute(select(_TABLE).where(_TABLE.c.load_balancer_id.in_(wanted)))
    return {UUID(row.load_balancer_id): row.epoch for row in rows}
