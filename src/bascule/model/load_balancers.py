"""A load balancer is one customer's address with several services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.health_checks import HealthCheck
from bascule.model.placements import NODES_PER_LOAD_BALANCER
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod, Persistence


class LoadBalancerState(StrEnum):
    """States of the public API that we use (it also has *migrating* and *migrated*)."""

    CREATING = "creating"
    RUNNING = "running"
    DELETING = "deleting"
    ERROR = "error"


class ServiceState(StrEnum):
    """States of a service in the public API."""

    CREATING = "creating"
    RUNNING = "running"
    UPDATING = "updating"
    DELETING = "deleting"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """Protocol and port of a load balancer, spread over an instance pool."""

    id: UUID
    name: str
    description: str = ""
    protocol: Protocol
    port: int
    target_port: int
    strategy: Strategy
    hash_source_port: bool = True
    forwarding_method: ForwardingMethod = ForwardingMethod.TUNNEL
    persistence: Persistence | None = None
    instance_pool_id: UUID
    health_check: HealthCheck
    state: ServiceState = ServiceState.CREATING


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadBalancer:
    """The expected state. `generation` grows with every change a user makes to it or to a pool it uses.

    `node_count` is on how many LB nodes it shall be; `affinity` are labels that each of them must have. Load balancers
    of one `anti_affinity` group avoid each other's LB nodes; "" is no group.
    """

    id: UUID
    name: str
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    address: IPAddress
    hash_seed: int
    state: LoadBalancerState = LoadBalancerState.CREATING
    generation: int = 1
    created_at: datetime
    services: tuple[Service, ...] = ()
    node_count: int = NODES_PER_LOAD_BALANCER
    affinity: Mapping[str, str] = field(default_factory=dict)
    anti_affinity: str = ""

    @property
    def sorry_servers(self) -> frozenset[IPAddress]:
        """The addresses that its services name, whether there is an instance at them or not."""
        named = (service.health_check.sorry_server for service in self.services)
        return frozenset(address for address in named if address is not None)
