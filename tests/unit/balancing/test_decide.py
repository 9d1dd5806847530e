"""Decide and plan: what is done in which order, and that no crash leaves the world unsafe."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bascule.balancing.decide import decide
from bascule.balancing.desired import former_rules, rules_by_hypervisor
from bascule.balancing.events import Converge
from bascule.balancing.steps.forwarding import ApplyForwarding
from bascule.balancing.steps.serving import Serve
from bascule.model.addresses import IPAddress
from bascule.model.configurations import BalancerConfiguration
from bascule.model.errors import StaleCommand, Unavailable
from bascule.model.load_balancers import LoadBalancerState
from bascule.orchestration.jobs import Step, walk
from tests.unit.balancing.world import (
    LB_ID,
    World,
    any_order,
    converge,
    hypervisor,
    instance,
    lb_node,
    run_some,
    service,
)

CHANCE = random.Random(0)


def titles(world: World) -> list[str]:
    """The steps of the next job, in writing order."""
    job = world.next_job()
    return [] if job is None else [node.title for _, node in walk(job) if isinstance(node, Step)]


def running(**what: object) -> World:
    """A world whose load balancer has converged."""
    world = World(**what)  # type: ignore[arg-type]
    converge(world, CHANCE)
    return world


def test_creation_prepares_serves_announces_and_records_in_this_order() -> None:
    """Rules before traffic, serve before announce, promises last."""
    world = World(nodes=(lb_node(1), lb_node(2)))
    assert titles(world) == [
        "place on 2 LB nodes",
        "write down 2 rules before LB nodes use them",
        "apply 1 rules on hv1",
        "apply 1 rules on hv2",
        "serve 1 services on lb1",
        "announce 203.0.113.1 from lb1",
        "serve 1 services on lb2",
        "announce 203.0.113.1 from lb2",
        "record generation 1 as running",
    ]


def test_a_converged_world_needs_nothing() -> None:
    """A reconciliation that finds nothing to do plans nothing."""
    world = running()
    assert titles(world) == []
    assert decide(world.inventory()).sentence == "web is as it should be"


def test_a_removed_instance_leaves_lb_nodes_before_its_rules_go() -> None:
    """Shrinking a pool: LB nodes first, hypervisors last."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    world.change(members=(instance(1, 1),))
    assert titles(world) == [
        "serve 1 services on lb1",
        "serve 1 services on lb2",
        "remove every rule from hv2",
        "record generation 2 as running",
    ]


def test_a_silent_lb_node_keeps_the_rules_of_a_changed_port_alive() -> None:
    """A hypervisor that with an older disk gets what the silent node still sends by, until that one follows."""
    world = running(nodes=(lb_node(1), lb_node(2)), members=(instance(1, 1),))
    world.agents.node(lb_node(2).id).reachable = False
    world.change(services=(replace(service(80), port=443),))
    converge(world, CHANCE)
    host = world.agents.node(hypervisor(1).id)
    assert {rule.port for rule in host.forwarding[LB_ID].rules} == {80, 443}
    host.forwarding.clear()
    converge(world, CHANCE)
    assert {rule.port for rule in host.forwarding[LB_ID].rules} == {80, 443}
    assert titles(world) == []
    world.agents.node(lb_node(2).id).reachable = True
    converge(world, CHANCE)
    assert {rule.port for rule in host.forwarding[LB_ID].rules} == {443}
    assert titles(world) == []


def test_a_hypervisor_never_gets_two_rules_for_one_match() -> None:
    """A target port that changed and a port that changed back, while an LB node is silent: the newest target counts."""
    world = running(nodes=(lb_node(1), lb_node(2)), members=(instance(1, 1),))
    world.agents.node(lb_node(2).id).reachable = False
    for port, target_port in ((80, 8081), (443, 8081), (80, 8082), (443, 8082)):
        world.change(services=(replace(service(80, target_port), port=port),))
        converge(world, CHANCE)
    rules = world.agents.node(hypervisor(1).id).forwarding[LB_ID].rules
    assert {(rule.port, rule.target_port) for rule in rules} == {(80, 8082), (443, 8082)}


