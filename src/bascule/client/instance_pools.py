"""Instance pools, as users and as operators reach them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.model.addresses import IPAddress
from bascule.model.virtual_services import ForwardingMethod
from bascule.wire import admin_v1, public_v2_views
from bascule.wire.public_v2_views import OperationView


class InstancePools:
    """/v2/instance-pool"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self) -> list[public_v2_views.InstancePoolView]:
        """Every pool, oldest first."""
        answer = self._transport.get("/v2/instance-pool")
        return public_v2_views.InstancePoolsView.model_validate(answer).instance_pools

    def get(self, pool_id: UUID) -> public_v2_views.InstancePoolView:
        """One pool. Raises NotFound."""
        return public_v2_views.InstancePoolView.model_validate(self._transport.get(f"/v2/instance-pool/{pool_id}"))

    def create(self, *, name: str, size: int, description: str | None = None) -> OperationView:
        """Create an empty pool."""
        body = body_of(name=name, size=size, description=description)
        return OperationView.model_validate(self._transport.post("/v2/instance-pool", body))

    def scale(self, pool_id: UUID, size: int, *, drain_deadline: int | None = None) -> OperationView:
        """Let so many members serve; the others drain, for so many seconds at most. Raises Exhausted when fewer are
        registered."""
        body = body_of(size=size, drain_deadline=drain_deadline)
        return OperationView.model_validate(self._transport.put(f"/v2/instance-pool/{pool_id}:scale", body))

    def evict(self, pool_id: UUID, instance_ids: Sequence[UUID], *, drain_deadline: int | None = None) -> OperationView:
        """Take these members out of service; they drain, for so many seconds at most."""
        body = body_of(instances=list(instance_ids), drain_deadline=drain_deadline)
        return OperationView.model_validate(self._transport.put(f"/v2/instance-pool/{pool_id}:evict", body))

    def delete(self, pool_id: UUID) -> OperationView:
        """Forget a pool. Raises InUse while a service uses it."""
        return OperationView.model_validate(self._transport.delete(f"/v2/instance-pool/{pool_id}"))


class AdminInstancePools:
    """/admin/v1/instance-pools and their instances"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self) -> list[admin_v1.InstancePoolView]:
        """Every pool with its members."""
        answer = self._transport.get("/admin/v1/instance-pools")
        return admin_v1.InstancePoolsView.model_validate(answer).instance_pools

    def get(self, pool_id: UUID) -> admin_v1.InstancePoolView:
        """One pool with its members. Raises NotFound."""
        return admin_v1.InstancePoolView.model_validate(self._transport.get(f"/admin/v1/instance-pools/{pool_id}"))

    def create(self, *, name: str, size: int | None = None) -> admin_v1.InstancePoolView:
        """Create a pool; without a size every member serves."""
        answer = self._transport.post("/admin/v1/instance-pools", body_of(name=name, size=size))
        return admin_v1.InstancePoolView.model_validate(answer)

    def register(
        self,
        pool_id: UUID,
        *,
        name: str,
        address: IPAddress,
        hypervisor: str,
        weight: int = 1,
        forwarding_method: ForwardingMethod | None = None,
    ) -> admin_v1.InstancePoolView:
        """Register a member; `hypervisor` is a name or an identifier. Without a method, its services' one is used."""
        body = body_of(
            name=name, address=address, hypervisor=hypervisor, weight=weight, forwarding_method=forwarding_method
        )
        answer = self._transport.post(f"/admin/v1/instance-pools/{pool_id}/instances", body)
        return admin_v1.InstancePoolView.model_validate(answer)

    def update(self, pool_id: UUID, instance_id: UUID, **given: object) -> admin_v1.InstancePoolView:
        """Change what is given: name, address, hypervisor, weight, forwarding_method, evicted."""
        answer = self._transport.put(f"/admin/v1/instance-pools/{pool_id}/instances/{instance_id}", body_of(**given))
        return admin_v1.InstancePoolView.model_validate(answer)

    def remove(
        self, pool_id: UUID, instance_id: UUID, *, drain_deadline: int | None = None
    ) -> admin_v1.InstancePoolView:
        """Take a member out of the pool; it drains first, for so many seconds at most."""
        query = "" if drain_deadline is None else f"?drain-deadline={drain_deadline}"
        answer = self._transport.delete(f"/admin/v1/instance-pools/{pool_id}/instances/{instance_id}{query}")
        return admin_v1.InstancePoolView.model_validate(answer)
