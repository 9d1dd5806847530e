"""/v2/elastic-ip: addresses that users hold, to give to a load balancer when it is created."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from bascule.api.context import Ctx, PublicRouter
from bascule.api.operations import view as operation_view
from bascule.model.addresses import ElasticIP
from bascule.model.errors import InUse, InvalidInput
from bascule.store import changes, elastic_ips, load_balancers
from bascule.wire.fields import family_of, version_of
from bascule.wire.public_v2 import ElasticIPCreate, ElasticIPInstance, ElasticIPUpdate
from bascule.wire.public_v2_views import ElasticIPsView, ElasticIPView, OperationView

router = PublicRouter(prefix="/v2/elastic-ip", tags=["elastic-ip"])
_KIND = "elastic-ip"


class ResettableField(StrEnum):
    """Fields that can be emptied."""

    DESCRIPTION = "description"


@router.get("")
def list_elastic_ips(context: Ctx) -> ElasticIPsView:
    """Every elastic IP that a user created, oldest first."""
    with context.database.read() as connection:
        return ElasticIPsView(elastic_ips=[view(elastic_ip) for elastic_ip in elastic_ips.list_all(connection)])


@router.post("")
def create_elastic_ip(context: Ctx, body: ElasticIPCreate) -> OperationView:
    """Hold an address: the one given, or the lowest free one."""
    now = context.clock.now()
    with context.database.write() as connection:
        address, pool_id = elastic_ips.choose(connection, body.ip, version_of(body.addressfamily))
        elastic_ip = ElasticIP(
            id=uuid4(), address=address, description=body.description, labels=body.labels, address_pool_id=pool_id
        )
        elastic_ips.insert(connection, elastic_ip, managed=False, now=now)
        operation = changes.at_once(connection, _KIND, elastic_ip.id, command="create-elastic-ip", now=now)
    return operation_view(operation)


@router.get("/{id}")
def get_elastic_ip(context: Ctx, id: UUID) -> ElasticIPView:  # noqa: A002  (the public API's name)
    """One elastic IP."""
    with context.database.read() as connection:
        return view(elastic_ips.get(connection, id))


# Before the plain /{id}, which would match these too.
@router.put("/{id}:attach")
def attach_instance_to_elastic_ip(context: Ctx, id: UUID, body: ElasticIPInstance) -> OperationView:  # noqa: A002
    """Not supported yet."""
    raise _not_supported(context, id, body)


@router.put("/{id}:detach")
def detach_instance_from_elastic_ip(context: Ctx, id: UUID, body: ElasticIPInstance) -> OperationView:  # noqa: A002
    """Not supported yet."""
    raise _not_supported(context, id, body)


def _not_supported(context: Ctx, elastic_ip_id: UUID, body: ElasticIPInstance) -> InvalidInput:
    with context.database.read() as connection:
        held = elastic_ips.get(connection, elastic_ip_id)
    return InvalidInput(
        f"An elastic IP on an instance is not supported yet, so {body.instance.id} cannot have {held.address}: give the"
        " address to a load balancer when you create it.",
        field="instance",
    )


@router.put("/{id}")
def update_elastic_ip(context: Ctx, id: UUID, body: ElasticIPUpdate) -> OperationView:  # noqa: A002
    """Change its description or labels."""
    given = {name: getattr(body, name) for name in body.model_fields_set}
    return _change(context, id, "update-elastic-ip", given)


@router.delete("/{id}/{field}")
def reset_elastic_ip_field(context: Ctx, id: UUID, field: ResettableField) -> OperationView:  # noqa: A002
    """Empty a field."""
    return _change(context, id, "reset-elastic-ip-field", {field.value: ""})


def _change(context: Ctx, elastic_ip_id: UUID, command: str, given: Mapping[str, Any]) -> OperationView:
    with context.database.write() as connection:
        elastic_ips.update(connection, replace(elastic_ips.lock_for_change(connection, elastic_ip_id), **given))
        operation = changes.at_once(connection, _KIND, elastic_ip_id, command=command, now=context.clock.now())
    return operation_view(operation)


@router.delete("/{id}")
def delete_elastic_ip(context: Ctx, id: UUID) -> OperationView:  # noqa: A002
    """Let go of the address. Refused while a load balancer uses it."""
    with context.database.write() as connection:
        elastic_ip = elastic_ips.lock_for_change(connection, id)
        if elastic_ip.load_balancer_id is not None:
            user = load_balancers.get(connection, elastic_ip.load_balancer_id)
            raise InUse(f"{elastic_ip.address} is used by load balancer {user.name} ({user.id}): delete that first.")
        elastic_ips.delete(connection, id)
        now = context.clock.now()
        operation = changes.at_once(connection, _KIND, id, command="delete-elastic-ip", now=now)
    return operation_view(operation)


def view(elastic_ip: ElasticIP) -> ElasticIPView:
    """An elastic IP as the public API shows it."""
    return ElasticIPView(
        id=elastic_ip.id,
        ip=elastic_ip.address,
        addressfamily=family_of(elastic_ip.address),
        cidr=f"{elastic_ip.address}/{elastic_ip.address.max_prefixlen}",
        description=elastic_ip.description,
        labels=dict(elastic_ip.labels),
    )
