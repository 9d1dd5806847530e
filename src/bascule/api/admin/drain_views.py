"""What drains, as operators see it: rows joined with what LB nodes had when the orchestrator last looked."""

from __future__ import annotations

from collections.abc import Mapping, Set
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing.drains import uses_of
from bascule.balancing.remaining import Remaining, States, Use, remaining
from bascule.model.instance_pools import Instance, InstancePool
from bascule.model.nodes import LBNode
from bascule.model.reports import BalancerState
from bascule.store import instance_pools, lb_nodes, load_balancers, node_states, placements
from bascule.store.health_statuses import FRESH_FOR
from bascule.wire.admin_v1_drains import DrainsView, InstanceDrainView, LBNodeDrainView, RemainingView


def view(connection: Connection, now: float, *, only: Set[UUID] | None = None) -> DrainsView:
    """Every drain, or those of these instances and LB nodes. `now` is seconds since the epoch."""
    nodes = lb_nodes.list_all(connection)
    return DrainsView(
        instances=[
            each
            for pool in instance_pools.list_all(connection)
            for each in _of_pool(connection, pool, {node.id: node.name for node in nodes}, now, only)
        ],
        lb_nodes=[
            _node_view(connection, node)
            for node in nodes
            if (node.drain_until is not None if only is None else node.id in only)
        ],
    )


def _of_pool(
    connection: Connection, pool: InstancePool, names: Mapping[UUID, str], now: float, only: Set[UUID] | None
) -> list[InstanceDrainView]:
    found = [
        member
        for member in pool.members
        if (only is None or member.id in only) and (member.drained or member.leaving or member.drain_until is not None)
    ]
    if not found:
        return []
    uses = uses_of(connection, pool.id)
    balancers = load_balancers.find_many(connection, sorted({use.load_balancer_id for use in uses}))
    words = {**names, **{each: balancer.name for each, balancer in balancers.items()}}
    states = _states(connection, uses, now)
    return [_instance_view(pool, member, uses, states, words) for member in found]


def _states(connection: Connection, uses: tuple[Use, ...], now: float) -> States:
    """What was seen lately."""
    found: dict[UUID, dict[UUID, BalancerState]] = {}
    for load_balancer_id in {use.load_balancer_id for use in uses}:
        for node_id, kept in node_states.of_load_balancer(connection, load_balancer_id).items():
            if now - kept.observed_at <= FRESH_FOR:
                found.setdefault(node_id, {})[load_balancer_id] = kept.state
    return found


def _instance_view(
    pool: InstancePool, member: Instance, uses: tuple[Use, ...], states: States, words: Mapping[UUID, str]
) -> InstanceDrainView:
    left = tuple(remaining(member, uses, states)) if member.drain_until is not None else ()
    counts = [each.connections for each in left if each.connections is not None]
    return InstanceDrainView(
        id=member.id,
        name=member.name,
        pool=pool.id,
        pool_name=pool.name,
        hypervisor=member.hypervisor_id,
        until=member.drain_until,
        leaving=member.leaving,
        connections=sum(counts) if counts else None,
        remaining=[_remaining_view(each, words) for each in left],
    )


def _remaining_view(each: Remaining, words: Mapping[UUID, str]) -> RemainingView:
    return RemainingView(
        lb_node=words.get(each.lb_node_id, str(each.lb_node_id)),
        load_balancer=words.get(each.load_balancer_id, str(each.load_balancer_id)),
        service=each.service.name,
        connections=each.connections,
    )


def _node_view(connection: Connection, node: LBNode) -> LBNodeDrainView:
    carried = placements.on_node(connection, node.id)
    found = (node_states.of_load_balancer(connection, each).get(node.id) for each in carried)
    states = [each.state for each in found if each is not None]
    return LBNodeDrainView(
        id=node.id,
        name=node.name,
        until=node.drain_until,
        load_balancers=len(carried),
        announced=sum(each.balancer.announced for each in states),
        packets=sum(service.traffic.packets for each in states for service in each.services),
    )
