"""Steps on a hypervisor."""

from __future__ import annotations

from dataclasses import dataclass

from bascule.balancing.hands import Hands
from bascule.model.configurations import ForwardingConfiguration
from bascule.model.nodes import Hypervisor


@dataclass(frozen=True, slots=True)
class ApplyForwarding:
    """Give a hypervisor exactly these rules; none removes the load balancer from it."""

    hypervisor: Hypervisor
    configuration: ForwardingConfiguration

    @property
    def title(self) -> str:
        """One line for a human."""
        if not self.configuration.rules:
            return f"remove every rule from {self.hypervisor.name}"
        return f"apply {len(self.configuration.rules)} rules on {self.hypervisor.name}"

    async def perform(self, hands: Hands) -> None:
        """Ask the hypervisor agent."""
        configuration = self.configuration
        if configuration.rules:
            await hands.agents.put_forwarding(self.hypervisor, configuration)
        else:
            await hands.agents.delete_forwarding(self.hypervisor, configuration.load_balancer_id, configuration.version)
