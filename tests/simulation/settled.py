"""Whether everything that users asked for has come true: the tables against every kernel, disk and router."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.instance_pools import InstancePool
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState, ServiceState
from bascule.model.nodes import LBNode
from bascule.model.placements import NODES_PER_LOAD_BALANCER
from bascule.store import instance_pools, load_balancers, placements
from bascule.store.database import Database
from tests.simulation.machines import LBMachine
from tests.simulation.users import Users
from tests.simulation.world import World

_OPEN = "SELECT (SELECT count(*) FROM awaited), (SELECT count(*) FROM operations WHERE state = 'pending')"
_STATES = "SELECT count(*) FROM load_balancers WHERE state != 'running'"
_DRAINING = "SELECT count(*) FROM instances WHERE drain_until IS NOT NULL OR leaving"
_MANAGED = "SELECT count(*) FROM elastic_ips WHERE managed"

Sent = frozenset[tuple[IPAddress, int, int]]


def lacking(world: World, users: Users) -> str:
    """What is not yet as it should be; empty when all is well."""
    raw = world.engines.raw
    awaited, pending = raw.execute(_OPEN).fetchone()
    if awaited or pending:
        return f"{awaited} changes are awaited, {pending} operations pending"
    if raw.execute(_STATES).fetchone()[0]:
        return "a load balancer is not running"
    for machine in world.machines:
        if not machine.answers:
            return f"{machine.name} does not answer"
    return next(_differences(world, users), "")


def _differences(world: World, users: Users) -> Iterator[str]:
    found = users.find()
    yield from (f"{noun} are not what users wrote" for noun in found if found[noun] != users.wishes[noun])
    with Database(world.engines.engine).read() as connection:
        balancers = load_balancers.list_all(connection)
        pools = {pool.id: pool for pool in instance_pools.list_all(connection)}
        placed = placements.by_node(connection)
        left = placements.by_node(connection, leaving=True)
    if world.engines.raw.execute(_DRAINING).fetchone()[0]:
        yield "an instance is draining still"
    if left:
        yield "somebody is leaving still"
    if world.engines.raw.execute(_MANAGED).fetchone()[0] != len(balancers):
        yield "an address is held by nobody"
    by_id = {balancer.id: balancer for balancer in balancers}
    for balancer in balancers:
        yield from _recorded(balancer, [world.nodes[each].node for each, ids in placed.items() if balancer.id in ids])
    for node_id, node in world.nodes.items():
        carried = [by_id[identifier] for identifier in sorted(placed.get(node_id, frozenset()))]
        yield from _on_node(node, carried, pools)
    yield from _on_hosts(world, balancers, pools)


def _recorded(balancer: LoadBalancer, nodes: list[LBNode]) -> Iterator[str]:
    if len(nodes) != NODES_PER_LOAD_BALANCER:
        yield f"{balancer.id} is on {len(nodes)} LB nodes"
    if len({node.failure_domain for node in nodes}) != len(nodes):
        yield f"{balancer.id} is in one failure domain"
    if balancer.state is not LoadBalancerState.RUNNING:
        yield f"{balancer.id} is {balancer.state}"
    if any(service.state is not ServiceState.RUNNING for service in balancer.services):
        yield f"a service of {balancer.id} is not running"


def _on_node(node: LBMachine, carried: list[LoadBalancer], pools: Mapping[UUID, InstancePool]) -> Iterator[str]:
    addresses = {balancer.address for balancer in carried}
    if {each.load_balancer_id for each in node.orders.configurations} != {balancer.id for balancer in carried}:
        yield f"{node.name} does not carry what is placed on it"
    if node.announcer.announced != addresses:
        yield f"{node.name} does not announce {addresses}"
    if node.data_plane.addresses != addresses:
        yield f"{node.name} does not hold {addresses}"
    wanted = {
        (balancer.address, service.protocol, service.port): _sent(pools[service.instance_pool_id], service.target_port)
        for balancer in carried
        for service in balancer.services
    }
    kernel = {
        (key.address, key.protocol, key.port): frozenset(
            (backend.address, backend.weight, backend.target_port) for backend in service.backends
        )
        for key, service in node.data_plane.services.items()
    }
    if kernel != wanted:
        yield f"{node.name} does not serve what is wanted"


def _sent(pool: InstancePool, target_port: int) -> Sent:
    return frozenset((member.address, member.weight, target_port) for member in pool.active)


def _on_hosts(world: World, balancers: list[LoadBalancer], pools: Mapping[UUID, InstancePool]) -> Iterator[str]:
    wanted: dict[UUID, set[ForwardingRule]] = {host_id: set() for host_id in world.hosts}
    for balancer in balancers:
        for service in balancer.services:
            for member in pools[service.instance_pool_id].active:
                rule = ForwardingRule(
                    balancer.address, service.protocol, service.port, member.address, service.target_port
                )
                wanted[member.hypervisor_id].add(rule)
    for host_id, host in world.hosts.items():
        if host.forwarding.rules != wanted[host_id]:
            yield f"{host.name} does not have the rules that are wanted"
