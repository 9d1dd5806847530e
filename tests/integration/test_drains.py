"""Drains from the request to the end, over a real database, with agents in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from uuid import UUID

import pytest_asyncio

from bascule.api.admin import drains, lb_nodes, load_balancers
from bascule.api.admin import instances as instance_routes
from bascule.api.context import Context
from bascule.balancing.quiet import QUIET_FOR
from bascule.model.configurations import ServiceConfiguration
from bascule.model.instance_pools import Instance
from bascule.model.nodes import LBNode
from bascule.model.reports import DataPlaneReport, Traffic, VirtualBackendReport, VirtualServiceReport
from bascule.model.virtual_services import ServiceKey
from bascule.store import instance_pools, placements
from bascule.wire.admin_v1 import LBNodeUpdate, Reconcile
from bascule.wire.admin_v1_drains import Drain, DrainsView, Undrain
from tests.integration.test_orchestrator import HOSTS, NODES, ControlPlane, control

__all__ = ["control"]
LB1, LB2 = NODES


@dataclass
class Centre:
    """A load balancer over three instances on two LB nodes, and its operators."""

    control: ControlPlane
    load_balancer_id: UUID

    @property
    def context(self) -> Context:
        """What routes need."""
        database, clock = self.control.database, self.control.clock
        return Context(database=database, clock=clock, admin_token="", zone="", public_url="", new_hash_seed=lambda: 1)

    def member(self, number: int) -> Instance:
        """One of the pool's."""
        with self.control.database.read() as connection:
            return instance_pools.get(connection, self.control.pool_id).members[number]

    def service(self, node: LBNode = LB1) -> ServiceConfiguration:
        """As an LB node was told."""

        return self.control.agents.node(node.id).balancers[self.load_balancer_id].services[0]

    def weights(self, node: LBNode = LB1) -> list[int]:
        """Of all instances that an LB node was told of."""
        return [backend.weight for backend in self.service(node).backends]

    def rules(self) -> int:
        """On all hypervisors."""
        found = (self.control.agents.node(host.id).forwarding.get(self.load_balancer_id) for host in HOSTS)
        return sum(len(each.rules) for each in found if each is not None)

    def count(self, left: Mapping[LBNode, int | None], packets: int = 0) -> None:
        """Have LB nodes report so many connections of backends with weight 0; None is not known."""
        for node, connections in left.items():
            machine = self.control.agents.node(node.id)
            configuration = machine.balancers[self.load_balancer_id]
            (service,) = configuration.services
            machine.data_plane = DataPlaneReport(
                services=(
                    VirtualServiceReport(
                        key=ServiceKey(configuration.address, service.protocol, service.port),
                        traffic=Traffic(packets=packets),
                        backends=tuple(
                            VirtualBackendReport(
                                address=each.address,
                                weight=each.weight,
                                remaining=None if each.weight else connections,
                            )
                            for each in service.backends
                        ),
                    ),
                )
            )

    async def look(self) -> None:
        """A new orchestrator looks once, and does what is due."""
        await self.control.watch().run_once()
        await self.control.settle()

    def drain(self, number: int, deadline: int | None = None) -> DrainsView:
        """An operator drains an instance."""
        body = Drain() if deadline is None else Drain(deadline=deadline)
        return drains.drain_instance(self.context, self.control.pool_id, self.member(number).id, body)


@pytest_asyncio.fixture
async def centre(control: ControlPlane) -> AsyncIterator[Centre]:
    """All of it serves."""
    load_balancer_id = await control.settled_load_balancer()
    yield Centre(control, load_balancer_id)


async def test_a_draining_instance_keeps_its_rules_until_no_connection_is_left(centre: Centre) -> None:
    """With weight 0 on every LB node; it goes when the last of them has counted none, and its rules go after that."""
    centre.drain(0)
    await centre.control.settle()
    assert centre.weights(LB1) == centre.weights(LB2) == [0, 1, 1]
    counted: tuple[dict[LBNode, int | None], ...] = ({LB1: 2, LB2: 1}, {LB1: 0, LB2: 1}, {LB1: 0, LB2: None})
    for left in counted:
        centre.count(left)
        await centre.look()
        assert (centre.weights(), centre.rules()) == ([0, 1, 1], 3)
    centre.count({LB1: 0, LB2: 0})
    await centre.look()
    assert (centre.weights(LB1), centre.weights(LB2), centre.rules()) == ([1, 1], [1, 1], 2)
    assert (centre.member(0).drained, centre.member(0).drain_until) == (True, None)


