"""Steps on an LB node."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from bascule.balancing.hands import Hands
from bascule.balancing.remarks import said
from bascule.model.configurations import BalancerConfiguration, Version
from bascule.model.errors import Unavailable
from bascule.model.nodes import LBNode
from bascule.model.reports import BalancerReport


@dataclass(frozen=True, slots=True)
class Serve:
    """Put the services in place; whether the address is announced stays as it is."""

    node: LBNode
    configuration: BalancerConfiguration

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"serve {len(self.configuration.services)} services on {self.node.name}"

    async def perform(self, hands: Hands) -> BalancerReport:
        """Ask the LB agent, and believe only what it observes."""
        report = await hands.agents.put_balancer(self.node, self.configuration)
        if not report.ready:
            raise Unavailable(
                f"{self.node.name} took the services but is not ready. {said(self.node, report.problems)}"
            )
        return report


@dataclass(frozen=True, slots=True)
class Announce:
    """Draw traffic to the node."""

    node: LBNode
    configuration: BalancerConfiguration

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"announce {self.configuration.address} from {self.node.name}"

    async def perform(self, hands: Hands) -> BalancerReport:
        """Ask the LB agent, and believe only what it observes."""
        report = await hands.agents.put_balancer(self.node, self.configuration)
        if not report.announced:
            raise Unavailable(
                f"{self.node.name} does not announce {self.configuration.address}. {said(self.node, report.problems)}"
            )
        return report


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Draw no more traffic to the node; it goes on serving what still arrives."""

    node: LBNode
    configuration: BalancerConfiguration

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"withdraw {self.configuration.address} from {self.node.name}"

    async def perform(self, hands: Hands) -> BalancerReport:
        """Ask the LB agent."""
        report = await hands.agents.put_balancer(self.node, self.configuration)
        if report.announced:
            raise Unavailable(
                f"{self.node.name} still announces {self.configuration.address}. {said(self.node, report.problems)}"
            )
        return report


@dataclass(frozen=True, slots=True)
class StopServing:
    """Take the load balancer off the node."""

    node: LBNode
    load_balancer_id: UUID
    version: Version

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"stop serving on {self.node.name}"

    async def perform(self, hands: Hands) -> None:
        """Ask the LB agent."""
        await hands.agents.delete_balancer(self.node, self.load_balancer_id, self.version)
