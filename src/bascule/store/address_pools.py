"""Address pools, read and written inside the caller's transaction."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert

from bascule.model.addresses import AddressPool
from bascule.model.errors import NotFound, Taken
from bascule.store import tables
from bascule.store.violations import refused_when_taken

_TABLE = tables.address_pools


def insert(connection: Connection, pool: AddressPool) -> None:
    """Add the row. Raises Taken when the name is taken or the network overlaps with another pool's."""
    for other in lock_all(connection):
        if other.network.overlaps(pool.network):
            raise Taken(
                f"{pool.network} overlaps with address pool {other.name} ({other.network}): choose another network.",
                field="network",
            )
    with refused_when_taken(Taken(f"An address pool is named {pool.name}: choose another name.", field="name")):
        connection.execute(sql_insert(_TABLE).values(id=str(pool.id), name=pool.name, network=str(pool.network)))


def list_all(connection: Connection) -> list[AddressPool]:
    """Every address pool, in the order addresses are taken from them (by name)."""
    return [_noun(row) for row in connection.execute(select(_TABLE).order_by(_TABLE.c.name))]


def lock_all(connection: Connection) -> list[AddressPool]:
    """Like `list_all`, and keeps other allocations out until the transaction ends."""
    return [_noun(row) for row in connection.execute(select(_TABLE).order_by(_TABLE.c.name).with_for_update())]


def get(connection: Connection, pool_id: UUID) -> AddressPool:
    """One address pool. Raises NotFound."""
    row = connection.execute(select(_TABLE).where(_TABLE.c.id == str(pool_id))).one_or_none()
    if row is None:
        raise NotFound(f"There is no address pool {pool_id}: list them to find the one you mean.")
    return _noun(row)


def delete(connection: Connection, pool_id: UUID) -> None:
    """Remove the row. The caller has made sure that no address is taken from it."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.id == str(pool_id)))


def _noun(row: Row[Any]) -> AddressPool:
    return AddressPool(id=UUID(row.id), name=row.name, network=ip_network(row.network))
