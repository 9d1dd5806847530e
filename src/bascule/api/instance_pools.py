"""/v2/instance-pool: a group of machines that grows and shrinks. Operators register its members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection

from bascule.api.context import Ctx, PublicRouter
from bascule.api.draining import drain_until
from bascule.api.operations import view as operation_view
from bascule.model.errors import Exhausted, InUse, InvalidInput
from bascule.model.instance_pools import InstancePool
from bascule.store import changes, draining, instance_pools, instances, load_balancers, services
from bascule.wire.public_v2 import InstancePoolCreate, InstancePoolEvict, InstancePoolScale, InstancePoolUpdate
from bascule.wire.public_v2_views import InstancePoolsView, InstancePoolView, OperationView, ReferenceView

router = PublicRouter(prefix="/v2/instance-pool", tags=["instance-pool"])
_KIND = "instance-pool"
_TEMPLATE_FIELDS = {"instance_type", "template", "disk_size"}


class ResettableField(StrEnum):
    """Fields that can be emptied."""

    DESCRIPTION = "description"
    LABELS = "labels"


@router.get("")
def list_instance_pools(context: Ctx) -> InstancePoolsView:
    """Every instance pool, oldest first."""
    with context.database.read() as connection:
        templates = instance_pools.templates(connection)
        views = [view(pool, templates[pool.id]) for pool in instance_pools.list_all(connection)]
    return InstancePoolsView(instance_pools=views)


@router.post("")
def create_instance_pool(context: Ctx, body: InstancePoolCreate) -> OperationView:
    """Create an empty pool: operators register its members."""
    now = context.clock.now()
    pool = InstancePool(id=uuid4(), name=body.name, description=body.description, labels=body.labels, size=body.size)
    with context.database.write() as connection:
        instance_pools.insert(connection, pool, template=_template(body), now=now)
        operation = changes.at_once(connection, _KIND, pool.id, command="create-instance-pool", now=now)
    return operation_view(operation)


@router.get("/{id}")
def get_instance_pool(context: Ctx, id: UUID) -> InstancePoolView:  # noqa: A002  (the public API's name)
    """One pool with its members."""
    with context.database.read() as connection:
        return view(instance_pools.get(connection, id), instance_pools.template(connection, id))


# Before the plain /{id}, which would match these too.
@router.put("/{id}:scale")
def scale_instance_pool(context: Ctx, id: UUID, body: InstancePoolScale) -> OperationView:  # noqa: A002
    """Let so many members serve, oldest first."""
    with context.database.write() as connection:
        pool = instance_pools.lock_for_change(connection, id)
        able = sum(member.willing for member in pool.members)
        if body.size > able:
            raise Exhausted(
                f"Instance pool {pool.name} has {able} instances that can serve, fewer than {body.size}: register more"
                f" with POST /admin/v1/instance-pools/{id}/instances, then scale.",
                field="size",
            )
        instance_pools.update(connection, replace(pool, size=body.size))
        draining.follow(connection, pool, until=drain_until(context, body.drain_deadline))
        now = context.clock.now()
        operation = changes.to_instance_pool(connection, id, command="scale-instance-pool", now=now)
    return operation_view(operation)


@router.put("/{id}:evict")
def evict_instance_pool_members(context: Ctx, id: UUID, body: InstancePoolEvict) -> OperationView:  # noqa: A002
    """Take these members out of service, and shrink the pool by as many as served."""
    with context.database.write() as connection:
        pool = instance_pools.lock_for_change(connection, id)
        _evict(connection, pool, set(body.instances))
        draining.follow(connection, pool, until=drain_until(context, body.drain_deadline))
        now = context.clock.now()
        operation = changes.to_instance_pool(connection, id, command="evict-instance-pool-members", now=now)
    return operation_view(operation)


def _evict(connection: Connection, pool: InstancePool, leaving: set[UUID]) -> None:
    strangers = leaving - {member.id for member in pool.members if not member.leaving}
    if strangers:
        names = ", ".join(sorted(map(str, strangers)))
        raise InvalidInput(f"{names}: no members of pool {pool.name}; show it to see its members.", field="instances")
    for member in pool.members:
        if member.id in leaving:
            instances.update(connection, replace(member, evicted=True))
    if pool.size is not None:
        served = sum(member.id in leaving for member in pool.active)
        instance_pools.update(connection, replace(pool, size=max(1, pool.size - served)))


@router.put("/{id}")
def update_instance_pool(context: Ctx, id: UUID, body: InstancePoolUpdate) -> OperationView:  # noqa: A002
    """Change what describes the pool; :scale changes its size."""
    given = {name: getattr(body, name) for name in body.model_fields_set - _TEMPLATE_FIELDS}
    return _describe(context, id, "update-instance-pool", given, _template(body))


@router.delete("/{id}/{field}")
def reset_instance_pool_field(context: Ctx, id: UUID, field: ResettableField) -> OperationView:  # noqa: A002
    """Empty a field."""
    empty: object = {} if field is ResettableField.LABELS else ""
    return _describe(context, id, "reset-instance-pool-field", {field.value: empty}, {})


def _describe(
    context: Ctx, pool_id: UUID, command: str, given: Mapping[str, Any], template: Mapping[str, object]
) -> OperationView:
    with context.database.write() as connection:
        pool = replace(instance_pools.lock_for_change(connection, pool_id), **given)
        kept = instance_pools.template(connection, pool_id)
        instance_pools.update(connection, pool, template={**kept, **template})
        operation = changes.at_once(connection, _KIND, pool_id, command=command, now=context.clock.now())
    return operation_view(operation)


@router.delete("/{id}")
def delete_instance_pool(context: Ctx, id: UUID) -> OperationView:  # noqa: A002
    """Forget the pool and its members. Refused while a service uses it."""
    with context.database.write() as connection:
        pool = instance_pools.lock_for_change(connection, id)
        users = [
            f"{service.name} of {load_balancers.get(connection, load_balancer_id).name}"
            for load_balancer_id, service in services.using_pool(connection, id)
        ]
        if users:
            raise InUse(f"Instance pool {pool.name} is used by {', '.join(users)}: delete these services first.")
        instance_pools.delete(connection, id)
        now = context.clock.now()
        operation = changes.at_once(connection, _KIND, id, command="delete-instance-pool", now=now)
    return operation_view(operation)


def _template(body: InstancePoolCreate | InstancePoolUpdate) -> dict[str, object]:
    return body.model_dump(mode="json", by_alias=True, include=_TEMPLATE_FIELDS, exclude_none=True)


def view(pool: InstancePool, template: Mapping[str, Any]) -> InstancePoolView:
    """A pool as the public API shows it: all members that are not evicted, serving or standing by."""
    return InstancePoolView(
        id=pool.id,
        name=pool.name,
        description=pool.description or None,
        labels=dict(pool.labels),
        state=pool.state,
        size=(len(pool.active) if pool.size is None else pool.size) or None,
        instances=[ReferenceView(id=member.id) for member in pool.members if not (member.evicted or member.leaving)],
        **template,
    )
