"""Instances, the members of pools, read and written inside the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    bindparam,
    func,
    or_,
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

from bascule.model.addresses import IPAddress
from bascule.model.errors import NotFound, Taken
from bascule.model.instance_pools import Instance
from bascule.model.virtual_services import ForwardingMethod
from bascule.store import tables
from bascule.store.times import optional, seconds_of
from bascule.store.violations import refused_when_taken

_TABLE = tables.instances
_ALL = select(_TABLE).order_by(_TABLE.c.instance_pool_id, _TABLE.c.position)
_OF_POOLS = _ALL.where(_TABLE.c.instance_pool_id.in_(bindparam("pools", expanding=True)))


def insert(connection: Connection, pool_id: UUID, instance: Instance) -> None:
    """Register a member after the others. Raises Taken when another instance has the address."""
    last = connection.execute(
        select(func.max(_TABLE.c.position)).where(_TABLE.c.instance_pool_id == str(pool_id))
    ).scalar_one_or_none()
    position = 0 if last is None else last + 1
    with refused_when_taken(_address_taken(instance)):
        connection.execute(
            sql_insert(_TABLE).values(
                id=str(instance.id), instance_pool_id=str(pool_id), position=position, **_values(instance)
            )
        )


def by_pool(connection: Connection, pool_ids: Sequence[UUID] | None = None) -> dict[UUID, list[Instance]]:
    """The members of these pools (of all when None), each pool's oldest first."""
    found: dict[UUID, list[Instance]] = defaultdict(list)
    wanted = {"pools": [str(pool_id) for pool_id in pool_ids or ()]}
    for row in connection.execute(_ALL) if pool_ids is None else connection.execute(_OF_POOLS, wanted):
        found[UUID(row.instance_pool_id)].append(_noun(row))
    return found


def get(connection: Connection, pool_id: UUID, instance_id: UUID) -> Instance:
    """One member of one pool. Raises NotFound."""
    row = connection.execute(
        select(_TABLE).where(_TABLE.c.id == str(instance_id), _TABLE.c.instance_pool_id == str(pool_id))
    ).one_or_none()
    if row is None:
        raise NotFound(f"Instance pool {pool_id} has no instance {instance_id}: show the pool to see its members.")
    return _noun(row)


def by_address(connection: Connection, addresses: Sequence[IPAddress]) -> list[Instance]:
    """The instances at these addresses, of whatever pool."""
    wanted = [str(address) for address in addresses]
    rows = connection.execute(select(_TABLE).where(_TABLE.c.address.in_(wanted)).order_by(_TABLE.c.address))
    return [_noun(row) for row in rows]


def find_by_id(connection: Connection, instance_id: UUID) -> tuple[UUID, Instance] | None:
    """The instance with its pool, or None when there is none."""
    return _with_pool(connection, _TABLE.c.id == str(instance_id))


def find_by_address(connection: Connection, address: IPAddress) -> tuple[UUID, Instance] | None:
    """The instance with its pool, or None when there is none."""
    return _with_pool(connection, _TABLE.c.address == str(address))


def _with_pool(connection: Connection, which: ColumnElement[bool]) -> tuple[UUID, Instance] | None:
    row = connection.execute(select(_TABLE).where(which)).one_or_none()
    return None if row is None else (UUID(row.instance_pool_id), _noun(row))


def on_hypervisor(connection: Connection, hypervisor_id: UUID) -> list[Instance]:
    """The instances that a hypervisor carries, or is about to."""
    here = or_(_TABLE.c.hypervisor_id == str(hypervisor_id), _TABLE.c.moving_to_id == str(hypervisor_id))
    rows = connection.execute(select(_TABLE).where(here).order_by(_TABLE.c.name))
    return [_noun(row) for row in rows]


def pools_on_hypervisor(connection: Connection, hypervisor_id: UUID) -> dict[UUID, set[UUID]]:
    """The instances that a hypervisor carries, by pool."""
    found: dict[UUID, set[UUID]] = defaultdict(set)
    for row in connection.execute(_ALL.where(_TABLE.c.hypervisor_id == str(hypervisor_id))):
        found[UUID(row.instance_pool_id)].add(UUID(row.id))
    return dict(found)


def draining(connection: Connection) -> list[tuple[UUID, Instance]]:
    """Those that keep connections for a while, each with its pool."""
    which = or_(_TABLE.c.drain_until.is_not(None), _TABLE.c.leaving)
    return [(UUID(row.instance_pool_id), _noun(row)) for row in connection.execute(_ALL.where(which))]


def update(connection: Connection, instance: Instance) -> None:
    """Write everything but the place in the pool. Raises Taken when another instance has the address."""
    with refused_when_taken(_address_taken(instance)):
        connection.execute(sql_update(_TABLE).where(_TABLE.c.id == str(instance.id)).values(**_values(instance)))


def delete(connection: Connection, instance_id: UUID) -> None:
    """Remove the row and the verdicts on it."""
    statuses = tables.health_statuses
    connection.execute(sql_delete(statuses).where(statuses.c.instance_id == str(instance_id)))
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.id == str(instance_id)))


def _address_taken(instance: Instance) -> Taken:
    return Taken(
        f"{instance.address} is the address of another instance: choose another or delete that one.", field="address"
    )


def _values(instance: Instance) -> dict[str, object]:
    return {
        "name": instance.name,
        "address": str(instance.address),
        "hypervisor_id": str(instance.hypervisor_id),
        "weight": instance.weight,
        "forwarding_method": instance.forwarding_method,
        "evicted": instance.evicted,
        "stopped": instance.stopped,
        "drained": instance.drained,
        "leaving": instance.leaving,
        "drain_until": seconds_of(instance.drain_until),
        "moving_to_id": None if instance.moving_to is None else str(instance.moving_to),
    }


def _noun(row: Row[Any]) -> Instance:
    return Instance(
        id=UUID(row.id),
        name=row.name,
        address=ip_address(row.address),
        hypervisor_id=UUID(row.hypervisor_id),
        weight=row.weight,
        forwarding_method=None if row.forwarding_method is None else ForwardingMethod(row.forwarding_method),
        evicted=row.evicted,
        stopped=row.stopped,
        drained=row.drained,
        leaving=row.leaving,
        drain_until=optional(row.drain_until),
        moving_to=None if row.moving_to_id is None else UUID(row.moving_to_id),
    )