def test_rules_of_an_instance_that_moved_are_not_brought_back() -> None:
    """They would lead to a machine that is not there."""
    world = running(members=(instance(1, 1),))
    world.change(members=(instance(1, 2),))
    inventory = world.inventory()
    assert set(inventory.given or {}) == {hypervisor(1).id}
    former = former_rules(inventory, rules_by_hypervisor(inventory))
    assert former == {hypervisor(1).id: frozenset()}


def test_a_migrated_instance_has_rules_on_both_hypervisors_meanwhile() -> None:
    """The new hypervisor is ready before LB nodes hear where the instance is, and the old one forgets after that."""
    world = running(nodes=(lb_node(1), lb_node(2)), members=(instance(1, 1),))
    world.change(members=(instance(1, 2),))
    assert titles(world) == [
        "write down 2 rules before LB nodes use them",
        "apply 1 rules on hv2",
        "serve 1 services on lb1",
        "serve 1 services on lb2",
        "remove every rule from hv1",
        "record generation 2 as running",
    ]


def test_deletion_withdraws_lets_routers_converge_and_then_removes() -> None:
    """Withdraw before remove, rules last, the address is released at the very end."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    world.change(state=LoadBalancerState.DELETING)
    assert titles(world) == [
        "withdraw 203.0.113.1 from lb1",
        "withdraw 203.0.113.1 from lb2",
        "let routers converge for 1 s",
        "stop serving on lb1",
        "stop serving on lb2",
        "remove every rule from hv1",
        "remove every rule from hv2",
        "delete the record and release the address",
    ]


def test_deletion_keeps_the_address_while_a_silent_node_may_hold_it() -> None:
    """The record is not deleted until the silent node answers or is said to be dead; disabling it is not enough."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    world.change(state=LoadBalancerState.DELETING)
    world.agents.node(lb_node(1).id).reachable = False
    for _ in range(3):
        run_some(world, CHANCE, 100)
    assert not world.deleted
    world.nodes = (replace(lb_node(1), enabled=False), lb_node(2))
    run_some(world, CHANCE, 100)
    assert not world.deleted
    world.nodes, world.placements = (lb_node(2),), world.placements - {lb_node(1).id}  # `bascule node delete --dead`
    converge(world, CHANCE)
    assert world.deleted


def test_deletion_waits_for_a_node_that_was_left_while_it_was_silent() -> None:
    """Disabled, silent, then enabled again elsewhere: it may announce still, so the address waits."""
    world = running(nodes=(lb_node(1), lb_node(2), lb_node(3)))
    left = next(node for node in world.nodes if node.id in world.placements)
    world.agents.node(left.id).reachable = False
    world.change(nodes=tuple(replace(node, enabled=node != left) for node in world.nodes))
    converge(world, CHANCE)
    assert left.id not in world.placements
    assert world.leaving == {left.id}
    world.change(nodes=tuple(replace(node, enabled=True) for node in world.nodes))
    converge(world, CHANCE)
    world.change(state=LoadBalancerState.DELETING)
    run_some(world, CHANCE, 100)
    assert not world.deleted
    world.agents.node(left.id).reachable = True
    converge(world, CHANCE)
    assert world.deleted
    assert LB_ID not in world.agents.node(left.id).balancers


def test_rules_stay_for_a_disabled_node_that_missed_one_message() -> None:
    """A node that drains and does not answer once may send on: its rules go only after it has."""
    world = running(nodes=(lb_node(1), lb_node(2), lb_node(3)))
    left = next(node for node in world.nodes if node.id in world.placements)
    world.agents.node(left.id).reachable = False
    nodes = tuple(replace(node, enabled=node != left) for node in world.nodes)
    world.change(nodes=nodes, members=(instance(1, 1),))
    converge(world, CHANCE)
    assert world.agents.node(hypervisor(2).id).forwarding[LB_ID].rules
    world.agents.node(left.id).reachable = True
    converge(world, CHANCE)
    assert LB_ID not in world.agents.node(hypervisor(2).id).forwarding
    assert not world.leaving


