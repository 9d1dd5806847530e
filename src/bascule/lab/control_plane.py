"""What the lab asks of its control plane, through the same public API that customers use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from uuid import UUID

from bascule.client.clients import ApiClient
from bascule.lab.state import Lab
from bascule.model.health_checks import Health
from bascule.model.strategies import Protocol
from bascule.wire.public_v2_views import LoadBalancerView


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A service to ask for."""

    name: str
    protocol: Protocol
    port: int
    target_port: int


class ControlPlane:
    """The public API of one lab. Changes return once they have come true on every node."""

    def __init__(self, lab: Lab) -> None:
        self._client = ApiClient(lab.api_url, lab.api_key, lab.api_secret)
        self._pools = {family: UUID(pool) for family, pool in lab.instance_pools.items()}
        self._check_interval = lab.shape.check_interval

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._client.__exit__(None, None, None)

    def load_balancers(self) -> list[LoadBalancerView]:
        """Every load balancer, with the health of its instances."""
        return self._client.load_balancers.list_all()

    def load_balancer(self, identifier: UUID) -> LoadBalancerView:
        """One load balancer."""
        return self._client.load_balancers.get(identifier)

    def create_load_balancer(self, name: str, family: int = 4) -> LoadBalancerView:
        """Create a load balancer without services, with an address of that family."""
        operation = self._client.load_balancers.create(name=name, addressfamily=f"inet{family}")
        self._client.wait(operation.id)
        return self.load_balancer(operation.reference.id)

    def add_service(self, load_balancer: LoadBalancerView, port: Port) -> None:
        """Add a service over the lab's instance pool of the load balancer's family."""
        often = {"interval": self._check_interval, "timeout": self._check_interval, "retries": 1}
        check = {"mode": "http", "port": port.target_port, "uri": "/healthz", **often}
        operation = self._client.services.add(
            load_balancer.id,
            name=port.name,
            protocol=port.protocol,
            port=port.port,
            target_port=port.target_port,
            instance_pool=self._pools[load_balancer.ip.version],
            healthcheck=check,
        )
        self._client.wait(operation.id)

    def delete_load_balancer(self, identifier: UUID) -> None:
        """Delete a load balancer."""
        self._client.wait(self._client.load_balancers.delete(identifier).id)

    def pool_sizes(self) -> set[int | None]:
        """How many instances of the lab's pools may serve."""
        return {self._client.instance_pools.get(pool).size for pool in self._pools.values()}

    def scale(self, size: int, *, drain_deadline: int | None = None) -> None:
        """Let so many instances of each of the lab's pools serve; the others drain, for so many seconds at most."""
        for operation in self.request_scale(size, drain_deadline=drain_deadline):
            self._client.wait(operation)

    def request_scale(self, size: int, *, drain_deadline: int | None = None) -> list[UUID]:
        """Ask for another size and do not wait; returns the operations."""
        pools = self._client.instance_pools
        return [pools.scale(pool, size, drain_deadline=drain_deadline).id for pool in self._pools.values()]


def healthy(load_balancer: LoadBalancerView, service: str) -> dict[str, bool]:
    """Which instances of a service are well, by address."""
    return {
        str(each.public_ip): each.status is Health.SUCCESS
        for found in load_balancer.services
        if found.name == service
        for each in found.healthcheck_status
    }
