"""/v2/load-balancer/{id}/service: a protocol and port, spread over an instance pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import Connection

from bascule.api import carrying
from bascule.api.context import Ctx, PublicRouter
from bascule.api.operations import view as operation_view
from bascule.model.errors import Exhausted, InvalidInput, Taken
from bascule.model.health_checks import Health
from bascule.model.instance_pools import InstancePool
from bascule.model.load_balancers import LoadBalancer, Service, ServiceState
from bascule.model.virtual_services import ForwardingMethod, Persistence
from bascule.store import changes, health_statuses, instance_pools, instances, load_balancers, services
from bascule.wire.health_checks import health_check_of, view_of, without_options
from bascule.wire.public_v2 import PersistenceBody, ServiceCreate, ServiceUpdate
from bascule.wire.public_v2_views import (
    OperationView,
    PersistenceView,
    ReferenceView,
    ServerStatusView,
    ServiceView,
)

SERVICES_MAX = 50
router = PublicRouter(prefix="/v2/load-balancer/{id}/service", tags=["load-balancer"])


class ResettableField(StrEnum):
    """Fields that can be emptied."""

    DESCRIPTION = "description"
    HEALTHCHECK = "healthcheck"
    PERSISTENCE = "persistence"


@router.post("")
def add_service_to_load_balancer(context: Ctx, id: UUID, body: ServiceCreate) -> OperationView:  # noqa: A002
    """Serve another port."""
    with context.database.write() as connection:
        load_balancer = load_balancers.lock_for_change(connection, id)
        if len(load_balancer.services) >= SERVICES_MAX:
            raise Exhausted(f"{load_balancer.name} has {SERVICES_MAX} services already: create another load balancer.")
        _check_pool(connection, body.instance_pool.id)
        service = _service_of(body)
        _check_endpoint(load_balancer, service)
        _check_sorry_server(connection, load_balancer, service)
        carrying.check_pool(connection, load_balancer, service)
        carrying.check_service(connection, load_balancer, service)
        services.insert(connection, id, service)
        now = context.clock.now()
        operation = changes.to_load_balancer(connection, id, command="add-service-to-load-balancer", now=now)
    return operation_view(operation)


@router.get("/{service_id}")
def get_load_balancer_service(context: Ctx, id: UUID, service_id: UUID) -> ServiceView:  # noqa: A002
    """One service with its instances' health."""
    with context.database.read() as connection:
        service = services.get(connection, id, service_id)
        pool = instance_pools.get(connection, service.instance_pool_id)
        statuses = health_statuses.of_load_balancer(connection, id)
    return view(service, pool, health_statuses.combine(statuses, context.clock.now()))


@router.put("/{service_id}")
def update_load_balancer_service(
    context: Ctx,
    id: UUID,  # noqa: A002
    service_id: UUID,
    body: ServiceUpdate,
) -> OperationView:
    """Change anything but the instance pool."""
    given = {name: getattr(body, name) for name in body.model_fields_set - {"healthcheck", "persistence"}}
    with context.database.write() as connection:
        load_balancer = load_balancers.lock_for_change(connection, id)
        service = replace(services.get(connection, id, service_id), state=ServiceState.UPDATING, **given)
        if body.healthcheck is not None:
            service = replace(service, health_check=health_check_of(body.healthcheck, service.health_check))
        if body.persistence is not None:
            service = replace(service, persistence=_persistence_of(body.persistence))
        _check_endpoint(load_balancer, service)
        _check_sorry_server(connection, load_balancer, service)
        carrying.check_service(connection, load_balancer, service)
        services.update(connection, service)
        now = context.clock.now()
        operation = changes.to_load_balancer(connection, id, command="update-load-balancer-service", now=now)
    return operation_view(operation)


@router.delete("/{service_id}")
def delete_load_balancer_service(context: Ctx, id: UUID, service_id: UUID) -> OperationView:  # noqa: A002
    """Stop serving a port."""
    with context.database.write() as connection:
        load_balancers.lock_for_change(connection, id)
        services.get(connection, id, service_id)
        services.delete(connection, service_id)
        now = context.clock.now()
        operation = changes.to_load_balancer(connection, id, command="delete-load-balancer-service", now=now)
    return operation_view(operation)


