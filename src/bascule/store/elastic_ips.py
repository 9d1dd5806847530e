"""Addresses in use, read and written inside the caller's transaction.

A *managed* address came with its load balancer and goes with it; the others were created by a user and stay.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.addresses import ElasticIP, IPAddress, choose_address
from bascule.model.errors import NotFound, Taken
from bascule.store import address_pools, tables
from bascule.store.violations import refused_when_taken

_TABLE = tables.elastic_ips


def choose(connection: Connection, wanted: IPAddress | None, family: int | None = None) -> tuple[IPAddress, UUID]:
    """A free address and its pool, for a row that this same transaction inserts; `family` is 4 or 6.

    Raises InvalidInput, Taken or Exhausted, as `choose_address` does.
    """
    # Locked, so that two transactions on PostgreSQL do not both choose the lowest free address.
    pools = address_pools.lock_all(connection)
    taken = {ip_address(row.address) for row in connection.execute(select(_TABLE.c.address))}
    return choose_address(tuple(pools), taken, wanted, family)


def insert(connection: Connection, elastic_ip: ElasticIP, *, managed: bool, now: float) -> None:
    """Add the row. Raises Taken when somebody holds the address."""
    error = Taken(f"{elastic_ip.address} is taken: choose another address or leave the field out.", field="ip")
    with refused_when_taken(error):
        connection.execute(
            sql_insert(_TABLE).values(
                id=str(elastic_ip.id),
                address=str(elastic_ip.address),
                description=elastic_ip.description,
                labels=dict(elastic_ip.labels),
                address_pool_id=str(elastic_ip.address_pool_id),
                load_balancer_id=None if elastic_ip.load_balancer_id is None else str(elastic_ip.load_balancer_id),
                managed=managed,
                created_at=now,
            )
        )


def list_all(connection: Connection) -> list[ElasticIP]:
    """The elastic IPs that users created, oldest first."""
    query = select(_TABLE).where(_TABLE.c.managed.is_(False)).order_by(_TABLE.c.created_at, _TABLE.c.id)
    return [_noun(row) for row in connection.execute(query)]


def in_pool(connection: Connection, address_pool_id: UUID) -> list[ElasticIP]:
    """Every address taken from an address pool, managed or not."""
    query = select(_TABLE).where(_TABLE.c.address_pool_id == str(address_pool_id)).order_by(_TABLE.c.created_at)
    return [_noun(row) for row in connection.execute(query)]


def get(connection: Connection, elastic_ip_id: UUID) -> ElasticIP:
    """An elastic IP that a user created. Raises NotFound."""
    row = connection.execute(
        select(_TABLE).where(_TABLE.c.id == str(elastic_ip_id), _TABLE.c.managed.is_(False))
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no elastic IP {elastic_ip_id}: list them to find the one you mean.")
    return _noun(row)


def lock_for_change(connection: Connection, elastic_ip_id: UUID) -> ElasticIP:
    """Read it and keep other changes out until the transaction ends. Raises NotFound."""
    connection.execute(select(_TABLE.c.id).where(_TABLE.c.id == str(elastic_ip_id)).with_for_update())
    return get(connection, elastic_ip_id)


def find_unattached(connection: Connection, address: IPAddress) -> ElasticIP | None:
    """The elastic IP with this address, when nothing uses it."""
    row = connection.execute(
        select(_TABLE)
        .where(_TABLE.c.address == str(address), _TABLE.c.managed.is_(False), _TABLE.c.load_balancer_id.is_(None))
        .with_for_update()
    ).one_or_none()
    return None if row is None else _noun(row)


def hold(connection: Connection, elastic_ip: ElasticIP, load_balancer_id: UUID, *, now: float) -> None:
    """Let a load balancer use it: an elastic IP with a row is attached, any other gets a row as a managed one."""
    attached = connection.execute(
        sql_update(_TABLE).where(_TABLE.c.id == str(elastic_ip.id)).values(load_balancer_id=str(load_balancer_id))
    )
    if not attached.rowcount:
        insert(connection, replace(elastic_ip, load_balancer_id=load_balancer_id), managed=True, now=now)


def release(connection: Connection, load_balancer_id: UUID) -> None:
    """Give up a load balancer's address: a managed one is free again, one a user created is detached."""
    mine = _TABLE.c.load_balancer_id == str(load_balancer_id)
    connection.execute(sql_delete(_TABLE).where(mine, _TABLE.c.managed.is_(True)))
    connection.execute(sql_update(_TABLE).where(mine).values(load_balancer_id=None))


def update(connection: Connection, elastic_ip: ElasticIP) -> None:
    """Write what a user may change: description and labels."""
    connection.execute(
        sql_update(_TABLE)
        .where(_TABLE.c.id == str(elastic_ip.id))
        .values(description=elastic_ip.description, labels=dict(elastic_ip.labels))
    )


def delete(connection: Connection, elastic_ip_id: UUID) -> None:
    """Remove the row: the address is free again."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.id == str(elastic_ip_id)))


def _noun(row: Row[Any]) -> ElasticIP:
    return ElasticIP(
        id=UUID(row.id),
        address=ip_address(row.address),
        description=row.description,
        labels=row.labels,
        address_pool_id=UUID(row.address_pool_id),
        load_balancer_id=None if row.load_balancer_id is None else UUID(row.load_balancer_id),
    )
