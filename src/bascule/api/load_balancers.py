"""/v2/load-balancer: an address with several services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import Connection

from bascule.api import carrying
from bascule.api import services as service_routes
from bascule.api.context import Ctx, PublicRouter
from bascule.api.operations import view as operation_view
from bascule.model.addresses import ElasticIP, IPAddress
from bascule.model.health_checks import Health
from bascule.model.instance_pools import InstancePool
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState
from bascule.model.placements import NODES_PER_LOAD_BALANCER
from bascule.store import changes, elastic_ips, health_statuses, instance_pools, load_balancers
from bascule.store.times import from_seconds
from bascule.wire.fields import version_of
from bascule.wire.public_v2 import LoadBalancerCreate, LoadBalancerUpdate
from bascule.wire.public_v2_views import LoadBalancersView, LoadBalancerView, OperationView

router = PublicRouter(prefix="/v2/load-balancer", tags=["load-balancer"])


class ResettableField(StrEnum):
    """Fields that can be emptied, or get their default again."""

    DESCRIPTION = "description"
    LABELS = "labels"
    NODE_COUNT = "node-count"
    AFFINITY = "affinity"
    ANTI_AFFINITY = "anti-affinity"


_RESET: Mapping[ResettableField, object] = {
    ResettableField.DESCRIPTION: "",
    ResettableField.LABELS: {},
    ResettableField.NODE_COUNT: NODES_PER_LOAD_BALANCER,
    ResettableField.AFFINITY: {},
    ResettableField.ANTI_AFFINITY: "",
}


@router.get("")
def list_load_balancers(context: Ctx) -> LoadBalancersView:
    """Every load balancer, oldest first."""
    with context.database.read() as connection:
        pools = {pool.id: pool for pool in instance_pools.list_all(connection)}
        health = health_statuses.combine(health_statuses.of_all(connection), context.clock.now())
        views = [view(load_balancer, pools, health) for load_balancer in load_balancers.list_all(connection)]
    return LoadBalancersView(load_balancers=views)


@router.post("")
def create_load_balancer(context: Ctx, body: LoadBalancerCreate) -> OperationView:
    """Take an address (the one given, or the lowest free one) and start serving it."""
    now, new_id = context.clock.now(), uuid4()
    with context.database.write() as connection:
        address = _choose(connection, body.ip, version_of(body.addressfamily))
        carrying.check_address(connection, address.address)
        carrying.check_affinity(connection, body.affinity)
        load_balancer = LoadBalancer(
            id=new_id,
            name=body.name,
            description=body.description,
            labels=body.labels,
            address=address.address,
            hash_seed=context.new_hash_seed(),
            generation=0,
            created_at=from_seconds(now),
            node_count=body.node_count,
            affinity=body.affinity,
            anti_affinity=body.anti_affinity,
        )
        load_balancers.insert(connection, load_balancer)
        elastic_ips.hold(connection, address, new_id, now=now)
        operation = changes.to_load_balancer(connection, new_id, command="create-load-balancer", now=now)
    return operation_view(operation)


def _choose(connection: Connection, wanted: IPAddress | None, family: int | None) -> ElasticIP:
    """An elastic IP that a user created and nothing uses, or a fresh one for the load balancer."""
    present = None if wanted is None else elastic_ips.find_unattached(connection, wanted)
    if present is not None and family in {None, present.address.version}:
        return present
    address, pool_id = elastic_ips.choose(connection, wanted, family)
    return ElasticIP(id=uuid4(), address=address, address_pool_id=pool_id)


@router.get("/{id}")
def get_load_balancer(context: Ctx, id: UUID) -> LoadBalancerView:  # noqa: A002  (the public API's name)
    """One load balancer with its services and their instances' health."""
    with context.database.read() as connection:
        load_balancer = load_balancers.get(connection, id)
        pools = instance_pools.for_load_balancer(connection, id)
        statuses = health_statuses.of_load_balancer(connection, id)
    return view(load_balancer, pools, health_statuses.combine(statuses, context.clock.now()))


@router.put("/{id}")
def update_load_balancer(context: Ctx, id: UUID, body: LoadBalancerUpdate) -> OperationView:  # noqa: A002
    """Change its name, description or labels, and where it is placed."""
    given = {name: getattr(body, name) for name in body.model_fields_set}
    return _change(context, id, "update-load-balancer", given)


@router.delete("/{id}/{field}")
def reset_load_balancer_field(context: Ctx, id: UUID, field: ResettableField) -> OperationView:  # noqa: A002
    """Empty a field; one with a default gets that again."""
    return _change(context, id, "reset-load-balancer-field", {field.value.replace("-", "_"): _RESET[field]})


def _change(context: Ctx, load_balancer_id: UUID, command: str, given: Mapping[str, object]) -> OperationView:
    with context.database.write() as connection:
        present = load_balancers.lock_for_change(connection, load_balancer_id)
        wanted = replace(present, **given)  # type: ignore[arg-type]  # the body is typed
        if wanted.affinity != present.affinity:
            carrying.check_affinity(connection, wanted.affinity)
        load_balancers.update(connection, wanted)
        operation = changes.to_load_balancer(connection, load_balancer_id, command=command, now=context.clock.now())
    return operation_view(operation)


@router.delete("/{id}")
def delete_load_balancer(context: Ctx, id: UUID) -> OperationView:  # noqa: A002
    """Stop serving. The address is free again once no LB node carries it; asking twice is fine."""
    with context.database.write() as connection:
        load_balancers.get(connection, id)
        load_balancers.set_state(connection, id, LoadBalancerState.DELETING)
        now = context.clock.now()
        operation = changes.to_load_balancer(connection, id, command="delete-load-balancer", now=now)
    return operation_view(operation)


def view(
    load_balancer: LoadBalancer, pools: Mapping[UUID, InstancePool], health: Mapping[tuple[UUID, UUID], Health]
) -> LoadBalancerView:
    """A load balancer as the public API shows it."""
    return LoadBalancerView(
        id=load_balancer.id,
        name=load_balancer.name,
        description=load_balancer.description,
        labels=dict(load_balancer.labels),
        state=load_balancer.state,
        created_at=load_balancer.created_at,
        ip=load_balancer.address,
        services=[
            service_routes.view(service, pools[service.instance_pool_id], health) for service in load_balancer.services
        ],
        node_count=None if load_balancer.node_count == NODES_PER_LOAD_BALANCER else load_balancer.node_count,
        affinity=dict(load_balancer.affinity) or None,
        anti_affinity=load_balancer.anti_affinity or None,
    )
