"""Compare the expected state of a load balancer with the observed one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace
from uuid import UUID

from bascule.balancing import desired, remarks
from bascule.balancing.events import Converge, Event, Forwarding, Leaving, Placements, Remove, Serving
from bascule.balancing.inventory import HypervisorView, Inventory, LBNodeView
from bascule.balancing.placement import Wish, place
from bascule.model import demands
from bascule.model.configurations import BalancerConfiguration, ForwardingRule, RulesByHypervisor
from bascule.model.errors import Unavailable
from bascule.model.load_balancers import LoadBalancerState, ServiceState
from bascule.orchestration.reconciler import Decision


def decide(inventory: Inventory) -> Decision[Event]:
    """One sentence and, when there is something to do, an event. Raises Unavailable when nothing can be done now."""
    if inventory.load_balancer.state is LoadBalancerState.DELETING:
        return _remove(inventory)
    placements = _placements(inventory)
    event = _converge(inventory, placements)
    name = inventory.load_balancer.name
    sentence = f"bring {name} to generation {event.generation}"
    if not _changes(inventory, event):
        _require_a_working_node(inventory)
        if not event.prepare and event.settle is None and _recorded(inventory):
            return Decision(sentence=f"{name} is as it should be")
        sentence = f"record that {name} is at generation {event.generation}"
    return Decision(sentence=sentence, event=replace(event, incomplete=_incomplete(inventory, placements)))


def _changes(inventory: Inventory, event: Converge) -> bool:
    """Whether a node lacks something or has too much. What is only said again, to be the last word, is no change."""
    answered = replace(inventory, unanswered=0)
    lacking = event.prepare and tuple(_prepare(answered, _needed(answered, event)))
    return event.placements is not None or bool(lacking or event.serving or event.leaving or event.tidy)


def _placements(inventory: Inventory) -> frozenset[UUID]:
    demanded = desired.demands_of(inventory.load_balancer, inventory.pools, inventory.fallbacks)
    running = frozenset(view.as_it_runs.data_plane for view in inventory.lb_nodes if view.node.enabled)
    problem = demands.unmet(demanded, running) if running else None
    if problem is not None:
        raise Unavailable(" ".join((problem[1], *remarks.mismatches(inventory, frozenset()))))
    reachable = frozenset(view.node.id for view in inventory.lb_nodes if view.reachable)
    wish = desired.wish_of(inventory)
    placements = place(
        wish,
        candidates=tuple(view.as_it_runs for view in inventory.lb_nodes),
        reachable=reachable,
        current=inventory.placements,
        loads=inventory.loads,
        lost=inventory.lost - reachable,
        returning=frozenset(
            view.node.id
            for view in inventory.lb_nodes
            if view.node.id in inventory.leaving and view.balancer is not None and view.balancer.announced
        ),
    )
    if not placements:
        raise Unavailable(_nobody(wish, inventory))
    if not placements & reachable:
        raise Unavailable("None of this load balancer's LB nodes answers: start their agents, or disable the nodes.")
    return placements


def _nobody(wish: Wish, inventory: Inventory) -> str:
    if wish.affinity and not any(wish.affinity.items() <= view.node.labels.items() for view in inventory.lb_nodes):
        return f"No LB node has the labels {remarks.labels(wish.affinity)}: give them to nodes, or ask for others."
    return "No enabled LB node answers: register one with POST /admin/v1/lb-nodes, or start the LB agents."


def _require_a_working_node(inventory: Inventory) -> None:
    """Every node that answers has its configuration; one of them at least must be able to follow it."""
    placed = [view for view in inventory.lb_nodes if view.node.id in inventory.placements and view.balancer is not None]
    if not any(view.balancer.ready and view.balancer.announced for view in placed if view.balancer is not None):
        names = ", ".join(view.node.name for view in placed)
        reasons = " ".join(remarks.said(view.node, view.problems) for view in placed)
        raise Unavailable(f"{names} took the configuration but does not serve it. {reasons}")


def _recorded(inventory: Inventory) -> bool:
    load_balancer = inventory.load_balancer
    return (
        not inventory.pending
        and load_balancer.state is LoadBalancerState.RUNNING
        and all(service.state is ServiceState.RUNNING for service in load_balancer.services)
    )


def _converge(inventory: Inventory, placements: frozenset[UUID]) -> Converge:
    rules = desired.rules_by_hypervisor(inventory)
    is_followed = _is_followed(inventory, placements)
    event = Converge(
        load_balancer_id=inventory.load_balancer.id,
        name=inventory.load_balancer.name,
        generation=inventory.load_balancer.generation,
        placements=_to_record(inventory, placements),
        prepare=(),
        serving=tuple(_serving(inventory, placements)),
        leaving=tuple(_leaving(inventory, placements)),
        tidy=(),
        give=_to_give(inventory, rules),
        settle=rules if is_followed and inventory.given is not None else None,
    )
    needed = _needed(inventory, event)
    return replace(
        event,
        prepare=tuple(_prepare(inventory, needed)),
        tidy=tuple(_tidy(inventory, needed, rules)) if is_followed else (),
    )


def _needed(inventory: Inventory, event: Converge) -> RulesByHypervisor:
    """What hypervisors must have while this goes on: also what LB nodes that are yet to follow may still send by."""
    rules = desired.rules_by_hypervisor(inventory)
    if event.settle is not None and not event.serving and not event.leaving:
        return rules
    return desired.together(desired.former_rules(inventory, rules), rules)


def _to_give(inventory: Inventory, rules: RulesByHypervisor) -> RulesByHypervisor | None:
    """What to write down of rules that LB nodes are about to use."""
    if inventory.given is None:
        return None
    both = desired.together(inventory.given, rules)
    return None if both == inventory.given else both


def _to_record(inventory: Inventory, placements: frozenset[UUID]) -> Placements | None:
    """Whoever was placed and is no more is leaving until it has confirmed that, however disabled or silent it is."""
    leaving = inventory.holders - placements
    if (placements, leaving) == (inventory.placements, inventory.leaving):
        return None
    return Placements(nodes=placements, leaving=leaving)


def _incomplete(inventory: Inventory, placements: Set[UUID]) -> str:
    needed = desired.rules_by_hypervisor(inventory).keys()
    concerned = placements | inventory.holders
    silent = [view.node.name for view in inventory.lb_nodes if view.node.id in concerned and not view.reachable]
    silent += [
        view.hypervisor.name for view in inventory.hypervisors if view.hypervisor.id in needed and not view.reachable
    ]
    broken = [
        view.node.name
        for view in inventory.lb_nodes
        if view.node.id in placements and view.balancer is not None and not view.balancer.ready
    ]
    sentences = [f"{', '.join(silent)} did not answer and will follow."] if silent else []
    sentences += [f"{', '.join(broken)} answers but cannot serve: see its report."] if broken else []
    sentences += remarks.on_data_planes(inventory, placements)
    sentences += remarks.on_placement(
        inventory.load_balancer, [view.node for view in inventory.lb_nodes], placements, inventory.neighbours
    )
    sentences += desired.left_out(inventory.load_balancer, inventory.pools)
    return " ".join(sentences)


def _prepare(inventory: Inventory, wanted: RulesByHypervisor) -> Iterator[Forwarding]:
    """Hypervisors that lack rules, or may: what they have stays, what is wanted comes to it.

    After a job that did not end well also those that lack nothing: whatever it sent them must come too late.
    """
    for view in inventory.hypervisors:
        existing, needed = _rules(view), wanted.get(view.hypervisor.id, frozenset())
        sure = view.enforced and needed <= existing and not inventory.unanswered
        if view.reachable and needed and not sure:
            rules = desired.union(existing, needed)
            yield Forwarding(
                hypervisor=view.hypervisor, configuration=desired.forwarding_configuration(inventory, rules)
            )


def _tidy(inventory: Inventory, prepared: RulesByHypervisor, wanted: RulesByHypervisor) -> Iterator[Forwarding]:
    """Hypervisors with rules no longer wanted, once they are prepared and every LB node follows."""
    for view in inventory.hypervisors:
        needed = wanted.get(view.hypervisor.id, frozenset())
        if view.reachable and (_rules(view) | prepared.get(view.hypervisor.id, frozenset())) - needed:
            tidy = desired.forwarding_configuration(inventory, needed)
            yield Forwarding(hypervisor=view.hypervisor, configuration=replace(tidy, version=tidy.version.next))


def _is_followed(inventory: Inventory, placements: Set[UUID]) -> bool:
    """Whether no LB node will send as before once this is done."""
    may_send = placements | inventory.holders
    return not any(_sends_as_before(view) for view in inventory.lb_nodes if view.node.id in may_send)


def _sends_as_before(view: LBNodeView) -> bool:
    """A silent node may; so may one that took its configuration but cannot follow it."""
    return not view.reachable or (view.balancer is not None and not view.balancer.ready)


def _rules(view: HypervisorView) -> frozenset[ForwardingRule]:
    return frozenset() if view.configuration is None else frozenset(view.configuration.rules)


def _serving(inventory: Inventory, placements: Set[UUID]) -> Iterator[Serving]:
    complete = desired.balancer_configuration(inventory, announced=True)
    for view in inventory.lb_nodes:
        if view.node.id not in placements or not view.reachable:
            continue
        has = None if view.balancer is None else view.balancer.configuration
        announced = has is not None and has.announced
        wanted = replace(complete, announced=announced)
        # One that obeys an older command than the last job's may have that on its way.
        sure = has is not None and has.version.epoch >= inventory.unanswered and _same(has, wanted)
        serve = None if sure else wanted
        announce = None if announced else replace(complete, version=complete.version.next)
        if serve is not None or announce is not None:
            yield Serving(node=view.node, serve=serve, announce=announce)


def _same(has: BalancerConfiguration, wanted: BalancerConfiguration) -> bool:
    return replace(has, version=wanted.version) == wanted


def _leaving(inventory: Inventory, placements: Set[UUID]) -> Iterator[Leaving]:
    """Also nodes that carry nothing yet: what was sent to them may still be on its way, and must come too late."""
    for view in inventory.lb_nodes:
        carries = view.balancer is not None or view.node.id in inventory.holders
        if view.reachable and carries and view.node.id not in placements:
            yield from (
                _drain(inventory, view) if placements and _drains(inventory, view) else (_leave(inventory, view),)
            )


def _drains(inventory: Inventory, view: LBNodeView) -> bool:
    """Whether a node that leaves serves on for a while. One whose data plane fits no more could not follow changes."""
    demanded = desired.demands_of(inventory.load_balancer, inventory.pools, inventory.fallbacks)
    fits = view.as_it_runs.data_plane in demands.carriers(demanded)
    return view.node.drain_until is not None and view.balancer is not None and fits


def _drain(inventory: Inventory, view: LBNodeView) -> Iterator[Leaving]:
    """It draws no more packets, and serves those that still come as everybody else does. Nothing, when it does so."""
    assert view.balancer is not None
    withdraw = desired.balancer_configuration(inventory, announced=False)
    has = view.balancer.configuration
    sure = has.version.epoch >= inventory.unanswered and _same(has, withdraw) and not view.balancer.announced
    if not sure:
        yield Leaving(
            node=view.node,
            withdraw=withdraw,
            load_balancer_id=inventory.load_balancer.id,
            version=withdraw.version,
            stop=False,
        )


def _leave(inventory: Inventory, view: LBNodeView) -> Leaving:
    version = desired.version_of(inventory)
    withdraw = None
    if view.balancer is not None and (view.balancer.announced or view.balancer.configuration.announced):
        withdraw = replace(view.balancer.configuration, version=version, announced=False)
    return Leaving(node=view.node, withdraw=withdraw, load_balancer_id=inventory.load_balancer.id, version=version)


def _remove(inventory: Inventory) -> Decision[Event]:
    """Everything off everywhere; a silent node that may still hold the address keeps it from being given away."""
    name = inventory.load_balancer.name
    silent = [view.node.name for view in inventory.lb_nodes if view.node.id in inventory.holders and not view.reachable]
    event = Remove(
        load_balancer_id=inventory.load_balancer.id,
        name=name,
        leaving=tuple(_leaving(inventory, frozenset())),
        tidy=tuple(
            Forwarding(
                hypervisor=view.hypervisor, configuration=desired.forwarding_configuration(inventory, frozenset())
            )
            for view in inventory.hypervisors
            if view.reachable and view.configuration is not None and not silent
        ),
        waits_for=", ".join(silent),
    )
    return Decision(sentence=f"remove {name}", event=event)
