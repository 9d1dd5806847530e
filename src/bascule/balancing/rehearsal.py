"""What a change would do: the real decisions and plans over rows that are rolled back. No agent is asked.

LB nodes are taken to have what the watch last wrote down of them, and hypervisors the rules that the state before the
change asks for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing import desired, expectation
from bascule.balancing.decide import decide
from bascule.balancing.events import Converge, Event
from bascule.balancing.expectation import Expectation, Fleet
from bascule.balancing.forecast import Forecast, forecast
from bascule.balancing.inventory import Inventory
from bascule.balancing.plan import plan
from bascule.balancing.reports import Seen
from bascule.model.configurations import BalancerConfiguration
from bascule.model.errors import BasculeError
from bascule.model.load_balancers import LoadBalancerState
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import HypervisorReport, LBNodeReport
from bascule.orchestration.jobs import Job
from bascule.store import changes, hypervisors, lb_nodes, node_states, placements
from bascule.store.health_statuses import FRESH_FOR
from bascule.store.node_states import KeptState


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the store says of some load balancers at one moment."""

    expectation: Expectation
    nodes: Sequence[LBNode]
    hosts: Sequence[Hypervisor]
    loads: Mapping[UUID, int]
    states: Mapping[UUID, Mapping[UUID, KeptState]]
    seen_at: Mapping[UUID, float]
    in_hand: frozenset[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What would become of one load balancer. `job` is None when nothing would be done, for the reason `sentence`."""

    load_balancer_id: UUID
    name: str
    sentence: str
    job: Job | None = None
    touches: tuple[str, ...] = ()
    forecasts: tuple[tuple[str, Forecast], ...] = ()
    remarks: tuple[str, ...] = ()


def read(connection: Connection, load_balancer_ids: Sequence[UUID]) -> Rows:
    """Everything about these load balancers."""
    return Rows(
        expectation=expectation.read(connection, load_balancer_ids),
        nodes=lb_nodes.list_all(connection),
        hosts=hypervisors.list_all(connection),
        loads=placements.loads(connection),
        states={each: node_states.of_load_balancer(connection, each) for each in load_balancer_ids},
        seen_at=node_states.seen_at(connection),
        in_hand=changes.in_hand(connection, load_balancer_ids),
    )


def rehearse(before: Rows, after: Rows, load_balancer_id: UUID, now: float) -> Rehearsed:
    """Decide and plan. Pure."""
    inventory = _inventory(before, after, load_balancer_id, now)
    name, remarks = inventory.load_balancer.name, tuple(_remarks(before, load_balancer_id, inventory))
    try:
        decision = decide(inventory)
    except BasculeError as error:
        return Rehearsed(load_balancer_id=load_balancer_id, name=name, sentence=error.sentence, remarks=remarks)
    if decision.event is None:
        return Rehearsed(load_balancer_id=load_balancer_id, name=name, sentence=decision.sentence, remarks=remarks)
    kept = before.states.get(load_balancer_id, {})
    return Rehearsed(
        load_balancer_id=load_balancer_id,
        name=name,
        sentence=decision.sentence,
        job=plan(decision.event),
        touches=_touches(decision.event),
        forecasts=tuple(
            (node.name, each)
            for node, wanted in _commands(decision.event).items()
            if node.id in kept
            for each in forecast(kept[node.id].state, wanted)
        ),
        remarks=remarks,
    )


def _inventory(before: Rows, after: Rows, load_balancer_id: UUID, now: float) -> Inventory:
    kept = before.states.get(load_balancer_id, {})
    nodes = [(node, _node_seen(node, kept, after.seen_at, now)) for node in after.nodes]
    silent: Seen[HypervisorReport] = Seen(HypervisorReport(node="", started_at=0.0))
    hosts = [(host, silent) for host in after.hosts]
    if load_balancer_id in before.expectation.load_balancers:
        known: Fleet = nodes, [(host, silent) for host in before.hosts]
        was = expectation.inventory(before.expectation, known, load_balancer_id, epoch=0, loads=before.loads)
        if was.load_balancer.state is not LoadBalancerState.CREATING:
            hosts = [(host, _host_seen(host, was)) for host in after.hosts]
    return expectation.inventory(after.expectation, (nodes, hosts), load_balancer_id, epoch=0, loads=after.loads)


def _node_seen(
    node: LBNode, kept: Mapping[UUID, KeptState], seen_at: Mapping[UUID, float], now: float
) -> Seen[LBNodeReport]:
    if now - seen_at.get(node.id, float("-inf")) > FRESH_FOR:
        return Seen()
    if node.id not in kept:
        return Seen(LBNodeReport(node=node.name, started_at=0.0))
    state = kept[node.id].state
    return Seen(
        LBNodeReport(
            node=node.name, started_at=0.0, data_plane_name=state.data_plane_name, load_balancers=(state.balancer,)
        )
    )


def _host_seen(host: Hypervisor, was: Inventory) -> Seen[HypervisorReport]:
    rules = desired.rules_by_hypervisor(was).get(host.id, frozenset())
    carried = (desired.forwarding_configuration(was, rules),) if rules else ()
    return Seen(HypervisorReport(node=host.name, started_at=0.0, load_balancers=carried))


def _remarks(before: Rows, load_balancer_id: UUID, inventory: Inventory) -> list[str]:
    found = ["Earlier changes of it are still under way: they are part of this."]
    found = found if load_balancer_id in before.in_hand else []
    silent = [view.node.name for view in inventory.lb_nodes if view.node.enabled and not view.reachable]
    return [*found, *([f"{', '.join(silent)} was not seen lately and is taken to be silent."] if silent else [])]


def _touches(event: Event) -> tuple[str, ...]:
    names = [each.node.name for each in event.leaving] + [each.hypervisor.name for each in event.tidy]
    if isinstance(event, Converge):
        names += [each.node.name for each in event.serving] + [each.hypervisor.name for each in event.prepare]
    return tuple(sorted(set(names)))


def _commands(event: Event) -> dict[LBNode, BalancerConfiguration | None]:
    """What each LB node is told; None to let go."""
    found: dict[LBNode, BalancerConfiguration | None] = {
        each.node: None if each.stop else each.withdraw for each in event.leaving
    }
    if isinstance(event, Converge):
        found |= {each.node: each.serve for each in event.serving if each.serve is not None}
    return found
