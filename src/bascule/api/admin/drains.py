"""/admin/v1/…:drain and :undrain: one verb for an instance, a pool, a hypervisor and an LB node; /admin/v1/drains.

Who drains gets no new connections, and keeps those that it has until they end or the deadline comes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import Connection

from bascule.api.admin import drain_views
from bascule.api.context import Context, Ctx
from bascule.api.draining import drain_until
from bascule.model.instance_pools import Instance
from bascule.model.nodes import LBNode
from bascule.orchestration.queue import Priority
from bascule.store import (
    changes,
    draining,
    hypervisors,
    instance_pools,
    instances,
    lb_nodes,
    load_balancers,
    placements,
)
from bascule.wire.admin_v1_drains import Drain, DrainsView, Undrain

router = APIRouter(prefix="/admin/v1", tags=["operators: drains"])
_Chosen = Mapping[UUID, Set[UUID]]
"""Instances by pool."""


@router.get("/drains")
def list_drains(context: Ctx) -> DrainsView:
    """What drains now, with the connections that remain as the orchestrator saw them a few seconds ago."""
    with context.database.read() as connection:
        return drain_views.view(connection, context.clock.now())


@router.put("/instance-pools/{id}/instances/{instance_id}:drain")
def drain_instance(context: Ctx, id: UUID, instance_id: UUID, body: Drain) -> DrainsView:  # noqa: A002
    """Give an instance no new connections. Asked again, the new deadline counts."""
    with context.database.write() as connection:
        instances.get(connection, id, instance_id)
        return _drain(context, connection, {id: {instance_id}}, body, "drain-instance")


@router.put("/instance-pools/{id}/instances/{instance_id}:undrain")
def undrain_instance(context: Ctx, id: UUID, instance_id: UUID, body: Undrain) -> DrainsView:  # noqa: A002, ARG001
    """Let an instance serve again, whether it still drains or is drained; one that was removed stays if it is there."""
    with context.database.write() as connection:
        instances.get(connection, id, instance_id)
        return _undrain(context, connection, {id: {instance_id}}, "undrain-instance")


@router.put("/instance-pools/{id}:drain")
def drain_instance_pool(context: Ctx, id: UUID, body: Drain) -> DrainsView:  # noqa: A002
    """Drain every member of a pool."""
    with context.database.write() as connection:
        return _drain(context, connection, _all_of(connection, id), body, "drain-instance-pool")


@router.put("/instance-pools/{id}:undrain")
def undrain_instance_pool(context: Ctx, id: UUID, body: Undrain) -> DrainsView:  # noqa: A002, ARG001
    """Let every member of a pool serve again."""
    with context.database.write() as connection:
        return _undrain(context, connection, _all_of(connection, id), "undrain-instance-pool")


@router.put("/hypervisors/{id}:drain")
def drain_hypervisor(context: Ctx, id: UUID, body: Drain) -> DrainsView:  # noqa: A002
    """Drain every instance that is on a hypervisor now."""
    with context.database.write() as connection:
        hypervisors.lock_for_change(connection, id)
        return _drain(context, connection, instances.pools_on_hypervisor(connection, id), body, "drain-hypervisor")


@router.put("/hypervisors/{id}:undrain")
def undrain_hypervisor(context: Ctx, id: UUID, body: Undrain) -> DrainsView:  # noqa: A002, ARG001
    """Let every instance that is on a hypervisor now serve again."""
    with context.database.write() as connection:
        hypervisors.lock_for_change(connection, id)
        return _undrain(context, connection, instances.pools_on_hypervisor(connection, id), "undrain-hypervisor")


@router.put("/lb-nodes/{id}:drain")
def drain_lb_node(context: Ctx, id: UUID, body: Drain) -> DrainsView:  # noqa: A002
    """Move everything off an LB node: others serve first, then it withdraws, and it stops when no packets come."""
    with context.database.write() as connection:
        node = lb_nodes.lock_for_change(connection, id)
        carries = bool(placements.on_node(connection, id))
        until = drain_until(context, body.deadline) if carries else None
        return _change_node(context, connection, replace(node, enabled=False, drain_until=until), "drains")


@router.put("/lb-nodes/{id}:undrain")
def undrain_lb_node(context: Ctx, id: UUID, body: Undrain) -> DrainsView:  # noqa: A002, ARG001
    """Enable an LB node again, whether it still drains or is drained."""
    with context.database.write() as connection:
        node = lb_nodes.lock_for_change(connection, id)
        return _change_node(context, connection, replace(node, enabled=True, drain_until=None), "drains no more")


def _all_of(connection: Connection, pool_id: UUID) -> _Chosen:
    return {pool_id: {member.id for member in instance_pools.get(connection, pool_id).members}}


def _drain(context: Context, connection: Connection, chosen: _Chosen, body: Drain, command: str) -> DrainsView:
    return _change(
        context, connection, chosen, command, lambda member: replace(member, drained=True), deadline=body.deadline
    )


def _undrain(context: Context, connection: Connection, chosen: _Chosen, command: str) -> DrainsView:
    """Others that must make room for those that come back drain in turn."""
    return _change(context, connection, chosen, command, lambda member: replace(member, drained=False, leaving=False))


def _change(
    context: Context,
    connection: Connection,
    chosen: _Chosen,
    command: str,
    changed: Callable[[Instance], Instance],
    *,
    deadline: int | None = None,
) -> DrainsView:
    for pool_id in sorted(chosen):
        pool = instance_pools.lock_for_change(connection, pool_id)
        for member in pool.members:
            if member.id in chosen[pool_id]:
                instances.update(connection, changed(member))
        draining.follow(connection, pool, until=drain_until(context, deadline), asked=chosen[pool_id])
    for pool_id in sorted(chosen):  # last, as the queue wants it
        changes.to_instance_pool(connection, pool_id, command=command, now=context.clock.now())
    wanted = {instance_id for found in chosen.values() for instance_id in found}
    return drain_views.view(connection, context.clock.now(), only=wanted)


def _change_node(context: Context, connection: Connection, node: LBNode, what: str) -> DrainsView:
    lb_nodes.update(connection, node)
    everything, now = load_balancers.list_ids(connection), context.clock.now()
    changes.request(connection, everything, priority=Priority.OPERATOR, reason=f"LB node {node.name} {what}", now=now)
    return drain_views.view(connection, now, only={node.id})
