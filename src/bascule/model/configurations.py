"""What the control plane tells an agent: the desired state of one load balancer on one node.

Every configuration carries an epoch (of the worker's lease) and a generation (of the expected state). An agent refuses
one that is older than what it already obeys: that fences a worker that lost its lease and a message that came late.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from uuid import UUID

from bascule.model.addresses import IPAddress, address_order
from bascule.model.health_checks import HealthCheck
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ForwardingMethod, Persistence


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Orders commands: a later lease beats an earlier one; within a lease a later generation beats an earlier one.

    `step` orders the commands of one job to one node: a copy of the first that comes after the second is refused.
    """

    epoch: int
    generation: int
    step: int = 0

    @property
    def next(self) -> Version:
        """Of the command that follows in the same job."""
        return Version(self.epoch, self.generation, self.step + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One instance of a service. Weight 0 keeps its connections and gives it no new ones.

    `hypervisor_id` is the hypervisor that had the rules for it when it was sent here; None where none is needed.
    """

    instance_id: UUID
    address: IPAddress
    weight: int = 1
    method: ForwardingMethod = ForwardingMethod.TUNNEL
    hypervisor_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceConfiguration:
    """One service as an LB node carries it. `sorry_method` is how its sorry server is reached."""

    id: UUID
    protocol: Protocol
    port: int
    target_port: int
    strategy: Strategy
    hash_source_port: bool = True
    health_check: HealthCheck
    persistence: Persistence | None = None
    sorry_method: ForwardingMethod = ForwardingMethod.TUNNEL
    backends: tuple[Backend, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerConfiguration:
    """One load balancer as an LB node carries it. `hash_seed` is the same on every node, and secret."""

    load_balancer_id: UUID
    version: Version
    address: IPAddress
    hash_seed: int = field(repr=False)
    announced: bool
    services: tuple[ServiceConfiguration, ...] = ()


@dataclass(frozen=True, slots=True)
class ForwardingRule:
    """On a hypervisor: what comes through the tunnel for `address:port` goes to `instance:target_port`."""

    address: IPAddress
    protocol: Protocol
    port: int
    instance: IPAddress
    target_port: int

    def __lt__(self, other: ForwardingRule) -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[tuple[int, int], Protocol, int, tuple[int, int], int]:
        return address_order(self.address), self.protocol, self.port, address_order(self.instance), self.target_port


RulesByHypervisor: TypeAlias = Mapping[UUID, frozenset[ForwardingRule]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingConfiguration:
    """One load balancer as a hypervisor carries it."""

    load_balancer_id: UUID
    version: Version
    rules: tuple[ForwardingRule, ...] = ()
