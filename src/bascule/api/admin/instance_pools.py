"""/admin/v1/instance-pools: pools with all their members, as operators see them."""

from __future__ import annotations

from uuid import UUID, uuid4

from fastapi import APIRouter

from bascule.api.context import Ctx
from bascule.model.instance_pools import InstancePool
from bascule.store import instance_pools
from bascule.wire.admin_v1 import InstancePoolCreate, InstancePoolsView, InstancePoolView, InstanceView

router = APIRouter(prefix="/admin/v1/instance-pools", tags=["operators: instance pools"])


@router.get("")
def list_instance_pools(context: Ctx) -> InstancePoolsView:
    """Every instance pool with its members."""
    with context.database.read() as connection:
        return InstancePoolsView(instance_pools=[view(pool) for pool in instance_pools.list_all(connection)])


@router.post("", status_code=201)
def create_instance_pool(context: Ctx, body: InstancePoolCreate) -> InstancePoolView:
    """Create a pool; without a size, every member that is registered serves."""
    pool = InstancePool(id=uuid4(), name=body.name, description=body.description, size=body.size)
    with context.database.write() as connection:
        instance_pools.insert(connection, pool, template={}, now=context.clock.now())
    return view(pool)


@router.get("/{id}")
def get_instance_pool(context: Ctx, id: UUID) -> InstancePoolView:  # noqa: A002
    """One instance pool with its members."""
    with context.database.read() as connection:
        return view(instance_pools.get(connection, id))


def view(pool: InstancePool) -> InstancePoolView:
    """A pool as operators see it."""
    active = {member.id for member in pool.active}
    return InstancePoolView(
        id=pool.id,
        name=pool.name,
        description=pool.description,
        size=pool.size,
        instances=[
            InstanceView(
                id=member.id,
                name=member.name,
                address=member.address,
                hypervisor=member.hypervisor_id,
                moving_to=member.moving_to,
                weight=member.weight,
                forwarding_method=member.forwarding_method,
                evicted=member.evicted,
                stopped=member.stopped,
                drained=member.drained,
                leaving=member.leaving,
                drain_until=member.drain_until,
                active=member.id in active,
            )
            for member in pool.members
        ],
    )