def test_a_node_that_is_left_refuses_what_was_sent_to_it_before() -> None:
    """A command to a node that carries nothing yet may be on its way: leaving the node tells it to refuse that."""
    world = World(nodes=(lb_node(1), lb_node(2), lb_node(3)))
    job = world.next_job()
    assert job is not None
    steps = any_order(job, CHANCE)
    late = next(step.action for step in steps if isinstance(step.action, Serve))
    world.perform(steps[0].action)  # places it, and tells no node yet
    world.change(nodes=tuple(replace(node, enabled=node != late.node) for node in world.nodes))
    converge(world, CHANCE)
    with pytest.raises(StaleCommand):
        world.perform(late)


def test_a_copy_of_a_command_does_not_undo_the_next_one() -> None:
    """A doubled message to serve, which comes after the one to announce, is refused."""
    world = World(nodes=(lb_node(1), lb_node(2)))
    job = world.next_job()
    assert job is not None
    steps = any_order(job, CHANCE)
    for step in steps:
        world.perform(step.action)
    for step in steps:
        if isinstance(step.action, Serve):
            with pytest.raises(StaleCommand):
                world.perform(step.action)
    assert all(world.agents.node(node.id).balancers[LB_ID].announced for node in world.nodes)


def test_a_silent_node_does_not_hold_up_the_others() -> None:
    """A change reaches every node that answers, and the operation says who will follow."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    world.agents.node(lb_node(1).id).reachable = False
    world.change(members=(instance(1, 1), instance(2, 2), instance(3, 2)))
    event = decide(world.inventory()).event
    assert event is not None
    assert getattr(event, "incomplete") == "lb1 did not answer and will follow."  # noqa: B009
    converge(world, CHANCE)
    assert len(world.agents.node(lb_node(2).id).balancers[LB_ID].services[0].backends) == 3
    world.agents.node(lb_node(1).id).reachable = True
    converge(world, CHANCE)
    assert len(world.agents.node(lb_node(1).id).balancers[LB_ID].services[0].backends) == 3


def test_rules_stay_while_a_silent_lb_node_may_still_send() -> None:
    """An LB agent that is dead may leave a data plane that forwards: its backends keep their rules."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    world.agents.node(lb_node(1).id).reachable = False
    world.change(members=(instance(1, 1),))
    converge(world, CHANCE)
    assert world.agents.node(hypervisor(2).id).forwarding[LB_ID].rules
    world.agents.node(lb_node(1).id).reachable = True
    converge(world, CHANCE)
    assert LB_ID not in world.agents.node(hypervisor(2).id).forwarding


def test_an_instance_on_a_silent_hypervisor_joins_only_when_it_answers() -> None:
    """Nobody is sent to before its hypervisor has confirmed its rules; who is served already stays."""
    world = running(nodes=(lb_node(1), lb_node(2)), members=(instance(1, 1), instance(2, 2)))
    world.agents.node(hypervisor(2).id).reachable = False
    world.change(members=(instance(1, 1), instance(2, 2), instance(3, 2)))
    converge(world, CHANCE)
    served = world.agents.node(lb_node(1).id).balancers[LB_ID].services[0].backends
    assert {backend.address for backend in served} == {instance(1, 1).address, instance(2, 2).address}
    world.agents.node(hypervisor(2).id).reachable = True
    converge(world, CHANCE)
    assert len(world.agents.node(lb_node(1).id).balancers[LB_ID].services[0].backends) == 3


def test_an_instance_that_moves_to_a_silent_hypervisor_waits_for_it() -> None:
    """What its old hypervisor confirmed does not count on the new one."""
    world = running(nodes=(lb_node(1), lb_node(2)), members=(instance(1, 1), instance(2, 2)))
    world.agents.node(hypervisor(2).id).reachable = False
    moved = replace(instance(1, 1), hypervisor_id=hypervisor(2).id)

    world.change(members=(moved, instance(2, 2)))
    world.epoch += 1
    event = decide(world.inventory()).event
    assert isinstance(event, Converge)
    served = {backend.address for each in event.serving if each.serve for backend in each.serve.services[0].backends}
    assert served == {instance(2, 2).address}


