"""Load balancers with their services, read and written inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.errors import Conflict, NotFound
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState, Service
from bascule.store import elastic_ips, given_rules, node_states, placements, services, tables
from bascule.store.times import from_seconds

_TABLE = tables.load_balancers
_ADDRESS = tables.elastic_ips
_ALL = select(_TABLE, _ADDRESS.c.address).join(_ADDRESS, _ADDRESS.c.load_balancer_id == _TABLE.c.id)
_THESE = _ALL.where(_TABLE.c.id.in_(bindparam("of", expanding=True)))


def insert(connection: Connection, load_balancer: LoadBalancer) -> None:
    """Add the row. The address and the services are rows of their own nouns: add them in the same transaction."""
    connection.execute(
        sql_insert(_TABLE).values(
            id=str(load_balancer.id),
            name=load_balancer.name,
            description=load_balancer.description,
            labels=dict(load_balancer.labels),
            hash_seed=str(load_balancer.hash_seed),
            state=load_balancer.state,
            generation=load_balancer.generation,
            created_at=load_balancer.created_at.timestamp(),
            **_wishes(load_balancer),
        )
    )


def find(connection: Connection, load_balancer_id: UUID) -> LoadBalancer | None:
    """The load balancer, or None when there is none."""
    row = connection.execute(_ALL.where(_TABLE.c.id == str(load_balancer_id))).one_or_none()
    if row is None:
        return None
    return _noun(row, services.of(connection, load_balancer_id))


def exists(connection: Connection, load_balancer_id: UUID) -> bool:
    """Whether there is such a load balancer."""
    row = connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == str(load_balancer_id))).one_or_none()
    return row is not None


def find_many(connection: Connection, load_balancer_ids: Sequence[UUID]) -> dict[UUID, LoadBalancer]:
    """Those of these load balancers that there are, in two queries."""
    own = services.by_load_balancer(connection, load_balancer_ids)
    rows = connection.execute(_THESE, {"of": [str(each) for each in load_balancer_ids]})
    return {found.id: found for found in (_noun(row, own.get(UUID(row.id), ())) for row in rows)}


def get(connection: Connection, load_balancer_id: UUID) -> LoadBalancer:
    """The load balancer. Raises NotFound."""
    load_balancer = find(connection, load_balancer_id)
    if load_balancer is None:
        raise _not_found(load_balancer_id)
    return load_balancer


def list_all(connection: Connection) -> list[LoadBalancer]:
    """Every load balancer, oldest first, in two queries however many there are."""
    by_load_balancer = services.by_load_balancer(connection)
    rows = connection.execute(_ALL.order_by(_TABLE.c.created_at, _TABLE.c.id))
    return [_noun(row, by_load_balancer.get(UUID(row.id), ())) for row in rows]


def list_ids(connection: Connection) -> list[UUID]:
    """The identifiers of all load balancers, those being deleted too."""
    return [UUID(row.id) for row in connection.execute(select(_TABLE.c.id).order_by(_TABLE.c.id))]


def with_labels(connection: Connection, labels: Mapping[str, str]) -> frozenset[UUID]:
    """The load balancers that carry all of these labels, and maybe others."""
    rows = connection.execute(select(_TABLE.c.id, _TABLE.c.labels))
    return frozenset(UUID(row.id) for row in rows if labels.items() <= row.labels.items())


def in_groups(connection: Connection, groups: Iterable[str]) -> list[tuple[UUID, str, str]]:
    """The load balancers of these anti-affinity groups that are not being deleted: identifier, name and group."""
    columns = _TABLE.c.id, _TABLE.c.name, _TABLE.c.anti_affinity
    alive = _TABLE.c.state != LoadBalancerState.DELETING
    rows = connection.execute(
        select(*columns).where(_TABLE.c.anti_affinity.in_(sorted(groups)), alive).order_by(_TABLE.c.id)
    )
    return [(UUID(row.id), row.name, row.anti_affinity) for row in rows]


def using_pool(connection: Connection, instance_pool_id: UUID) -> list[UUID]:
    """The load balancers with a service on this instance pool."""
    column = tables.services.c.load_balancer_id
    rows = connection.execute(
        select(column).where(tables.services.c.instance_pool_id == str(instance_pool_id)).distinct().order_by(column)
    )
    return [UUID(row.load_balancer_id) for row in rows]


def lock_for_change(connection: Connection, load_balancer_id: UUID) -> LoadBalancer:
    """Read it and keep other changes out until the transaction ends.

    Raises NotFound, and Conflict when it is being deleted: nothing can be changed on it any more.
    """
    connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == str(load_balancer_id)).with_for_update())
    load_balancer = get(connection, load_balancer_id)
    if load_balancer.state is LoadBalancerState.DELETING:
        raise Conflict(f"Load balancer {load_balancer.name} ({load_balancer_id}) is being deleted: create another one.")
    return load_balancer


def update(connection: Connection, load_balancer: LoadBalancer) -> None:
    """Write what a user may change: name, description, labels, and where it shall be. Raises NotFound."""
    described = {
        "name": load_balancer.name,
        "description": load_balancer.description,
        "labels": dict(load_balancer.labels),
    }
    done = connection.execute(
        sql_update(_TABLE).where(_TABLE.c.id == str(load_balancer.id)).values(**described, **_wishes(load_balancer))
    )
    if not done.rowcount:
        raise _not_found(load_balancer.id)


def set_state(connection: Connection, load_balancer_id: UUID, state: LoadBalancerState) -> None:
    """Write the state. One that is being deleted stays so: a slow worker must not bring it back."""
    connection.execute(
        sql_update(_TABLE)
        .where(_TABLE.c.id == str(load_balancer_id), _TABLE.c.state != LoadBalancerState.DELETING)
        .values(state=state)
    )


def bump(connection: Connection, load_balancer_ids: Iterable[UUID]) -> dict[UUID, int]:
    """Raise the generation of each; returns the new generations."""
    generations = {}
    # In order, so that two transactions on PostgreSQL that share load balancers cannot wait for each other.
    for load_balancer_id in sorted(load_balancer_ids):
        connection.execute(
            sql_update(_TABLE).where(_TABLE.c.id == str(load_balancer_id)).values(generation=_TABLE.c.generation + 1)
        )
        generations[load_balancer_id] = connection.execute(
            select(_TABLE.c.generation).where(_TABLE.c.id == str(load_balancer_id))
        ).scalar_one()
    return generations


def delete(connection: Connection, load_balancer_id: UUID) -> None:
    """Remove the row and all that hangs on it: services, placements, and the address that came with it.

    An elastic IP that a user created is detached and stays. For the orchestrator, once no node carries anything.
    """
    services.delete_of(connection, load_balancer_id)
    node_states.forget_load_balancer(connection, load_balancer_id)
    given_rules.forget(connection, load_balancer_id)
    placements.replace(connection, load_balancer_id, frozenset())
    elastic_ips.release(connection, load_balancer_id)
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.id == str(load_balancer_id)))


def _wishes(load_balancer: LoadBalancer) -> dict[str, object]:
    return {
        "node_count": load_balancer.node_count,
        "affinity": dict(load_balancer.affinity),
        "anti_affinity": load_balancer.anti_affinity,
    }


def _not_found(load_balancer_id: UUID) -> NotFound:
    return NotFound(f"There is no load balancer {load_balancer_id}: list them to find the one you mean.")


def _noun(row: Row[Any], own_services: Sequence[Service]) -> LoadBalancer:
    return LoadBalancer(
        id=UUID(row.id),
        name=row.name,
        description=row.description,
        labels=row.labels,
        address=ip_address(row.address),
        hash_seed=int(row.hash_seed),
        state=LoadBalancerState(row.state),
        generation=row.generation,
        created_at=from_seconds(row.created_at),
        services=tuple(own_services),
        node_count=row.node_count,
        affinity=row.affinity,
        anti_affinity=row.anti_affinity,
    )
