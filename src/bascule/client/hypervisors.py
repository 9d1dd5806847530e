"""Hypervisors."""

from __future__ import annotations

from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.wire.admin_v1 import HypervisorsView, HypervisorView


class Hypervisors:
    """/admin/v1/hypervisors"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self) -> list[HypervisorView]:
        """Every hypervisor, by name."""
        return HypervisorsView.model_validate(self._transport.get("/admin/v1/hypervisors")).hypervisors

    def create(self, *, name: str, agent_url: str, agent_token: str) -> HypervisorView:
        """Register a hypervisor. Raises Taken when another has the name."""
        body = body_of(name=name, agent_url=agent_url, agent_token=agent_token)
        return HypervisorView.model_validate(self._transport.post("/admin/v1/hypervisors", body))

    def update(self, hypervisor_id: UUID, **given: object) -> HypervisorView:
        """Change what is given, by the names of `create`."""
        answer = self._transport.put(f"/admin/v1/hypervisors/{hypervisor_id}", body_of(**given))
        return HypervisorView.model_validate(answer)

    def delete(self, hypervisor_id: UUID) -> None:
        """Forget a hypervisor. Raises InUse while it carries instances."""
        self._transport.delete(f"/admin/v1/hypervisors/{hypervisor_id}")