def test_a_move_told_of_beforehand_meets_rules_that_wait() -> None:
    """Both hypervisors have the rules while it is about to move; the old one lets go when it has, and no sooner."""
    stays = instance(2, 2)
    world = running(nodes=(lb_node(1), lb_node(2)), members=(instance(1, 1), stays))

    def rules(number: int) -> set[IPAddress]:
        known = world.agents.node(hypervisor(number).id).forwarding.get(LB_ID)
        return set() if known is None else {rule.instance for rule in known.rules}

    moving = replace(instance(1, 1), moving_to=hypervisor(2).id)
    world.change(members=(moving, stays))
    assert titles(world) == [
        "write down 3 rules before LB nodes use them",
        "apply 2 rules on hv2",
        "record generation 2 as running",
    ]
    converge(world, CHANCE)
    assert (rules(1), rules(2)) == ({moving.address}, {moving.address, stays.address})
    world.change(members=(replace(moving, hypervisor_id=hypervisor(2).id, moving_to=None), stays))
    world.check()
    converge(world, CHANCE)
    assert (rules(1), rules(2)) == (set(), {moving.address, stays.address})


def test_a_move_to_a_silent_hypervisor_holds_nobody_up() -> None:
    """While nobody answers there the instance serves from where it is."""
    world = running(nodes=(lb_node(1), lb_node(2)), members=(instance(1, 1), instance(2, 2)))
    world.agents.node(hypervisor(2).id).reachable = False
    world.change(members=(replace(instance(1, 1), moving_to=hypervisor(2).id), instance(2, 2)))
    world.epoch += 1
    event = decide(world.inventory()).event
    assert isinstance(event, Converge)
    carried = world.agents.node(lb_node(1).id).balancers[LB_ID].services[0].backends
    assert {backend.address for backend in carried} == {instance(1, 1).address, instance(2, 2).address}
    assert all(
        {b.address for b in each.serve.services[0].backends} == {b.address for b in carried}
        for each in event.serving
        if each.serve
    )


def test_a_node_that_cannot_serve_does_not_hold_up_the_others() -> None:
    """The first run fails with its name, the next one records that the other node serves."""
    world = World(nodes=(lb_node(1), lb_node(2)))
    world.agents.node(lb_node(1).id).ready = False
    assert not run_some(world, CHANCE, 100)
    converge(world, CHANCE)
    assert world.recorded == world.generation


def test_a_promise_is_not_kept_while_no_node_can_serve() -> None:
    """Nodes that take a configuration and do not follow it are an error, which tells what they complain of."""
    world = World(nodes=(lb_node(1), lb_node(2)))
    for node in world.nodes:
        world.agents.node(node.id).ready = False
        world.agents.node(node.id).problems = ("data plane: This kernel has no IPVS.",)
    for _ in range(4):  # serve and announce fail on each node
        run_some(world, CHANCE, 100)
    assert world.recorded == 0
    with pytest.raises(Unavailable, match=r"does not serve it\. lb1 reports: .* no IPVS\. lb2 reports: "):
        world.next_job()


def test_without_any_node_the_way_out_is_named() -> None:
    """The error of an empty installation tells what to register."""
    with pytest.raises(Unavailable, match="POST /admin/v1/lb-nodes"):
        World(nodes=()).next_job()


def test_a_disabled_node_is_left_and_another_takes_its_place() -> None:
    """The new node serves before the old one withdraws."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    world.change(nodes=(replace(lb_node(1), enabled=False), lb_node(2), lb_node(3)))
    found = titles(world)
    assert found.index("announce 203.0.113.1 from lb3") < found.index("withdraw 203.0.113.1 from lb1")
    assert found.index("withdraw 203.0.113.1 from lb1") < found.index("stop serving on lb1")


def test_a_draining_node_withdraws_and_serves_on() -> None:
    """Others serve first; it follows every change, unannounced; that done, nothing more is to do until it ends."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    drains = replace(lb_node(1), enabled=False, drain_until=LATER)
    world.change(nodes=(drains, lb_node(2), lb_node(3)))
    found = titles(world)
    assert found.index("announce 203.0.113.1 from lb3") < found.index("withdraw 203.0.113.1 from lb1")
    assert "stop serving on lb1" not in found
    converge(world, CHANCE)
    assert world.leaving == {drains.id}
    world.change(members=(instance(1, 1),))
    converge(world, CHANCE)
    carried = world.agents.node(drains.id).balancers[LB_ID]
    assert (carried.announced, len(carried.services[0].backends)) == (False, 1)
    assert decide(world.inventory()).event is None
    world.nodes = (replace(drains, drain_until=None), lb_node(2), lb_node(3))
    converge(world, CHANCE)
    assert LB_ID not in world.agents.node(drains.id).balancers
    assert world.leaving == frozenset()


