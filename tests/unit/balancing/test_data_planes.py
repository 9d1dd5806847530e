"""Load balancers come to LB nodes whose data plane can carry them, and what cannot be is said."""

from __future__ import annotations

import random
from dataclasses import replace
from ipaddress import ip_address
from uuid import UUID

import pytest

from bascule.balancing.decide import decide
from bascule.balancing.desired import balancer_configuration, left_out, rules_by_hypervisor
from bascule.balancing.events import Converge
from bascule.balancing.placement import Wish, place
from bascule.balancing.remarks import mismatch
from bascule.model.data_planes import DataPlaneName
from bascule.model.errors import Unavailable
from bascule.model.instance_pools import Instance
from bascule.model.nodes import LBNode
from bascule.model.strategies import Strategy
from bascule.model.virtual_services import ForwardingMethod
from tests.unit.balancing.world import LB_ID, World, converge, hypervisor, instance, lb_node, service

CHANCE = random.Random(0)
WISH = Wish(load_balancer_id=LB_ID, carriers=frozenset({DataPlaneName.IPVS}))
WLC = replace(service(80), strategy=Strategy.WEIGHTED_LEAST_CONNECTIONS)


def ipvs(number: int) -> LBNode:
    """LB node lb<number> with IPVS."""
    return replace(lb_node(number), data_plane=DataPlaneName.IPVS)


def carriers_of(world: World) -> set[str]:
    """The names of the nodes that carry the load balancer."""
    return {node.name for node in world.nodes if LB_ID in world.agents.node(node.id).balancers}


def incomplete(world: World) -> str:
    """What the operation would say."""
    event = decide(world.inventory()).event
    assert isinstance(event, Converge)
    return event.incomplete


def test_only_nodes_that_can_carry_it_are_chosen() -> None:
    """An emptier node with another data plane is no candidate."""
    nodes = (lb_node(1), ipvs(2), ipvs(3))
    everybody = frozenset(node.id for node in nodes)
    loads = {nodes[1].id: 9, nodes[2].id: 9}
    found = place(WISH, candidates=nodes, reachable=everybody, current=frozenset(), loads=loads)
    assert found == {nodes[1].id, nodes[2].id}


def test_a_silent_node_that_cannot_carry_it_any_more_is_not_forgotten() -> None:
    """It may still draw traffic: it stays beside the chosen ones until it answers, and then it goes."""
    nodes = (lb_node(1), ipvs(2), ipvs(3))
    able = frozenset({nodes[1].id, nodes[2].id})
    current = frozenset({nodes[0].id})

    def placed(reachable: frozenset[UUID]) -> frozenset[UUID]:
        return place(WISH, candidates=nodes, reachable=reachable, current=current, loads={})

    assert placed(able) == able | current
    assert placed(able | current) == able


def test_a_change_that_its_nodes_cannot_carry_moves_it() -> None:
    """The new nodes announce before the old ones withdraw."""
    world = World(nodes=(lb_node(1), lb_node(2), ipvs(3), ipvs(4)))
    converge(world, CHANCE)
    world.change(nodes=(lb_node(1), lb_node(2), ipvs(3), ipvs(4)), services=(WLC,))
    converge(world, CHANCE)
    assert carriers_of(world) == {"lb3", "lb4"}


def test_too_few_nodes_are_said_with_the_reason() -> None:
    """It is carried by the one node that can, and the operation says why by no other."""
    world = World(nodes=(lb_node(1), ipvs(2)), services=(WLC,))
    assert incomplete(world) == "Only lb2 can carry it: it asks for strategy wlc (only with ipvs or keepalived)."
    converge(world, CHANCE)
    assert carriers_of(world) == {"lb2"}


def test_a_load_balancer_that_no_node_can_carry_is_an_error_with_the_way_out() -> None:
    """The sentence names what asks, what has it, and what the nodes run."""
    with pytest.raises(Unavailable, match=r"Strategy wlc needs .* ipvs or keepalived, .* nodes run xdp"):
        World(nodes=(lb_node(1),), services=(WLC,)).next_job()