async def test_the_deadline_ends_what_nobody_can_count(centre: Centre) -> None:
    """An LB node that does not answer, or that counts nothing, never says that nothing is left: then time decides."""
    centre.drain(0, deadline=100)
    await centre.control.settle()
    centre.count({LB1: 0, LB2: 0})
    centre.control.agents.node(LB2.id).reachable = False
    await centre.look()
    assert centre.rules() == 3
    centre.control.clock.ahead += 101
    await centre.look()
    assert centre.weights(LB1) == [1, 1]
    assert centre.rules() == 3, "the silent one may send to it still"
    centre.control.agents.node(LB2.id).reachable = True
    await centre.look()
    assert (centre.weights(LB2), centre.rules()) == ([1, 1], 2)


async def test_before_a_node_has_obeyed_nothing_counts_as_empty(centre: Centre) -> None:
    """It may give the instance new connections yet."""
    centre.count({LB1: 0, LB2: 0})
    centre.drain(0)
    await centre.control.watch().run_once()
    assert centre.member(0).drain_until is not None


async def test_undone_in_time_or_after_the_deadline_the_instance_serves_as_before(centre: Centre) -> None:
    """Its weight is back, its rules are; the deadline that was has no more say."""
    for late in (False, True):
        centre.drain(0, deadline=100)
        await centre.look()
        centre.control.clock.ahead += 101 if late else 50
        if late:
            await centre.look()
            assert centre.rules() == 2
        drains.undrain_instance(centre.context, centre.control.pool_id, centre.member(0).id, Undrain())
        await centre.look()
        centre.control.clock.ahead += 101
        await centre.look()
        assert (centre.weights(), centre.rules()) == ([1, 1, 1], 3)


async def test_a_drain_asked_for_anew_goes_by_the_new_deadline(centre: Centre) -> None:
    """Also by an orchestrator that read the old one."""
    centre.drain(0, deadline=100)
    await centre.look()
    centre.drain(0, deadline=1000)
    centre.control.clock.ahead += 500
    await centre.look()
    assert centre.rules() == 3
    centre.control.clock.ahead += 600
    await centre.look()
    assert centre.rules() == 2


async def test_the_last_instance_drains_like_any_other(centre: Centre) -> None:
    """No instance takes new connections; those that there are stay until the deadline."""
    drains.drain_instance_pool(centre.context, centre.control.pool_id, Drain(deadline=100))
    await centre.look()
    assert (centre.weights(), centre.rules()) == ([0, 0, 0], 3)
    centre.control.clock.ahead += 101
    await centre.look()
    assert (centre.weights(), centre.rules()) == ([], 0)
    drains.undrain_instance_pool(centre.context, centre.control.pool_id, Undrain())
    await centre.look()
    assert (centre.weights(), centre.rules()) == ([1, 1, 1], 3)


async def test_a_hypervisor_drains_whatever_is_on_it(centre: Centre) -> None:
    """Its instances alone, and they come back together."""
    drains.drain_hypervisor(centre.context, HOSTS[0].id, Drain())
    await centre.look()
    assert sorted(centre.weights()) == [0, 0, 1]
    centre.count({LB1: 0, LB2: 0})
    await centre.look()
    assert centre.control.agents.node(HOSTS[0].id).forwarding == {}
    drains.undrain_hypervisor(centre.context, HOSTS[0].id, Undrain())
    await centre.look()
    assert (centre.weights(), centre.rules()) == ([1, 1, 1], 3)


async def test_a_removed_instance_is_forgotten_when_it_is_empty(centre: Centre) -> None:
    """Its row too."""
    instance_routes.delete_instance(centre.context, centre.control.pool_id, centre.member(2).id)
    await centre.look()
    assert (centre.weights(), centre.rules()) == ([1, 1, 0], 3)
    centre.count({LB1: 0, LB2: 0})
    await centre.look()
    assert (centre.weights(), centre.rules()) == ([1, 1], 2)
    with centre.control.database.read() as connection:
        assert len(instance_pools.get(connection, centre.control.pool_id).members) == 2


