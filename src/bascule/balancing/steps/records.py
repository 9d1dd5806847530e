"""Steps that write what is now true to the store. Each is one transaction, fenced by the lease."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from bascule.balancing.hands import Hands
from bascule.model.configurations import RulesByHypervisor
from bascule.model.load_balancers import LoadBalancerState, ServiceState
from bascule.store import given_rules, load_balancers, operations, placements, services, tombstones
from bascule.store.changes import ENTITY_KIND


@dataclass(frozen=True, slots=True)
class RecordPlacements:
    """Write down which LB nodes shall carry the load balancer, before any of them does, and which may do so still."""

    load_balancer_id: UUID
    lb_node_ids: frozenset[UUID]
    leaving: frozenset[UUID] = frozenset()

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"place on {len(self.lb_node_ids)} LB nodes"

    async def perform(self, hands: Hands) -> None:
        """Write."""
        with hands.transaction() as connection:
            placements.replace(connection, self.load_balancer_id, self.lb_node_ids, leaving=self.leaving)


@dataclass(frozen=True, slots=True)
class RecordGivenRules:
    """Write down by which rules LB nodes may send, before any of them does."""

    load_balancer_id: UUID
    rules: RulesByHypervisor

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"write down {sum(map(len, self.rules.values()))} rules before LB nodes use them"

    async def perform(self, hands: Hands) -> None:
        """Write."""
        with hands.transaction() as connection:
            given_rules.replace(connection, self.load_balancer_id, self.rules, generation=None)


@dataclass(frozen=True, slots=True)
class RecordLeft:
    """LB nodes confirmed that they carry the load balancer no more, and will obey nothing older."""

    load_balancer_id: UUID
    lb_node_ids: frozenset[UUID]

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"record that {len(self.lb_node_ids)} LB nodes are left"

    async def perform(self, hands: Hands) -> None:
        """Write."""
        with hands.transaction() as connection:
            placements.left(connection, self.load_balancer_id, self.lb_node_ids)


@dataclass(frozen=True, slots=True)
class RecordRunning:
    """Answer everybody who waits for this generation or an earlier one.

    `settled` are the rules by which LB nodes send now, and by no others; None when that did not change or is not known.
    """

    load_balancer_id: UUID
    generation: int
    message: str
    settled: RulesByHypervisor | None = None

    @property
    def title(self) -> str:
        """One line for a human."""
        return f"record generation {self.generation} as running"

    async def perform(self, hands: Hands) -> None:
        """Write; a newer generation that came meanwhile is answered by the next run."""
        with hands.transaction() as connection:
            operations.succeed_up_to(
                connection, ENTITY_KIND, self.load_balancer_id, self.generation, message=self.message
            )
            if self.settled is not None:
                given_rules.replace(connection, self.load_balancer_id, self.settled, generation=self.generation)
            current = load_balancers.find(connection, self.load_balancer_id)
            if current is not None and current.generation == self.generation:
                load_balancers.set_state(connection, self.load_balancer_id, LoadBalancerState.RUNNING)
                services.set_states(connection, self.load_balancer_id, ServiceState.RUNNING)


@dataclass(frozen=True, slots=True)
class RecordDeleted:
    """Delete the load balancer and give its address back."""

    load_balancer_id: UUID

    @property
    def title(self) -> str:
        """One line for a human."""
        return "delete the record and release the address"

    async def perform(self, hands: Hands) -> None:
        """Write."""
        with hands.transaction() as connection:
            current = load_balancers.find(connection, self.load_balancer_id)
            if current is None:
                return
            operations.succeed_up_to(connection, ENTITY_KIND, self.load_balancer_id, current.generation)
            load_balancers.delete(connection, self.load_balancer_id)
            tombstones.insert(connection, self.load_balancer_id, epoch=hands.claim.epoch, now=hands.clock.now())
