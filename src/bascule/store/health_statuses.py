"""The last verdict each LB node gave on each instance of each service, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import ColumnElement, Connection, bindparam, select, true
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.health_checks import Health
from bascule.model.reports import BackendHealth
from bascule.store import node_states, tables

FRESH_FOR = 30.0  # seconds; an older verdict says nothing about now
_TABLE = tables.health_statuses
# Every node's, once a second.
_MINE = select(_TABLE).where(_TABLE.c.lb_node_id == bindparam("of"))
_SEEN = sql_update(_TABLE).where(_TABLE.c.lb_node_id == bindparam("of"))


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthStatus:
    """One verdict, of one LB node; `observed_at` is seconds since the epoch."""

    lb_node_id: UUID
    verdict: BackendHealth
    observed_at: float


def replace_node(connection: Connection, node_id: UUID, rows: Iterable[BackendHealth], now: float) -> None:
    """What a node reports now, in place of everything it reported before."""
    node_states.take_turns(connection, node_id)
    mine = _TABLE.c.lb_node_id == str(node_id)
    wanted = {(str(row.service_id), str(row.instance_id)): (row.health.value, row.message) for row in rows}
    present = {
        (row.service_id, row.instance_id): (row.health, row.message)
        for row in connection.execute(_MINE, {"of": str(node_id)})
    }
    if wanted == present:
        # By far the most frequent case: one statement, however many instances there are.
        still(connection, node_id, now)
        return
    connection.execute(sql_delete(_TABLE).where(mine))
    values = [
        {
            "lb_node_id": str(node_id),
            "service_id": service_id,
            "instance_id": instance_id,
            "health": health,
            "message": message,
            "observed_at": now,
        }
        for (service_id, instance_id), (health, message) in wanted.items()
    ]
    if values:
        connection.execute(sql_insert(_TABLE), values)


def still(connection: Connection, node_id: UUID, now: float) -> None:
    """A node reports what it reported before."""
    connection.execute(sql_update(_TABLE).where(_TABLE.c.lb_node_id == str(node_id)).values(observed_at=now))


def of_load_balancer(connection: Connection, load_balancer_id: UUID) -> list[HealthStatus]:
    """The verdicts of the LB nodes that carry a load balancer now, on all its services, fresh or not."""
    return _placed(connection, tables.services.c.load_balancer_id == str(load_balancer_id))


def of_all(connection: Connection) -> list[HealthStatus]:
    """The same of every load balancer."""
    return _placed(connection, true())


def _placed(connection: Connection, which: ColumnElement[bool]) -> list[HealthStatus]:
    placements, services = tables.placements, tables.services
    query = (
        select(_TABLE)
        .join(services, services.c.id == _TABLE.c.service_id)
        .join(
            placements,
            (placements.c.load_balancer_id == services.c.load_balancer_id)
            & (placements.c.lb_node_id == _TABLE.c.lb_node_id)
            & ~placements.c.leaving,
        )
        .where(which)
        .order_by(services.c.position, _TABLE.c.instance_id, _TABLE.c.lb_node_id)
    )
    return [
        HealthStatus(
            lb_node_id=UUID(row.lb_node_id),
            verdict=BackendHealth(
                service_id=UUID(row.service_id),
                instance_id=UUID(row.instance_id),
                health=Health(row.health),
                message=row.message,
            ),
            observed_at=row.observed_at,
        )
        for row in connection.execute(query)
    ]


def combine(statuses: Iterable[HealthStatus], now: float) -> dict[tuple[UUID, UUID], Health]:
    """One verdict by service and instance: failure when any node says failure; stale and unknown ones say nothing."""
    combined: dict[tuple[UUID, UUID], Health] = {}
    for status in statuses:
        verdict = status.verdict
        if status.observed_at < now - FRESH_FOR or verdict.health is Health.UNKNOWN:
            continue
        place = (verdict.service_id, verdict.instance_id)
        if combined.get(place) is not Health.FAILURE:
            combined[place] = verdict.health
    return combined
