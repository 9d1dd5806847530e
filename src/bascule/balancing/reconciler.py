"""The load balancer's own orchestrator: how the library takes inventory, decides, plans and performs for it."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing.decide import decide
from bascule.balancing.events import Event
from bascule.balancing.hands import Agents, BalancingAction, Hands
from bascule.balancing.inventory import HypervisorView, Inventory, LBNodeView
from bascule.balancing.missed import Missed
from bascule.balancing.plan import plan
from bascule.balancing.reports import Reports
from bascule.model.addresses import IPAddress
from bascule.model.instance_pools import Instance
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.operations import OperationReason
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.orchestration.clock import Clock
from bascule.orchestration.fence import fenced
from bascule.orchestration.jobs import Action, Job
from bascule.orchestration.queue import Claim, Entity, Queue
from bascule.orchestration.reconciler import Decision
from bascule.store import (
    hypervisors,
    instance_pools,
    instances,
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
        self, *, database: Database, agents: Agents, clock: Clock, queue: Queue, missed: Missed | None = None
    ) -> None:
        self._database, self._agents, self._clock, self._queue = database, agents, clock, queue
        self._reports, self._missed = Reports(agents, clock), missed or Missed()

    async def inventory(self, claim: Claim) -> Inventory | None:
        """Read the store once and every agent at most once."""
        load_balancer_id = UUID(claim.entity.id)
        with self._database.read() as connection:
            load_balancer = load_balancers.find(connection, load_balancer_id)
            if load_balancer is None:
                return None
            pools = instance_pools.for_load_balancer(connection, load_balancer_id)
            placed, loads = placements.of(connection, load_balancer_id), placements.counts(connection)
            leaving = placements.leaving(connection, load_balancer_id)
            nodes, hosts = tuple(lb_nodes.list_all(connection)), tuple(hypervisors.list_all(connection))
            fallbacks = _fallbacks(connection, load_balancer)
            pending = operations.any_waiting(connection, ENTITY_KIND, load_balancer_id)
        node_reports = await self._reports.of_lb_nodes(nodes)
        host_reports = await self._reports.of_hypervisors(hosts)
        asked: tuple[LBNode | Hypervisor, ...] = (*nodes, *hosts)
        for node, report in zip(asked, (*node_reports, *host_reports), strict=True):
            if report is None:
                self._missed.add(node.id, load_balancer_id)
        return Inventory(
            load_balancer=load_balancer,
            epoch=claim.epoch,
            pools=pools,
            placements=placed,
            leaving=leaving,
            loads=loads,
            lb_nodes=tuple(_lb_node_view(load_balancer, *pair) for pair in zip(nodes, node_reports, strict=True)),
            hypervisors=tuple(_hypervisor_view(load_balancer, *pair) for pair in zip(hosts, host_reports, strict=True)),
            pending=pending,
            fallbacks=fallbacks,
        )

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
        return load_balancers.find(connection, UUID(entity.id)) is not None

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


def _fallbacks(connection: Connection, load_balancer: LoadBalancer) -> dict[IPAddress, Instance]:
    named = {service.health_check.sorry_server for service in load_balancer.services} - {None}
    found = instances.by_address(connection, [address for address in named if address is not None])
    return {instance.address: instance for instance in found}


def _lb_node_view(load_balancer: LoadBalancer, node: LBNode, report: LBNodeReport | None) -> LBNodeView:
    if report is None:
        return LBNodeView(node=node, reachable=False)
    balancers = report.load_balancers
    mine = (balancer for balancer in balancers if balancer.configuration.load_balancer_id == load_balancer.id)
    return LBNodeView(
        node=node, reachable=True, balancer=next(mine, None), runs=report.data_plane_name, problems=report.problems
    )


def _hypervisor_view(
    load_balancer: LoadBalancer, hypervisor: Hypervisor, report: HypervisorReport | None
) -> HypervisorView:
    configurations = () if report is None else report.load_balancers
    mine = (configuration for configuration in configurations if configuration.load_balancer_id == load_balancer.id)
    return HypervisorView(
        hypervisor=hypervisor,
        reachable=report is not None,
        configuration=next(mine, None),
        enforced=report is None or report.enforced,
    )
