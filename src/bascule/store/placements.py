"""Which LB nodes carry which load balancers, read and written inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Connection, bindparam, func, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert

from bascule.store import tables

_TABLE = tables.placements
_OF_MANY = select(_TABLE).where(_TABLE.c.load_balancer_id.in_(bindparam("of", expanding=True)))


def of(connection: Connection, load_balancer_id: UUID) -> frozenset[UUID]:
    """The LB nodes that shall carry a load balancer."""
    return _nodes(connection, load_balancer_id, leaving=False)


def leaving(connection: Connection, load_balancer_id: UUID) -> frozenset[UUID]:
    """The LB nodes that shall not carry it any more and have not confirmed that they do not."""
    return _nodes(connection, load_balancer_id, leaving=True)


def _nodes(connection: Connection, load_balancer_id: UUID, *, leaving: bool) -> frozenset[UUID]:
    rows = connection.execute(
        select(_TABLE.c.lb_node_id).where(
            _TABLE.c.load_balancer_id == str(load_balancer_id), _TABLE.c.leaving == leaving
        )
    )
    return frozenset(UUID(row.lb_node_id) for row in rows)


def of_many(
    connection: Connection, load_balancer_ids: Sequence[UUID]
) -> tuple[dict[UUID, frozenset[UUID]], dict[UUID, frozenset[UUID]]]:
    """The LB nodes that shall carry each of these load balancers, and those that are leaving it;
    those without any are left out."""
    placed: dict[UUID, set[UUID]] = {}
    leaving: dict[UUID, set[UUID]] = {}
    for row in connection.execute(_OF_MANY, {"of": [str(each) for each in load_balancer_ids]}):
        found = leaving if row.leaving else placed
        found.setdefault(UUID(row.load_balancer_id), set()).add(UUID(row.lb_node_id))
    return _frozen(placed), _frozen(leaving)


def _frozen(found: dict[UUID, set[UUID]]) -> dict[UUID, frozenset[UUID]]:
    return {key: frozenset(ids) for key, ids in found.items()}


def on_node(connection: Connection, node_id: UUID) -> list[UUID]:
    """The load balancers that an LB node carries, those that it is leaving too."""
    rows = connection.execute(
        select(_TABLE.c.load_balancer_id).where(_TABLE.c.lb_node_id == str(node_id)).order_by(_TABLE.c.load_balancer_id)
    )
    return [UUID(row.load_balancer_id) for row in rows]


def at_node(connection: Connection, node_id: UUID) -> tuple[frozenset[UUID], frozenset[UUID]]:
    """The load balancers that an LB node shall carry, and those that it is leaving."""
    rows = connection.execute(select(_TABLE).where(_TABLE.c.lb_node_id == str(node_id))).all()
    staying, going = (
        [UUID(row.load_balancer_id) for row in rows if row.leaving == leaving] for leaving in (False, True)
    )
    return frozenset(staying), frozenset(going)


def by_node(connection: Connection, *, leaving: bool = False) -> dict[UUID, frozenset[UUID]]:
    """The load balancers that each LB node shall carry, or is leaving; nodes with none are left out."""
    found: dict[UUID, set[UUID]] = {}
    for row in connection.execute(select(_TABLE).where(_TABLE.c.leaving == leaving)):
        found.setdefault(UUID(row.lb_node_id), set()).add(UUID(row.load_balancer_id))
    return _frozen(found)


def counts(connection: Connection) -> dict[UUID, int]:
    """How many load balancers each LB node carries, those that it is leaving too; nodes with none are left out."""
    rows = connection.execute(select(_TABLE.c.lb_node_id, func.count()).group_by(_TABLE.c.lb_node_id))
    return {UUID(node_id): count for node_id, count in rows}


def loads(connection: Connection) -> dict[UUID, int]:
    """How many load balancers each LB node shall carry; nodes with none are left out."""
    query = select(_TABLE.c.lb_node_id, func.count()).where(_TABLE.c.leaving.is_(False)).group_by(_TABLE.c.lb_node_id)
    return {UUID(node_id): count for node_id, count in connection.execute(query)}


def replace(
    connection: Connection,
    load_balancer_id: UUID,
    node_ids: frozenset[UUID],
    *,
    leaving: frozenset[UUID] = frozenset(),
) -> None:
    """Let exactly these LB nodes carry it, and those leave it."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.load_balancer_id == str(load_balancer_id)))
    for node_id in sorted(node_ids | leaving):
        row = {"lb_node_id": str(node_id), "leaving": node_id not in node_ids}
        connection.execute(sql_insert(_TABLE).values(load_balancer_id=str(load_balancer_id), **row))


def left(connection: Connection, load_balancer_id: UUID, node_ids: frozenset[UUID]) -> None:
    """These LB nodes have confirmed that they carry it no more."""
    named = _TABLE.c.lb_node_id.in_(sorted(map(str, node_ids)))
    mine = _TABLE.c.load_balancer_id == str(load_balancer_id)
    connection.execute(sql_delete(_TABLE).where(mine, named, _TABLE.c.leaving))


def forget_node(connection: Connection, node_id: UUID) -> None:
    """The LB node is dead for good: it carries nothing."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.lb_node_id == str(node_id)))