def test_an_agent_that_runs_something_else_is_named() -> None:
    """The operation says so, and how to put it right; what runs as registered, or says nothing, is no problem."""
    world = World(nodes=(lb_node(1),))
    inventory = world.inventory()
    inventory = replace(inventory, lb_nodes=tuple(replace(view, runs="ipvs") for view in inventory.lb_nodes))
    event = decide(inventory).event
    assert isinstance(event, Converge)
    assert "bascule node set lb1 --data-plane ipvs" in event.incomplete
    assert [*mismatch(lb_node(1), "xdp"), *mismatch(lb_node(1), ""), *mismatch(lb_node(1), "fake")] == []


def test_a_node_is_taken_for_what_its_agent_runs() -> None:
    """Registered as able, it would refuse the command: another one is chosen, and the reason is said."""
    world = World(nodes=(ipvs(1), ipvs(2), ipvs(3)), services=(WLC,))
    inventory = world.inventory()
    first, *others = inventory.lb_nodes
    wrong = replace(inventory, lb_nodes=(replace(first, runs="xdp"), *others))
    event = decide(wrong).event
    assert isinstance(event, Converge)
    assert event.placements is not None
    assert event.placements.nodes == frozenset({ipvs(2).id, ipvs(3).id})
    assert "lb1 is registered with the data plane ipvs, and its agent runs xdp" in event.incomplete
    alone = replace(inventory, lb_nodes=(replace(first, runs="xdp"),))
    with pytest.raises(Unavailable, match=r"nodes run xdp.*lb1 is registered with the data plane ipvs"):
        decide(alone)


def test_instances_of_the_other_family_are_left_out_and_named() -> None:
    """Hypervisors translate addresses, not families: such an instance gets neither rules nor traffic."""
    stranger = replace(instance(3, 1), address=ip_address("2001:db8::3"))
    world = World(members=(instance(1, 1), stranger))
    inventory = world.inventory()
    backends = balancer_configuration(inventory, announced=True).services[0].backends
    assert [backend.address for backend in backends] == [instance(1, 1).address]
    rules = {rule.instance for found in rules_by_hypervisor(inventory).values() for rule in found}
    assert rules == {instance(1, 1).address}
    assert left_out(inventory.load_balancer, inventory.pools) == (
        "vm3 (2001:db8::3) cannot serve s80: 203.0.113.1 is IPv4.",
    )
    assert "vm3" in incomplete(world)


@pytest.mark.parametrize("method", [ForwardingMethod.DIRECT, ForwardingMethod.TRANSLATION])
def test_what_comes_without_a_tunnel_needs_no_hypervisor(method: ForwardingMethod) -> None:
    """No rules are written, and a silent hypervisor agent keeps no such instance out."""
    member = replace(instance(1, 1), forwarding_method=method)
    world = World(nodes=(ipvs(1),), members=(member, instance(2, 2)))
    world.agents.node(hypervisor(1).id).reachable = False
    inventory = world.inventory()
    assert set(rules_by_hypervisor(inventory)) == {hypervisor(2).id}
    backends = balancer_configuration(inventory, announced=True).services[0].backends
    assert [backend.method for backend in backends] == [method, ForwardingMethod.TUNNEL]


def test_a_sorry_server_is_reached_like_the_instance_it_is() -> None:
    """By its own method, or by its service's."""
    sorry = replace(instance(9, 2), address=ip_address("10.9.9.9"))
    one = replace(service(80), forwarding_method=ForwardingMethod.TRANSLATION)
    one = replace(one, health_check=replace(one.health_check, sorry_server=sorry.address))
    world = World(nodes=(ipvs(1),), services=(one,))

    def method(fallback: Instance) -> ForwardingMethod:
        inventory = replace(world.inventory(), fallbacks={sorry.address: fallback})
        return balancer_configuration(inventory, announced=True).services[0].sorry_method

    assert method(sorry) is ForwardingMethod.TRANSLATION
    assert method(replace(sorry, forwarding_method=ForwardingMethod.DIRECT)) is ForwardingMethod.DIRECT
