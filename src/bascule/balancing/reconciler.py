"""The load balancer's own orchestrator: how the library takes inventory, decides, plans and performs for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import cast
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing import expectation
from bascule.balancing.comparison import differing
from bascule.balancing.decide import decide
from bascule.balancing.events import Event
from bascule.balancing.expectation import Fleet
from bascule.balancing.hands import Agents, BalancingAction, Hands
from bascule.balancing.inventory import Inventory
from bascule.balancing.missed import Missed
from bascule.balancing.noted_agents import NotedAgents
from bascule.balancing.plan import plan
from bascule.balancing.reports import Reports
from bascule.clock import Clock
from bascule.model.load_balancers import LoadBalancerState
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.operations import OperationReason
from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.fence import fenced
from bascule.orchestration.jobs import Action, Job
from bascule.orchestration.queue import Queue
from bascule.orchestration.reconciler import Decision
from bascule.store import (
    hypervisors,
    lb_nodes,
    load_balancers,
    operations,
    placements,
)
from bascule.store.changes import ENTITY_KIND
from bascule.store.database import Database


class LoadBalancerReconciler:
    """Implements `bascule.orchestration.reconciler.Reconciler` for entities of kind "load-balancer"."""

    kind = ENTITY_KIND

    def __init__(
        self,
        *,
        database: Database,
        agents: Agents,
        clock: Clock,
        queue: Queue,
        reports: Reports | None = None,
        missed: Missed | None = None,
    ) -> None:
        """`reports` and `missed` may be shared with a watch, which then knows what this one has done."""
        self._reports = Reports(agents, clock) if reports is None else reports
        self._missed = Missed() if missed is None else missed
        self._database, self._clock, self._queue = database, clock, queue
        self._agents = NotedAgents(agents, self._reports.commanded)

    async def inventory(self, claim: Claim) -> Inventory | None:
        """Read the store once and every agent at most once, after the claim."""
        load_balancer_id = UUID(claim.entity.id)
        with self._database.read() as connection:
            found = expectation.read(connection, [load_balancer_id])
            if load_balancer_id not in found.load_balancers:
                return None
            nodes, hosts = lb_nodes.list_all(connection), hypervisors.list_all(connection)
        fleet = await self._fleet(nodes, hosts)
        self._note_silence(fleet, [load_balancer_id])
        # Last: nobody else in this process gets a turn until what is decided is recorded, and spreads are even.
        with self._database.read() as connection:
            loads = placements.loads(connection)
        return expectation.inventory(found, fleet, load_balancer_id, epoch=claim.epoch, loads=loads)

    async def settled(self, entities: Sequence[Entity]) -> frozenset[Entity]:
        """Those that are as they should be: all rows in a fixed number of queries, every agent asked at most once."""
        asked = {UUID(entity.id): entity for entity in entities}
        with self._database.read() as connection:
            found = expectation.read(connection, list(asked))
            nodes, hosts = lb_nodes.list_all(connection), hypervisors.list_all(connection)
        fleet = await self._fleet(nodes, hosts)
        well = found.load_balancers.keys() - {each for each, _ in differing(found, fleet, list(asked))}
        self._note_silence(fleet, well)
        return frozenset(asked[each] for each in well)

    async def _fleet(self, nodes: Sequence[LBNode], hosts: Sequence[Hypervisor]) -> Fleet:
        node_reports = await self._reports.of_lb_nodes(nodes)
        host_reports = await self._reports.of_hypervisors(hosts)
        return tuple(zip(nodes, node_reports, strict=True)), tuple(zip(hosts, host_reports, strict=True))

    def _note_silence(self, fleet: Fleet, load_balancer_ids: Iterable[UUID]) -> None:
        """Whoever does not answer now is asked again as soon as it does."""
        silent = [node.id for node, seen in fleet[0] if seen.report is None]
        silent += [host.id for host, seen in fleet[1] if seen.report is None]
        for load_balancer_id in load_balancer_ids if silent else ():
            for node_id in silent:
                self._missed.add(node_id, load_balancer_id)

    def decide(self, inventory: Inventory) -> Decision[Event]:
        """Pure: see `bascule.balancing.decide`."""
        return decide(inventory)

    def plan(self, event: Event) -> Job:
        """Pure: see `bascule.balancing.plan`."""
        return plan(event)

    async def perform(self, claim: Claim, action: Action) -> object:
        """Let the step act, with transactions that the lease fences. Returns what the step observed."""
        hands = Hands(
            claim=claim,
            agents=self._agents,
            clock=self._clock,
            transaction=lambda: fenced(self._database.write, self._queue, claim),
        )
        return await cast("BalancingAction", action).perform(hands)

    def exists(self, connection: Connection, entity: Entity) -> bool:
        """Whether its row is there."""
        return load_balancers.exists(connection, UUID(entity.id))

    def gave_up(self, connection: Connection, claim: Claim, error: str) -> None:
        """Tell those who wait; the load balancer shows *error* until it is well again."""
        load_balancer = load_balancers.find(connection, UUID(claim.entity.id))
        if load_balancer is None:
            return
        operations.fail(
            connection,
            ENTITY_KIND,
            load_balancer.id,
            load_balancer.generation,
            reason=OperationReason.UNAVAILABLE,
            message=error,
        )
        if load_balancer.state is not LoadBalancerState.DELETING:
            load_balancers.set_state(connection, load_balancer.id, LoadBalancerState.ERROR)
