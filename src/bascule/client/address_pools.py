"""Address pools."""

from __future__ import annotations

from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.model.addresses import IPNetwork
from bascule.wire.admin_v1 import AddressPoolsView, AddressPoolView


class AddressPools:
    """/admin/v1/address-pools"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self) -> list[AddressPoolView]:
        """Every address pool, by name."""
        return AddressPoolsView.model_validate(self._transport.get("/admin/v1/address-pools")).address_pools

    def create(self, *, name: str, network: IPNetwork) -> AddressPoolView:
        """Register a range. Raises Taken when it overlaps with another or the name is taken."""
        answer = self._transport.post("/admin/v1/address-pools", body_of(name=name, network=network))
        return AddressPoolView.model_validate(answer)

    def delete(self, pool_id: UUID) -> None:
        """Forget a range. Raises InUse while one of its addresses is in use."""
        self._transport.delete(f"/admin/v1/address-pools/{pool_id}")