def test_a_draining_instance_keeps_its_rules_and_has_no_weight() -> None:
    """The rules go after the LB nodes have let go of it."""
    world = running()
    drains = replace(instance(1, 1), drained=True, drain_until=LATER)
    world.change(members=(drains, instance(2, 2)))
    assert not any("rules" in title for title in titles(world))
    converge(world, CHANCE)
    carried = world.agents.node(lb_node(1).id).balancers[LB_ID]
    assert [backend.weight for backend in carried.services[0].backends] == [0, 1]
    world.change(members=(replace(drains, drain_until=None), instance(2, 2)))
    found = titles(world)
    assert found.index("serve 1 services on lb1") < found.index("remove every rule from hv1")


def test_a_late_worker_is_refused_by_the_agents() -> None:
    """Steps planned under an old epoch fail once a later epoch has spoken."""
    world = World()
    late = world.next_job()
    assert late is not None
    converge(world, CHANCE)
    step = next(step for step in any_order(late, CHANCE) if isinstance(step.action, ApplyForwarding))
    with pytest.raises(StaleCommand):
        world.perform(step.action)


CHANGES = st.sampled_from(
    [
        *("grow", "shrink", "migrate", "ports", "move", "cut lb", "heal", "cut hv", "forget", "delete"),
        *("drain", "drain lb", "drained"),
    ]
)
LATER = datetime(2026, 1, 1, tzinfo=UTC)


def apply(world: World, change: str, chance: random.Random) -> None:
    """One change of the world: a user's, or a fault."""
    members = list(world.members)
    match change:
        case "grow":
            world.born += 1
            world.change(members=(*members, instance(world.born, chance.choice([1, 2]))))
        case "shrink" if members:
            members.pop(chance.randrange(len(members)))
            world.change(members=tuple(members))
        case "migrate" if members:
            _migrate(world, chance)
        case "ports":
            world.change(services=tuple(service(port) for port in chance.sample([80, 81, 82], chance.randint(0, 3))))
        case "move":
            victim = chance.choice(world.nodes)
            nodes = tuple(replace(node, enabled=not node.enabled) if node == victim else node for node in world.nodes)
            world.change(nodes=nodes)
        case "drain" | "drain lb" | "drained":
            _drain(world, change, chance)
        case "cut lb":
            world.agents.node(chance.choice(world.nodes).id).reachable = False
        case "cut hv":
            world.agents.node(chance.choice(world.hosts).id).reachable = False
        case "forget":
            world.agents.node(chance.choice(world.nodes).id).balancers.clear()
        case "delete":
            world.change(state=LoadBalancerState.DELETING)
        case _:
            heal(world)


def _drain(world: World, change: str, chance: random.Random) -> None:
    """A member or an LB node drains, or all drains are over."""
    if change == "drain" and world.members:
        one = chance.choice(world.members)
        drains = replace(one, drained=True, drain_until=LATER)
        world.change(members=tuple(drains if each == one else each for each in world.members))
    elif change == "drain lb":
        victim = chance.choice(world.nodes)
        drains_now = replace(victim, enabled=False, drain_until=LATER)
        world.change(nodes=tuple(drains_now if node == victim else node for node in world.nodes))
    else:
        world.nodes = tuple(replace(node, drain_until=None) for node in world.nodes)
        world.change(members=tuple(replace(each, drain_until=None) for each in world.members))


def _migrate(world: World, chance: random.Random) -> None:
    """Move a member: for its old rule to be on the new hypervisor is the next job's business, so check only after."""
    member = chance.choice(world.members)
    other = next(host.id for host in world.hosts if host.id != member.hypervisor_id)
    moved = tuple(replace(found, hypervisor_id=other) if found == member else found for found in world.members)
    world.change(members=moved)
    for node in world.nodes:  # the packets of a machine that has moved are lost until its rules follow: by nature
        carried = world.agents.node(node.id).balancers.get(LB_ID)
        if carried is not None:
            kept = tuple(
                replace(
                    found, backends=tuple(backend for backend in found.backends if backend.address != member.address)
                )
                for found in carried.services
            )
            world.agents.node(node.id).balancers[LB_ID] = replace(carried, services=kept)


