"""What steps act with: the agents, the store and the clock, behind small interfaces."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from sqlalchemy import Connection

from bascule.clock import Clock
from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration, Version
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport
from bascule.orchestration.claims import Claim


class Agents(Protocol):
    """The agents of all nodes. Every method raises Unavailable when the agent does not answer in time."""

    async def lb_node_report(self, node: LBNode) -> LBNodeReport:
        """All the LB agent knows."""

    async def put_balancer(self, node: LBNode, configuration: BalancerConfiguration) -> BalancerReport:
        """Serve (and announce, if the configuration says so). Raises StaleCommand when fenced."""

    async def delete_balancer(self, node: LBNode, load_balancer_id: UUID, version: Version) -> None:
        """Withdraw and remove. Raises StaleCommand when fenced."""

    async def hypervisor_report(self, hypervisor: Hypervisor) -> HypervisorReport:
        """All the hypervisor agent knows."""

    async def put_forwarding(self, hypervisor: Hypervisor, configuration: ForwardingConfiguration) -> None:
        """Forward by exactly these rules. Raises StaleCommand when fenced."""

    async def delete_forwarding(self, hypervisor: Hypervisor, load_balancer_id: UUID, version: Version) -> None:
        """Forward nothing for this load balancer. Raises StaleCommand when fenced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands:
    """What a step acts with. `transaction` opens a fenced transaction: it raises LeaseLost when the lease is gone."""

    claim: Claim
    agents: Agents
    clock: Clock
    transaction: Callable[[], AbstractContextManager[Connection]]


class BalancingAction(Protocol):
    """A step of a load balancer's job tree."""

    @property
    def title(self) -> str:
        """One line for a human."""

    async def perform(self, hands: Hands) -> object:
        """Do it; doing it twice is doing it once. Returns what was observed, for the record."""