async def test_remaining_connections_are_shown_by_lb_node(centre: Centre) -> None:
    """As the watch wrote them down; what a node does not know is left open."""
    centre.drain(0)
    await centre.control.settle()
    centre.count({LB1: 7, LB2: None})
    await centre.control.watch().run_once()
    (found,) = drains.list_drains(centre.context).instances
    assert found.connections == 7
    assert {each.lb_node: each.connections for each in found.remaining} == {"lb1": 7, "lb2": None}


async def test_an_lb_node_withdraws_waits_and_stops(centre: Centre) -> None:
    """It serves what still comes, as everybody else does, until no packets have come for some seconds."""
    drains.drain_lb_node(centre.context, LB1.id, Drain(deadline=1000))
    watch = centre.control.watch()
    await centre.control.settle()
    assert _announced(centre) == (False, True)
    centre.drain(0)  # a change meanwhile
    await centre.control.settle()
    assert centre.weights(LB1) == [0, 1, 1]
    for packets in (0, 500, 1000):
        centre.count({LB1: 1, LB2: 1}, packets=packets)
        await watch.run_once()
        await centre.control.settle()
        centre.control.clock.ahead += QUIET_FOR
    assert centre.load_balancer_id in centre.control.agents.node(LB1.id).balancers
    await watch.run_once()
    await centre.control.settle()
    assert centre.load_balancer_id not in centre.control.agents.node(LB1.id).balancers
    with centre.control.database.read() as connection:
        assert placements.on_node(connection, LB1.id) == []


async def test_a_draining_lb_node_is_left_alone_by_whoever_compares(centre: Centre) -> None:
    """Reconciled again and again, it still serves, and nothing is done."""
    drains.drain_lb_node(centre.context, LB1.id, Drain())
    await centre.look()
    before = centre.control.agents.node(LB1.id).balancers
    load_balancers.reconcile_load_balancers(centre.context, Reconcile())
    await centre.look()
    assert centre.control.agents.node(LB1.id).balancers == before


async def test_the_deadline_ends_an_lb_node_that_still_gets_packets_or_is_silent(centre: Centre) -> None:
    """Whoever is silent is taken off as soon as it answers."""
    drains.drain_lb_node(centre.context, LB1.id, Drain(deadline=100))
    await centre.look()
    centre.control.agents.node(LB1.id).reachable = False
    centre.control.clock.ahead += 101
    await centre.look()
    assert lb_nodes.get_lb_node(centre.context, LB1.id).drain_until is None
    centre.control.agents.node(LB1.id).reachable = True
    await centre.look()
    assert centre.load_balancer_id not in centre.control.agents.node(LB1.id).balancers


async def test_undrained_an_lb_node_announces_again(centre: Centre) -> None:
    """Whether it was withdrawn only, or had stopped; enabling it by hand is the same."""
    for stopped in (False, True):
        drains.drain_lb_node(centre.context, LB1.id, Drain(deadline=100))
        await centre.look()
        assert _announced(centre) == (False, True)
        if stopped:
            centre.control.clock.ahead += 101
            await centre.look()
            lb_nodes.update_lb_node(centre.context, LB1.id, LBNodeUpdate(enabled=True))
        else:
            drains.undrain_lb_node(centre.context, LB1.id, Undrain())
        await centre.look()
        assert _announced(centre) == (True, True)


async def test_a_disabled_lb_node_waits_for_nothing(centre: Centre) -> None:
    """Also one that drains: who says disable says at once."""
    drains.drain_lb_node(centre.context, LB1.id, Drain())
    await centre.look()
    lb_nodes.update_lb_node(centre.context, LB1.id, LBNodeUpdate(enabled=False))
    await centre.look()
    assert centre.load_balancer_id not in centre.control.agents.node(LB1.id).balancers


async def test_the_last_lb_node_goes_on_announcing(centre: Centre) -> None:
    """There is no other place to go: it neither withdraws nor stops, and says why."""
    for node in NODES:
        drains.drain_lb_node(centre.context, node.id, Drain(deadline=100))
    await centre.look()
    centre.control.clock.ahead += 101
    await centre.look()
    assert _announced(centre) == (True, True)


def _announced(centre: Centre) -> tuple[bool, ...]:
    carried = (centre.control.agents.node(node.id).balancers.get(centre.load_balancer_id) for node in NODES)
    return tuple(each is not None and each.announced for each in carried)