def heal(world: World) -> None:
    """Every machine answers and one node at least is enabled."""
    for node_id in (*(node.id for node in world.nodes), *(host.id for host in world.hosts)):
        world.agents.node(node_id).reachable = True
    world.nodes = tuple(replace(node, enabled=True, drain_until=None) for node in world.nodes)
    if any(each.drained for each in world.members):
        world.change(members=tuple(replace(each, drained=False, drain_until=None) for each in world.members))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.tuples(CHANGES, st.integers(0, 12)), max_size=10))
def test_every_prefix_is_safe_and_every_state_converges(seed: int, history: list[tuple[str, int]]) -> None:
    """Users change things, machines fall silent and forget, workers die between any two steps; then all is healed."""
    chance, world = random.Random(seed), World()
    for change, crash_after in history:
        apply(world, change, chance)
        run_some(world, chance, crash_after)
        if world.deleted:
            break
    if world.deleted:
        heal(world)
        world.take_off_strays()
        assert all(LB_ID not in world.agents.node(host.id).forwarding for host in world.hosts)
        assert all(LB_ID not in world.agents.node(node.id).balancers for node in world.nodes)
        return
    heal(world)
    converge(world, chance)
    if not world.deleted:
        check_converged(world)


def check_converged(world: World) -> None:
    """Two nodes announce exactly what is wanted, the third nothing, and hypervisors have exactly their rules."""
    carrying = [node for node in world.nodes if LB_ID in world.agents.node(node.id).balancers]
    assert {node.id for node in carrying} == world.placements
    assert len(carrying) == 2
    addresses = {member.address for member in world.members}
    for node in carrying:
        carried = world.agents.node(node.id).balancers[LB_ID]
        assert carried.announced
        assert {found.port for found in carried.services} == {found.port for found in world.services}
        assert all({backend.address for backend in found.backends} == addresses for found in carried.services)
    for host in world.hosts:
        known = world.agents.node(host.id).forwarding.get(LB_ID)
        rules = set() if known is None else {(rule.instance, rule.port) for rule in known.rules}
        assert rules == {
            (member.address, found.port)
            for member in world.members
            for found in world.services
            if member.hypervisor_id == host.id
        }


def test_rules_that_are_not_in_force_are_applied_again() -> None:
    """A hypervisor that was told its rules but whose kernel refused them gets them again before anybody sends to it."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    found = world.inventory()
    refused = tuple(replace(view, enforced=view.hypervisor.id != hypervisor(1).id) for view in found.hypervisors)
    event = decide(replace(found, hypervisors=refused)).event
    assert isinstance(event, Converge)
    assert [each.hypervisor.name for each in event.prepare] == ["hv1"]


def test_rules_stay_while_an_lb_node_cannot_follow_its_configuration() -> None:
    """A node that took its configuration but whose kernel refused it may still send to who is gone from the pool."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    world.change(members=(instance(1, 1),))
    for node in world.nodes:
        carried = world.agents.node(node.id)
        carried.balancers[LB_ID] = shrunk(carried.balancers[LB_ID])
    world.agents.node(lb_node(2).id).ready = False
    assert "remove every rule from hv2" not in titles(world)
    world.agents.node(lb_node(2).id).ready = True
    assert "remove every rule from hv2" in titles(world)


def shrunk(configuration: BalancerConfiguration) -> BalancerConfiguration:
    """What a node carries once the pool has its first instance alone."""
    services = tuple(replace(each, backends=each.backends[:1]) for each in configuration.services)
    return replace(configuration, services=services)


def test_a_port_that_a_silent_hypervisor_never_heard_of_is_not_sent_to_it() -> None:
    """Its rules are of the old port: instances on it serve the new one once it answers."""
    world = running(nodes=(lb_node(1), lb_node(2)))
    world.agents.node(hypervisor(2).id).reachable = False
    world.change(services=(replace(service(80), port=81),))
    run_some(world, CHANCE, 100)
    carried = world.agents.node(lb_node(1).id).balancers[LB_ID]
    assert [backend.address for backend in carried.services[0].backends] == [instance(1, 1).address]
