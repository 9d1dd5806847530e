"""LB nodes, read and written inside the caller's transaction."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.data_planes import DataPlaneName
from bascule.model.errors import NotFound, Taken
from bascule.model.nodes import Agent, LBNode, Silence
from bascule.store import node_states, tables
from bascule.store.times import optional, seconds_of
from bascule.store.violations import refused_when_taken

_TABLE = tables.lb_nodes
_ALL = select(_TABLE).order_by(_TABLE.c.name)


def insert(connection: Connection, node: LBNode) -> None:
    """Add the row. Raises Taken when another LB node has the name."""
    with refused_when_taken(_name_taken(node)):
        connection.execute(sql_insert(_TABLE).values(id=str(node.id), **_values(node)))


def list_all(connection: Connection) -> list[LBNode]:
    """Every LB node, by name."""
    return [_noun(row) for row in connection.execute(_ALL)]


def get(connection: Connection, node_id: UUID) -> LBNode:
    """One LB node. Raises NotFound."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.id == str(node_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no LB node {node_id}: list them to find the one you mean.")
    return _noun(row)


def named(connection: Connection, name: str) -> LBNode | None:
    """The LB node of that name, None when there is none."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.name == name)).one_or_none()
    return None if row is None else _noun(row)


def lock_for_change(connection: Connection, node_id: UUID) -> LBNode:
    """Read it and keep other changes out until the transaction ends. Raises NotFound."""
    connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == str(node_id)).with_for_update())
    return get(connection, node_id)


def update(connection: Connection, node: LBNode) -> None:
    """Write everything. Raises Taken when another LB node has the name."""
    with refused_when_taken(_name_taken(node)):
        connection.execute(sql_update(_TABLE).where(_TABLE.c.id == str(node.id)).values(**_values(node)))


def delete(connection: Connection, node_id: UUID) -> None:
    """Remove the row, the verdicts it gave and what it had. The caller has made sure that it carries nothing."""
    statuses = tables.health_statuses
    connection.execute(sql_delete(statuses).where(statuses.c.lb_node_id == str(node_id)))
    node_states.forget_node(connection, node_id)
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.id == str(node_id)))


def silences(connection: Connection) -> dict[UUID, tuple[float, Silence]]:
    """Since when those LB nodes are silent that are, and what becomes of them."""
    rows = connection.execute(
        select(_TABLE.c.id, _TABLE.c.silent_since, _TABLE.c.silence).where(_TABLE.c.silent_since.is_not(None))
    )
    return {UUID(row.id): (row.silent_since, Silence(row.silence)) for row in rows}


def lost(connection: Connection) -> frozenset[UUID]:
    """The LB nodes that were silent for so long that others shall replace them."""
    rows = connection.execute(select(_TABLE.c.id).where(_TABLE.c.silence == Silence.REPLACED, _TABLE.c.enabled))
    return frozenset(UUID(row.id) for row in rows)


def set_silence(connection: Connection, node_id: UUID, since: float | None, silence: Silence) -> None:
    """Write since when it is silent, None when it answers, and what becomes of it."""
    mine = _TABLE.c.id == str(node_id)
    connection.execute(sql_update(_TABLE).where(mine).values(silent_since=since, silence=silence))


def _name_taken(node: LBNode) -> Taken:
    return Taken(f"An LB node is named {node.name}: choose another name.", field="name")


def _values(node: LBNode) -> dict[str, object]:
    return {
        "name": node.name,
        "agent_url": node.agent.url,
        "agent_token": node.agent.token,
        "failure_domain": node.failure_domain,
        "enabled": node.enabled,
        "data_plane": node.data_plane,
        "drain_until": seconds_of(node.drain_until),
        "labels": dict(node.labels),
    }


def _noun(row: Row[Any]) -> LBNode:
    return LBNode(
        id=UUID(row.id),
        name=row.name,
        agent=Agent(url=row.agent_url, token=row.agent_token),
        failure_domain=row.failure_domain,
        enabled=row.enabled,
        data_plane=DataPlaneName(row.data_plane),
        drain_until=optional(row.drain_until),
        labels=row.labels,
    )