@router.delete("/{service_id}/{field}")
def reset_load_balancer_service_field(
    context: Ctx,
    id: UUID,  # noqa: A002
    service_id: UUID,
    field: ResettableField,
) -> OperationView:
    """Empty a field; of the health check, put everything that Exoscale's API does not have back to its default."""
    with context.database.write() as connection:
        load_balancers.lock_for_change(connection, id)
        service = services.get(connection, id, service_id)
        services.update(connection, _reset(service, field))
        now = context.clock.now()
        operation = changes.to_load_balancer(connection, id, command="reset-load-balancer-service-field", now=now)
    return operation_view(operation)


def _service_of(body: ServiceCreate) -> Service:
    return Service(
        id=uuid4(),
        name=body.name,
        description=body.description,
        protocol=body.protocol,
        port=body.port,
        target_port=body.target_port,
        strategy=body.strategy,
        hash_source_port=body.hash_source_port,
        forwarding_method=body.forwarding_method,
        persistence=_persistence_of(body.persistence),
        instance_pool_id=body.instance_pool.id,
        health_check=health_check_of(body.healthcheck),
    )


def _persistence_of(body: PersistenceBody | None) -> Persistence | None:
    return None if body is None else Persistence(timeout=body.timeout, prefix_length=body.prefix_length)


def _reset(service: Service, field: ResettableField) -> Service:
    if field is ResettableField.PERSISTENCE:
        return replace(service, persistence=None)
    if field is ResettableField.HEALTHCHECK:
        return replace(service, health_check=without_options(service.health_check))
    return replace(service, description="")


def _check_sorry_server(connection: Connection, load_balancer: LoadBalancer, service: Service) -> None:
    """Only a registered instance can be one: its hypervisor takes what we send, and nobody can point us elsewhere."""
    address = service.health_check.sorry_server
    if address is not None and address.version != load_balancer.address.version:
        raise InvalidInput(
            f"{address} is of another family than {load_balancer.address}: choose a sorry server of the same.",
            field="healthcheck.sorry-server",
        )
    if address is not None and not instances.by_address(connection, [address]):
        raise InvalidInput(
            f"There is no instance at {address}: register the sorry server in an instance pool first.",
            field="healthcheck.sorry-server",
        )


def _check_pool(connection: Connection, pool_id: UUID) -> None:
    if instance_pools.find(connection, pool_id) is None:
        raise InvalidInput(f"There is no instance pool {pool_id}: list them, or create one.", field="instance-pool.id")


def _check_endpoint(load_balancer: LoadBalancer, wanted: Service) -> None:
    for other in load_balancer.services:
        if other.id != wanted.id and (other.protocol, other.port) == (wanted.protocol, wanted.port):
            raise Taken(
                f"{wanted.protocol} {load_balancer.address}:{wanted.port} belongs to service {other.name} ({other.id}):"
                " choose another port or delete that service.",
                field="port",
            )


def view(service: Service, pool: InstancePool, health: Mapping[tuple[UUID, UUID], Health]) -> ServiceView:
    """A service as the public API shows it. Instances without a fresh verdict are left out of its health."""
    return ServiceView(
        id=service.id,
        name=service.name,
        description=service.description,
        state=service.state,
        protocol=service.protocol,
        port=service.port,
        target_port=service.target_port,
        strategy=service.strategy,
        hash_source_port=service.hash_source_port,
        forwarding_method=None if service.forwarding_method is ForwardingMethod.TUNNEL else service.forwarding_method,
        persistence=_persistence_view(service.persistence),
        instance_pool=ReferenceView(id=service.instance_pool_id),
        healthcheck=view_of(service.health_check),
        healthcheck_status=[
            ServerStatusView.model_validate({"public-ip": member.address, "status": health[service.id, member.id]})
            for member in pool.active
            if (service.id, member.id) in health
        ],
    )


def _persistence_view(persistence: Persistence | None) -> PersistenceView | None:
    if persistence is None:
        return None
    return PersistenceView(timeout=persistence.timeout, prefix_length=persistence.prefix_length)
