"""Which LB nodes carry which load balancers, read and written inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert

from bascule.store import tables

_TABLE = tables.placements


def of(connection: Connection, load_balancer_id: UUID) -> frozenset[UUID]:
    """The LB nodes that carry a load balancer."""
    rows = connection.execute(select(_TABLE.c.lb_node_id).where(_TABLE.c.load_balancer_id == str(load_balancer_id)))
    return frozenset(UUID(row.lb_node_id) for row in rows)


def of_many(connection: Connection, load_balancer_ids: Sequence[UUID]) -> dict[UUID, frozenset[UUID]]:
    """The LB nodes that carry each of these load balancers; those that none carries are left out."""
    wanted = [str(each) for each in load_balancer_ids]
    found: dict[UUID, set[UUID]] = {}
    for row in connection.execute(select(_TABLE).where(_TABLE.c.load_balancer_id.in_(wanted))):
        found.setdefault(UUID(row.load_balancer_id), set()).add(UUID(row.lb_node_id))
    return {load_balancer_id: frozenset(ids) for load_balancer_id, ids in found.items()}


def on_node(connection: Connection, node_id: UUID) -> list[UUID]:
    """The load balancers that an LB node carries."""
    rows = connection.execute(
        select(_TABLE.c.load_balancer_id).where(_TABLE.c.lb_node_id == str(node_id)).order_by(_TABLE.c.load_balancer_id)
    )
    return [UUID(row.load_balancer_id) for row in rows]


def by_node(connection: Connection) -> dict[UUID, frozenset[UUID]]:
    """The load balancers that each LB node carries; nodes that carry none are left out."""
    found: dict[UUID, set[UUID]] = {}
    for row in connection.execute(select(_TABLE)):
        found.setdefault(UUID(row.lb_node_id), set()).add(UUID(row.load_balancer_id))
    return {node_id: frozenset(ids) for node_id, ids in found.items()}


def counts(connection: Connection) -> dict[UUID, int]:
    """How many load balancers each LB node carries; nodes that carry none are left out."""
    rows = connection.execute(select(_TABLE.c.lb_node_id, func.count()).group_by(_TABLE.c.lb_node_id))
    return {UUID(node_id): count for node_id, count in rows}


def replace(connection: Connection, load_balancer_id: UUID, node_ids: frozenset[UUID]) -> None:
    """Let exactly these LB nodes carry it."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.load_balancer_id == str(load_balancer_id)))
    for node_id in sorted(node_ids):
        connection.execute(sql_insert(_TABLE).values(load_balancer_id=str(load_balancer_id), lb_node_id=str(node_id)))
