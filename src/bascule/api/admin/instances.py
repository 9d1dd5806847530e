"""/admin/v1/instance-pools/{id}/instances: the members of a pool. Each change answers the pool as it is then."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated
from uuid import UUID, uuid4

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from bascule.api import carrying
from bascule.api.admin.instance_pools import view
from bascule.api.context import Ctx
from bascule.api.draining import drain_until, free_address
from bascule.model.errors import InvalidInput
from bascule.model.instance_pools import Instance
from bascule.model.virtual_services import ForwardingMethod
from bascule.store import changes, draining, hypervisors, instance_pools, instances, load_balancers, services
from bascule.wire.admin_v1 import InstanceCreate, InstancePoolView, InstanceUpdate

router = APIRouter(prefix="/admin/v1/instance-pools/{id}/instances", tags=["operators: instance pools"])


@router.post("", status_code=201)
def create_instance(context: Ctx, id: UUID, body: InstanceCreate) -> InstancePoolView:  # noqa: A002
    """Register a member: it serves when the pool's size lets it."""
    with context.database.write() as connection:
        instance_pools.lock_for_change(connection, id)
        instance = Instance(
            id=uuid4(),
            name=body.name,
            address=body.address,
            hypervisor_id=_hypervisor(connection, body.hypervisor),
            weight=body.weight,
            forwarding_method=body.forwarding_method,
        )
        _check_users(connection, id, instance)
        free_address(context, connection, instance.address, id)
        instances.insert(connection, id, instance)
        return _changed(context, connection, id, "register-instance")


@router.put("/{instance_id}")
def update_instance(
    context: Ctx,
    id: UUID,  # noqa: A002
    instance_id: UUID,
    body: InstanceUpdate,
) -> InstancePoolView:
    """Change a member: move it, or announce that it will move; weigh it anew, let an evicted one serve again."""
    given = {
        name: getattr(body, name) for name in body.model_fields_set - {"hypervisor", "moving_to", "forwarding_method"}
    }
    with context.database.write() as connection:
        pool = instance_pools.lock_for_change(connection, id)
        instance = replace(instances.get(connection, id, instance_id), **given)
        if body.hypervisor is not None:
            instance = replace(instance, hypervisor_id=_hypervisor(connection, body.hypervisor), moving_to=None)
        if body.moving_to is not None:
            target = _hypervisor(connection, body.moving_to, field="moving-to")
            hypervisors.lock_for_change(connection, target)  # it stays while somebody is about to come
            instance = replace(instance, moving_to=None if target == instance.hypervisor_id else target)
        if body.forwarding_method is not None:
            instance = replace(instance, forwarding_method=_method_of(body.forwarding_method))
            _check_users(connection, id, instance)
        instances.update(connection, instance)
        draining.follow(connection, pool, until=drain_until(context, None))
        return _changed(context, connection, id, "update-instance")


@router.delete("/{instance_id}")
def delete_instance(
    context: Ctx,
    id: UUID,  # noqa: A002
    instance_id: UUID,
    drain_deadline: Annotated[int | None, Query(alias="drain-deadline", ge=0, le=604_800)] = None,
) -> InstancePoolView:
    """Take a member out of the pool. One that serves keeps its connections first, for so many seconds at most."""
    with context.database.write() as connection:
        pool = instance_pools.lock_for_change(connection, id)
        instance = instances.get(connection, id, instance_id)
        instances.update(connection, replace(instance, leaving=True))
        until = drain_until(context, drain_deadline)
        draining.follow(connection, pool, until=until, asked=set() if drain_deadline is None else {instance_id})
        return _changed(context, connection, id, "delete-instance")


def _method_of(word: str) -> ForwardingMethod | None:
    return None if word == "as-service" else ForwardingMethod(word)


def _check_users(connection: Connection, pool_id: UUID, instance: Instance) -> None:
    users = [
        (load_balancers.get(connection, one), service) for one, service in services.using_pool(connection, pool_id)
    ]
    carrying.check_instance(connection, users, instance)


def _changed(context: Ctx, connection: Connection, pool_id: UUID, command: str) -> InstancePoolView:
    changes.to_instance_pool(connection, pool_id, command=command, now=context.clock.now())
    return view(instance_pools.get(connection, pool_id))


def _hypervisor(connection: Connection, name_or_id: str, field: str = "hypervisor") -> UUID:
    for hypervisor in hypervisors.list_all(connection):
        if name_or_id in {hypervisor.name, str(hypervisor.id)}:
            return hypervisor.id
    raise InvalidInput(f"There is no hypervisor {name_or_id!r}: list them, or register it first.", field=field)
