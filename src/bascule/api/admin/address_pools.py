"""/admin/v1/address-pools: the ranges that addresses are taken from."""

from __future__ import annotations

from uuid import UUID, uuid4

from fastapi import APIRouter

from bascule.api.context import Ctx
from bascule.model.addresses import AddressPool
from bascule.model.errors import InUse
from bascule.store import address_pools, elastic_ips, load_balancers
from bascule.wire.admin_v1 import AddressPoolCreate, AddressPoolsView, AddressPoolView

router = APIRouter(prefix="/admin/v1/address-pools", tags=["operators: address pools"])
_NAMED_AT_MOST = 5


@router.get("")
def list_address_pools(context: Ctx) -> AddressPoolsView:
    """Every address pool, in the order addresses are taken from them."""
    with context.database.read() as connection:
        pools = address_pools.list_all(connection)
        views = [_view(pool, len(elastic_ips.in_pool(connection, pool.id))) for pool in pools]
    return AddressPoolsView(address_pools=views)


@router.post("", status_code=201)
def create_address_pool(context: Ctx, body: AddressPoolCreate) -> AddressPoolView:
    """Register a range. It must not overlap with another one."""
    pool = AddressPool(id=uuid4(), name=body.name, network=body.network)
    with context.database.write() as connection:
        address_pools.insert(connection, pool)
    return _view(pool, 0)


@router.get("/{id}")
def get_address_pool(context: Ctx, id: UUID) -> AddressPoolView:  # noqa: A002
    """One address pool."""
    with context.database.read() as connection:
        return _view(address_pools.get(connection, id), len(elastic_ips.in_pool(connection, id)))


@router.delete("/{id}", status_code=204)
def delete_address_pool(context: Ctx, id: UUID) -> None:  # noqa: A002
    """Forget a range. Refused while one of its addresses is in use."""
    with context.database.write() as connection:
        pool = address_pools.get(connection, id)
        users = []
        for held in elastic_ips.in_pool(connection, id):
            holder = held.load_balancer_id and load_balancers.get(connection, held.load_balancer_id).name
            users.append(f"{held.address} (load balancer {holder})" if holder else f"{held.address} (an elastic IP)")
        if users:
            more = f" and {len(users) - _NAMED_AT_MOST} more" if len(users) > _NAMED_AT_MOST else ""
            named = ", ".join(users[:_NAMED_AT_MOST]) + more
            raise InUse(f"Addresses of {pool.name} are in use: {named}. Delete what uses them first.")
        address_pools.delete(connection, id)


def _view(pool: AddressPool, taken: int) -> AddressPoolView:
    return AddressPoolView(id=pool.id, name=pool.name, network=pool.network, taken=taken)
