"""Instance pools with their members, read and written inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, or_, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.errors import NotFound
from bascule.model.instance_pools import Instance, InstancePool
from bascule.store import instances, tables

_TABLE = tables.instance_pools
_SERVICES = tables.services
_USERS = _SERVICES.c.load_balancer_id.in_(bindparam("of", expanding=True))
_USED = select(_TABLE).where(_TABLE.c.id.in_(select(_SERVICES.c.instance_pool_id).where(_USERS)))


def insert(connection: Connection, pool: InstancePool, *, template: Mapping[str, object], now: float) -> None:
    """Add the row. `template` holds fields of the public API that we keep and give back but do not use."""
    connection.execute(
        sql_insert(_TABLE).values(id=str(pool.id), template=dict(template), created_at=now, **_values(pool))
    )


def find(connection: Connection, pool_id: UUID) -> InstancePool | None:
    """The pool with its members, or None when there is none."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.id == str(pool_id))).one_or_none()
    return None if row is None else _noun(row, instances.by_pool(connection, [pool_id]).get(pool_id, ()))


def get(connection: Connection, pool_id: UUID) -> InstancePool:
    """The pool with its members. Raises NotFound."""
    pool = find(connection, pool_id)
    if pool is None:
        raise NotFound(f"There is no instance pool {pool_id}: list them to find the one you mean.")
    return pool


def named(connection: Connection, name_or_id: str) -> list[UUID]:
    """The pools that this may mean: names are not unique."""
    query = select(_TABLE.c.id).where(or_(_TABLE.c.id == name_or_id, _TABLE.c.name == name_or_id))
    return [UUID(row.id) for row in connection.execute(query.order_by(_TABLE.c.id))]


def lock_for_change(connection: Connection, pool_id: UUID) -> InstancePool:
    """Read it and keep other changes out until the transaction ends. Raises NotFound."""
    connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == str(pool_id)).with_for_update())
    return get(connection, pool_id)


def list_all(connection: Connection) -> list[InstancePool]:
    """Every pool, oldest first, in two queries however many there are."""
    members = instances.by_pool(connection)
    rows = connection.execute(select(_TABLE).order_by(_TABLE.c.created_at, _TABLE.c.id))
    return [_noun(row, members.get(UUID(row.id), ())) for row in rows]


def for_load_balancer(connection: Connection, load_balancer_id: UUID) -> dict[UUID, InstancePool]:
    """The pools that a load balancer's services use."""
    return for_load_balancers(connection, [load_balancer_id])


def for_load_balancers(connection: Connection, load_balancer_ids: Sequence[UUID]) -> dict[UUID, InstancePool]:
    """The pools that the services of these load balancers use."""
    rows = connection.execute(_USED, {"of": [str(each) for each in load_balancer_ids]}).all()
    members = instances.by_pool(connection, [UUID(row.id) for row in rows])
    return {UUID(row.id): _noun(row, members.get(UUID(row.id), ())) for row in rows}


def templates(connection: Connection) -> dict[UUID, Mapping[str, Any]]:
    """What `insert` was told to keep, by pool."""
    return {UUID(row.id): row.template for row in connection.execute(select(_TABLE.c.id, _TABLE.c.template))}


def template(connection: Connection, pool_id: UUID) -> Mapping[str, Any]:
    """What `insert` was told to keep of one pool."""
    kept: Mapping[str, Any] = connection.execute(
        select(_TABLE.c.template).where(_TABLE.c.id == str(pool_id))
    ).scalar_one()
    return kept


def update(connection: Connection, pool: InstancePool, *, template: Mapping[str, object] | None = None) -> None:
    """Write everything a user may change; `template` only when it is given."""
    values = _values(pool) if template is None else {**_values(pool), "template": dict(template)}
    connection.execute(sql_update(_TABLE).where(_TABLE.c.id == str(pool.id)).values(**values))


def delete(connection: Connection, pool_id: UUID) -> None:
    """Remove the row and its members. The caller has made sure that no service uses it."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.id == str(pool_id)))


def _values(pool: InstancePool) -> dict[str, object]:
    return {
        "name": pool.name,
        "description": pool.description,
        "labels": dict(pool.labels),
        "size": pool.size,
    }


def _noun(row: Row[Any], members: Sequence[Instance]) -> InstancePool:
    return InstancePool(
        id=UUID(row.id),
        name=row.name,
        description=row.description,
        labels=row.labels,
        size=row.size,
        members=tuple(members),
    )
