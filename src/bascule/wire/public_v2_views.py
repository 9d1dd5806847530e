"""What the public API answers, version 2. Bodies that it is sent are in `public_v2`."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.health_checks import Health, HealthCheckMode
from bascule.model.instance_pools import InstancePoolState
from bascule.model.load_balancers import LoadBalancerState, ServiceState
from bascule.model.operations import OperationReason, OperationState
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod
from bascule.wire.fields import AddressFamily, View
from bascule.wire.health_check_options import HealthCheckOptionsView


class ReferenceView(View):
    """An object named by its identifier."""

    id: UUID


class HealthCheckView(HealthCheckOptionsView):
    """Durations are seconds."""

    mode: HealthCheckMode
    port: int
    interval: int
    timeout: int
    retries: int
    uri: str | None = None
    tls_sni: str | None = None


class ServerStatusView(View):
    """What the LB nodes say of one instance; an instance they have not checked yet is left out."""

    public_ip: IPAddress
    status: Literal[Health.SUCCESS, Health.FAILURE]

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.public_ip} {self.status}"


class PersistenceView(View):
    """How long a client stays on its instance, in seconds, and how many bits of its address tell clients apart."""

    timeout: int
    prefix_length: int | None = None

    def __str__(self) -> str:
        """As a table shows it."""
        return f"{self.timeout} s" + ("" if self.prefix_length is None else f" for each /{self.prefix_length}")


class ServiceView(View):
    """A service. What Exoscale's API does not have is left out while it has its default."""

    id: UUID
    name: str
    description: str
    state: ServiceState
    protocol: Protocol
    port: int
    target_port: int
    strategy: Strategy
    hash_source_port: bool
    forwarding_method: ForwardingMethod | None = None
    persistence: PersistenceView | None = None
    instance_pool: ReferenceView
    healthcheck: HealthCheckView
    healthcheck_status: list[ServerStatusView]


class LoadBalancerView(View):
    """A load balancer with its services. What Exoscale's API does not have is left out while it has its default."""

    id: UUID
    name: str
    description: str
    labels: dict[str, str]
    state: LoadBalancerState
    created_at: datetime
    ip: IPAddress
    services: list[ServiceView]
    node_count: int | None = None
    affinity: dict[str, str] | None = None
    anti_affinity: str | None = None


class LoadBalancersView(View):
    """Every load balancer."""

    load_balancers: list[LoadBalancerView]


class InstancePoolView(View):
    """An instance pool. `size` is left out while no member serves; an empty description is left out too."""

    id: UUID
    name: str
    description: str | None = None
    labels: dict[str, str]
    state: InstancePoolState
    size: int | None = None
    instances: list[ReferenceView]
    instance_type: ReferenceView | None = None
    template: ReferenceView | None = None
    disk_size: int | None = None


class InstancePoolsView(View):
    """Every instance pool."""

    instance_pools: list[InstancePoolView]


class ElasticIPView(View):
    """An elastic IP."""

    id: UUID
    ip: IPAddress
    addressfamily: AddressFamily
    cidr: str
    description: str
    labels: dict[str, str]


class ElasticIPsView(View):
    """Every elastic IP that a user created."""

    elastic_ips: list[ElasticIPView]


class OperationReferenceView(View):
    """What the operation is about; `command` is the call that reads it."""

    id: UUID
    link: str
    command: str


class OperationView(View):
    """What a change answers: ask for it again until its state is no longer *pending*."""

    id: UUID
    state: OperationState
    reason: OperationReason | None = None
    message: str | None = None
    reference: OperationReferenceView


class ZoneView(View):
    """The zone that this API serves."""

    name: str
    api_endpoint: str


class ZonesView(View):
    """Every zone."""

    zones: list[ZoneView]
