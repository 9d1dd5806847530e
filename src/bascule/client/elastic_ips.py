"""Elastic IPs."""

from __future__ import annotations

from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.model.addresses import IPAddress
from bascule.wire.public_v2_views import ElasticIPsView, ElasticIPView, OperationView


class ElasticIPs:
    """/v2/elastic-ip"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self) -> list[ElasticIPView]:
        """Every elastic IP that a user created, oldest first."""
        return ElasticIPsView.model_validate(self._transport.get("/v2/elastic-ip")).elastic_ips

    def get(self, elastic_ip_id: UUID) -> ElasticIPView:
        """One elastic IP. Raises NotFound."""
        return ElasticIPView.model_validate(self._transport.get(f"/v2/elastic-ip/{elastic_ip_id}"))

    def create(
        self,
        *,
        ip: IPAddress | None = None,
        description: str | None = None,
        addressfamily: str | None = None,
    ) -> OperationView:
        """Hold an address: the one given, or the lowest free one. Raises Taken or Exhausted."""
        return OperationView.model_validate(
            self._transport.post("/v2/elastic-ip", body_of(ip=ip, description=description, addressfamily=addressfamily))
        )

    def delete(self, elastic_ip_id: UUID) -> OperationView:
        """Let go of an address. Raises InUse while a load balancer uses it."""
        return OperationView.model_validate(self._transport.delete(f"/v2/elastic-ip/{elastic_ip_id}"))
