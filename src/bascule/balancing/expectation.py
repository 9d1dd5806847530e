"""What the store expects of several load balancers, read in a fixed number of queries, and joined with reports.

Workers, the sweep, the auditor and plans all look through this: there is no other derivation of an inventory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing.inventory import HypervisorView, Inventory, LBNodeView, Neighbour
from bascule.balancing.reports import Seen
from bascule.model.addresses import IPAddress
from bascule.model.configurations import RulesByHypervisor
from bascule.model.instance_pools import Instance, InstancePool
from bascule.model.load_balancers import LoadBalancer
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.store import given_rules, instance_pools, instances, jobs, lb_nodes, load_balancers, operations, placements
from bascule.store.changes import ENTITY_KIND

Fleet = tuple[
    Sequence[tuple[LBNode, Seen[LBNodeReport]]],
    Sequence[tuple[Hypervisor, Seen[HypervisorReport]]],
]
"""Every LB node and every hypervisor, each with what its agent said last."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """`leaving` are the LB nodes that were placed and have not confirmed since that they carry nothing.

    `pending` are the load balancers that operations wait for; `fallbacks` the sorry servers that exist; `unanswered`
    the epochs of last jobs that did not end well; `given` the rules by which LB nodes may send, of those load balancers
    where these may be others than expected; `lost` the LB nodes that were silent for so long that others shall replace
    them; `groups` all load balancers of the anti-affinity groups that these are in.
    """

    load_balancers: Mapping[UUID, LoadBalancer]
    pools: Mapping[UUID, InstancePool]
    placements: Mapping[UUID, frozenset[UUID]]
    leaving: Mapping[UUID, frozenset[UUID]]
    fallbacks: Mapping[IPAddress, Instance]
    pending: Set[UUID]
    unanswered: Mapping[UUID, int]
    given: Mapping[UUID, RulesByHypervisor]
    lost: frozenset[UUID]
    groups: Mapping[str, Sequence[Neighbour]]


def read(connection: Connection, load_balancer_ids: Sequence[UUID]) -> Expectation:
    """The rows of these load balancers; those that are gone are left out."""
    found = load_balancers.find_many(connection, load_balancer_ids)
    placed, leaving = placements.of_many(connection, load_balancer_ids)
    return Expectation(
        load_balancers=found,
        pools=instance_pools.for_load_balancers(connection, load_balancer_ids),
        placements=placed,
        leaving=leaving,
        fallbacks=_fallbacks(connection, found.values()),
        pending=operations.waiting_among(connection, ENTITY_KIND, load_balancer_ids),
        unanswered=_unanswered(connection, load_balancer_ids),
        given=given_rules.unsettled(connection, load_balancer_ids),
        lost=lb_nodes.lost(connection),
        groups=_groups(connection, found.values()),
    )


def _groups(connection: Connection, found: Iterable[LoadBalancer]) -> dict[str, list[Neighbour]]:
    names = {each.anti_affinity for each in found} - {""}
    members = load_balancers.in_groups(connection, names) if names else []
    placed, _ = placements.of_many(connection, [each for each, _, _ in members]) if members else ({}, {})
    groups: dict[str, list[Neighbour]] = {}
    for load_balancer_id, name, group in members:
        nodes = placed.get(load_balancer_id, frozenset())
        groups.setdefault(group, []).append(Neighbour(load_balancer_id=load_balancer_id, name=name, nodes=nodes))
    return groups


def neighbours(connection: Connection, load_balancer: LoadBalancer) -> tuple[Neighbour, ...]:
    """The others of its anti-affinity group."""
    return _others(load_balancer, _groups(connection, [load_balancer]))


def _others(load_balancer: LoadBalancer, groups: Mapping[str, Sequence[Neighbour]]) -> tuple[Neighbour, ...]:
    members = groups.get(load_balancer.anti_affinity, ())
    return tuple(each for each in members if each.load_balancer_id != load_balancer.id)


def _unanswered(connection: Connection, load_balancer_ids: Sequence[UUID]) -> dict[UUID, int]:
    found = jobs.unanswered(connection, ENTITY_KIND, [str(each) for each in load_balancer_ids])
    return {UUID(each): epoch for each, epoch in found.items()}


def _fallbacks(connection: Connection, found: Iterable[LoadBalancer]) -> dict[IPAddress, Instance]:
    wanted = {address for each in found for address in each.sorry_servers}
    return {each.address: each for each in instances.by_address(connection, list(wanted))} if wanted else {}


def inventory(
    expectation: Expectation, fleet: Fleet, load_balancer_id: UUID, *, epoch: int, loads: Mapping[UUID, int]
) -> Inventory:
    """Everything about one load balancer that is not gone. Hypervisors that it does not touch are left out."""
    load_balancer = expectation.load_balancers[load_balancer_id]
    nodes, hosts = fleet
    needed, given = _hosts_of(load_balancer, expectation), expectation.given.get(load_balancer_id, {})
    return Inventory(
        load_balancer=load_balancer,
        epoch=epoch,
        pools=expectation.pools,
        placements=expectation.placements.get(load_balancer_id, frozenset()),
        leaving=expectation.leaving.get(load_balancer_id, frozenset()),
        loads=loads,
        lb_nodes=tuple(_lb_node_view(load_balancer_id, node, seen) for node, seen in nodes),
        hypervisors=tuple(
            _hypervisor_view(load_balancer_id, host, seen)
            for host, seen in hosts
            if host.id in needed or host.id in given or load_balancer_id in seen.forwarding
        ),
        pending=load_balancer_id in expectation.pending,
        fallbacks=expectation.fallbacks,
        unanswered=expectation.unanswered.get(load_balancer_id, 0),
        given=expectation.given.get(load_balancer_id),
        lost=expectation.lost,
        neighbours=_others(load_balancer, expectation.groups),
    )


def _hosts_of(load_balancer: LoadBalancer, expectation: Expectation) -> set[UUID]:
    """The hypervisors of all instances that may serve it."""
    pools = (expectation.pools[service.instance_pool_id] for service in load_balancer.services)
    found = {place for pool in pools for member in pool.members for place in member.places}
    sorry = load_balancer.sorry_servers & expectation.fallbacks.keys()
    return found | {place for address in sorry for place in expectation.fallbacks[address].places}


def _lb_node_view(load_balancer_id: UUID, node: LBNode, seen: Seen[LBNodeReport]) -> LBNodeView:
    report = seen.report
    if report is None:
        return LBNodeView(node=node, reachable=False)
    return LBNodeView(
        node=node,
        reachable=True,
        balancer=seen.balancers.get(load_balancer_id),
        runs=report.data_plane_name,
        problems=report.problems,
    )


def _hypervisor_view(load_balancer_id: UUID, host: Hypervisor, seen: Seen[HypervisorReport]) -> HypervisorView:
    report = seen.report
    return HypervisorView(
        hypervisor=host,
        reachable=report is not None,
        configuration=seen.forwarding.get(load_balancer_id),
        enforced=report is None or report.enforced,
    )
