"""What the store expects at one moment, beside what agents reported: an inventory of each load balancer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing.inventory import HypervisorView, Inventory, LBNodeView
from bascule.balancing.strays import carried
from bascule.events.messages import NodeReport
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingConfiguration
from bascule.model.instance_pools import Instance, InstancePool
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import BalancerReport
from bascule.store import hypervisors, instance_pools, jobs, lb_nodes, load_balancers, placements, tombstones
from bascule.store.jobs import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectations:
    """`unsettled` are load balancers that changed since the oldest report was taken, or are about to."""

    load_balancers: tuple[LoadBalancer, ...]
    pools: Mapping[UUID, InstancePool]
    placed: Mapping[UUID, frozenset[UUID]]
    nodes: tuple[LBNode, ...]
    hosts: tuple[Hypervisor, ...]
    epochs: Mapping[UUID, int]
    unsettled: frozenset[UUID]
    gone: frozenset[UUID]

    @property
    def machines(self) -> tuple[LBNode | Hypervisor, ...]:
        """Whoever runs an agent."""
        return (*self.nodes, *self.hosts)

    @property
    def known(self) -> frozenset[UUID]:
        """Every load balancer that has a row."""
        return frozenset(load_balancer.id for load_balancer in self.load_balancers)


def expect(connection: Connection, reports: Mapping[UUID, NodeReport], now: float) -> Expectations:
    """Read it in as many queries as there are tables. `now` is seconds since the epoch."""
    found = tuple(load_balancers.list_all(connection))
    by_node = placements.by_node(connection)
    placed: dict[UUID, set[UUID]] = {}
    for node_id, load_balancer_ids in by_node.items():
        for load_balancer_id in load_balancer_ids:
            placed.setdefault(load_balancer_id, set()).add(node_id)
    queue = jobs.queue(connection)
    oldest = min((report.at for report in reports.values()), default=now)
    strangers = {one for report in reports.values() for one in carried_by(report)} - {each.id for each in found}
    deleting = {each.id for each in found if each.state is LoadBalancerState.DELETING}
    touched = {UUID(entity_id) for entity_id in jobs.touched_since(connection, oldest)}
    return Expectations(
        load_balancers=found,
        pools={pool.id: pool for pool in instance_pools.list_all(connection)},
        placed={load_balancer_id: frozenset(nodes) for load_balancer_id, nodes in placed.items()},
        nodes=tuple(lb_nodes.list_all(connection)),
        hosts=tuple(hypervisors.list_all(connection)),
        epochs={UUID(row["entity_id"]): row["epoch"] for row in queue},
        unsettled=frozenset(deleting | touched | {UUID(row["entity_id"]) for row in queue if _is_due(row, now)}),
        gone=frozenset(tombstones.epochs(connection, frozenset(strangers))),
    )


def _is_due(row: Fields, now: float) -> bool:
    """In somebody's hand, or soon to be. One that keeps failing is not: what it lacks meanwhile is to be seen."""
    return row["lease_holder"] is not None or bool(row["waiting"] and row["due_at"] <= now and not row["attempts"])


def inventories(expected: Expectations, reports: Mapping[UUID, NodeReport]) -> Iterator[Inventory]:
    """One for each load balancer that is settled, with the machines that have or should have something of it. Pure.

    A machine without a report counts as silent.
    """
    everybody = {member.address: member for pool in expected.pools.values() for member in pool.members}
    balancers, forwardings = _balancers(reports), _forwardings(reports)
    nodes, hosts = {node.id: node for node in expected.nodes}, {host.id: host for host in expected.hosts}
    for load_balancer in expected.load_balancers:
        if load_balancer.id in expected.unsettled:
            continue
        fallbacks = _fallbacks(load_balancer, everybody)
        placed = expected.placed.get(load_balancer.id, frozenset())
        on_nodes, on_hosts = balancers.get(load_balancer.id, {}), forwardings.get(load_balancer.id, {})
        homes = _homes(load_balancer, expected, fallbacks)
        yield Inventory(
            load_balancer=load_balancer,
            epoch=expected.epochs.get(load_balancer.id, 0),
            pools=expected.pools,
            placements=placed,
            loads={},
            lb_nodes=tuple(
                LBNodeView(node=nodes[each], reachable=each in reports, balancer=on_nodes.get(each))
                for each in sorted(nodes.keys() & (placed | on_nodes.keys()))
            ),
            hypervisors=tuple(
                HypervisorView(hypervisor=hosts[each], reachable=each in reports, configuration=on_hosts.get(each))
                for each in sorted(hosts.keys() & (homes | on_hosts.keys()))
            ),
            fallbacks=fallbacks,
        )


def _homes(
    load_balancer: LoadBalancer, expected: Expectations, fallbacks: Mapping[IPAddress, Instance]
) -> frozenset[UUID]:
    """The hypervisors of whoever may serve."""
    pools = (expected.pools[service.instance_pool_id] for service in load_balancer.services)
    members = (member for pool in pools for member in pool.members)
    return frozenset(member.hypervisor_id for member in (*members, *fallbacks.values()))


def _balancers(reports: Mapping[UUID, NodeReport]) -> dict[UUID, dict[UUID, BalancerReport]]:
    """By load balancer, then by LB node."""
    found: dict[UUID, dict[UUID, BalancerReport]] = {}
    for node_id, report in reports.items():
        for balancer in () if report.lb_node is None else report.lb_node.load_balancers:
            found.setdefault(balancer.configuration.load_balancer_id, {})[node_id] = balancer
    return found


def _forwardings(reports: Mapping[UUID, NodeReport]) -> dict[UUID, dict[UUID, ForwardingConfiguration]]:
    """By load balancer, then by hypervisor."""
    found: dict[UUID, dict[UUID, ForwardingConfiguration]] = {}
    for node_id, report in reports.items():
        for configuration in () if report.hypervisor is None else report.hypervisor.load_balancers:
            found.setdefault(configuration.load_balancer_id, {})[node_id] = configuration
    return found


def _fallbacks(load_balancer: LoadBalancer, everybody: Mapping[IPAddress, Instance]) -> dict[IPAddress, Instance]:
    named = {service.health_check.sorry_server for service in load_balancer.services}
    return {address: everybody[address] for address in named if address is not None and address in everybody}


def carried_by(report: NodeReport) -> frozenset[UUID]:
    """The load balancers of which a node has something. Pure."""
    return frozenset(carried(report.lb_node or report.hypervisor))
