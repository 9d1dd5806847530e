"""Services of load balancers, read and written inside the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter
from sqlalchemy import (
    Connection,
    Row,
    bindparam,
    func,
    select,
)
from sqlalchemy import (
    delete as sql_delete,
)
from sqlalchemy import (
    insert as sql_insert,
)
from sqlalchemy import (
    update as sql_update,
)

from bascule.model.errors import NotFound
from bascule.model.health_checks import HealthCheck
from bascule.model.load_balancers import Service, ServiceState
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod, Persistence
from bascule.store import tables

_TABLE = tables.services
_ALL = select(_TABLE).order_by(_TABLE.c.load_balancer_id, _TABLE.c.position)
_OF_MANY = _ALL.where(_TABLE.c.load_balancer_id.in_(bindparam("of", expanding=True)))
_OF = select(_TABLE).where(_TABLE.c.load_balancer_id == bindparam("of")).order_by(_TABLE.c.position)
# Fields that a row of an older version lacks take their defaults.
_HEALTH_CHECK: TypeAdapter[HealthCheck] = TypeAdapter(HealthCheck)


def insert(connection: Connection, load_balancer_id: UUID, service: Service) -> None:
    """Add the row after the load balancer's others."""
    last = connection.execute(
        select(func.max(_TABLE.c.position)).where(_TABLE.c.load_balancer_id == str(load_balancer_id))
    ).scalar_one_or_none()
    connection.execute(
        sql_insert(_TABLE).values(
            id=str(service.id),
            load_balancer_id=str(load_balancer_id),
            instance_pool_id=str(service.instance_pool_id),
            position=0 if last is None else last + 1,
            **_values(service),
        )
    )


def of(connection: Connection, load_balancer_id: UUID) -> tuple[Service, ...]:
    """The services of one load balancer, oldest first."""
    return tuple(_noun(row) for row in connection.execute(_OF, {"of": str(load_balancer_id)}))


def by_load_balancer(
    connection: Connection, load_balancer_ids: Sequence[UUID] | None = None
) -> dict[UUID, list[Service]]:
    """Every service of these load balancers (of all when None) under its load balancer, oldest first."""
    found: dict[UUID, list[Service]] = defaultdict(list)
    wanted = {"of": [str(each) for each in load_balancer_ids or ()]}
    for row in connection.execute(_ALL) if load_balancer_ids is None else connection.execute(_OF_MANY, wanted):
        found[UUID(row.load_balancer_id)].append(_noun(row))
    return found


def using_pool(connection: Connection, instance_pool_id: UUID) -> list[tuple[UUID, Service]]:
    """The services on an instance pool, each with its load balancer's identifier."""
    rows = connection.execute(
        select(_TABLE)
        .where(_TABLE.c.instance_pool_id == str(instance_pool_id))
        .order_by(_TABLE.c.load_balancer_id, _TABLE.c.position)
    )
    return [(UUID(row.load_balancer_id), _noun(row)) for row in rows]


def get(connection: Connection, load_balancer_id: UUID, service_id: UUID) -> Service:
    """One service of one load balancer. Raises NotFound."""
    row = connection.execute(
        select(_TABLE).where(_TABLE.c.id == str(service_id), _TABLE.c.load_balancer_id == str(load_balancer_id))
    ).one_or_none()
    if row is None:
        raise NotFound(f"Load balancer {load_balancer_id} has no service {service_id}: show it to see its services.")
    return _noun(row)


def update(connection: Connection, service: Service) -> None:
    """Write everything a user may change."""
    connection.execute(sql_update(_TABLE).where(_TABLE.c.id == str(service.id)).values(**_values(service)))


def set_states(connection: Connection, load_balancer_id: UUID, state: ServiceState) -> None:
    """Write the state of every service of a load balancer."""
    connection.execute(sql_update(_TABLE).where(_TABLE.c.load_balancer_id == str(load_balancer_id)).values(state=state))


def delete(connection: Connection, service_id: UUID) -> None:
    """Remove the row and the verdicts on it."""
    statuses = tables.health_statuses
    connection.execute(sql_delete(statuses).where(statuses.c.service_id == str(service_id)))
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.id == str(service_id)))


def delete_of(connection: Connection, load_balancer_id: UUID) -> None:
    """Remove every service of a load balancer."""
    for service in of(connection, load_balancer_id):
        delete(connection, service.id)


def _values(service: Service) -> dict[str, object]:
    return {
        "name": service.name,
        "description": service.description,
        "protocol": service.protocol,
        "port": service.port,
        "target_port": service.target_port,
        "strategy": service.strategy,
        "hash_source_port": service.hash_source_port,
        "forwarding_method": service.forwarding_method,
        "persistence_timeout": None if service.persistence is None else service.persistence.timeout,
        "persistence_prefix_length": None if service.persistence is None else service.persistence.prefix_length,
        "health_check": _HEALTH_CHECK.dump_python(service.health_check, mode="json"),
        "state": service.state,
    }


def _noun(row: Row[Any]) -> Service:
    return Service(
        id=UUID(row.id),
        name=row.name,
        description=row.description,
        protocol=Protocol(row.protocol),
        port=row.port,
        target_port=row.target_port,
        strategy=Strategy(row.strategy),
        hash_source_port=row.hash_source_port,
        forwarding_method=ForwardingMethod(row.forwarding_method),
        persistence=_persistence(row),
        instance_pool_id=UUID(row.instance_pool_id),
        health_check=_HEALTH_CHECK.validate_python(row.health_check),
        state=ServiceState(row.state),
    )


def _persistence(row: Row[Any]) -> Persistence | None:
    if row.persistence_timeout is None:
        return None
    return Persistence(timeout=row.persistence_timeout, prefix_length=row.persistence_prefix_length)
