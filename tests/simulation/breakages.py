"""Rules broken on purpose: what the simulation must find."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch
from uuid import UUID

from sqlalchemy import Connection, true

from bascule.agents import fencing
from bascule.agents.fencing import DesiredState
from bascule.agents.lb_node.enforcement import Enforcement
from bascule.balancing import decide as deciding
from bascule.balancing import desired, reconciler
from bascule.balancing import plan as planning
from bascule.balancing.events import Converge, Event, Remove
from bascule.balancing.inventory import Inventory
from bascule.balancing.patience import Patience
from bascule.balancing.reconciler import LoadBalancerReconciler
from bascule.model.configurations import ForwardingRule
from bascule.model.nodes import LBNode
from bascule.orchestration.claims import Claim, Claims, Entity, is_entity
from bascule.orchestration.jobs import Job, sequence
from bascule.orchestration.jobs import Sequence as JobSequence
from bascule.orchestration.queue import Queue
from bascule.orchestration.reconciler import Decision
from tests.simulation.profile import SLEEPY, Profile


@contextmanager
def agents_do_not_fence() -> Iterator[None]:
    """An agent obeys whatever comes, however old."""

    def put(state: DesiredState[Any], configuration: Any) -> DesiredState[Any]:
        others = (each for each in state.configurations if each.load_balancer_id != configuration.load_balancer_id)
        return replace(state, configurations=(*others, configuration))

    with patch.object(fencing, "put", put):
        yield


@contextmanager
def hypervisors_are_tidied_first() -> Iterator[None]:
    """Rules go while LB nodes still send by them."""
    real = planning.plan

    def plan(event: Event) -> Job:
        if not isinstance(event, Converge) or not event.tidy:
            return real(event)
        first = planning._forwarding("tidy hypervisors", event.tidy)
        return sequence(event.name, first, real(replace(event, tidy=())))

    with patch.object(reconciler, "plan", plan):
        yield


@contextmanager
def draining_instances_lose_their_rules() -> Iterator[None]:
    """Hypervisors forget whoever takes no new connections."""
    real = desired.rules_by_hypervisor

    def rules_by_hypervisor(inventory: Inventory) -> Mapping[UUID, frozenset[ForwardingRule]]:
        pools = {
            pool_id: replace(pool, members=tuple(replace(each, drain_until=None) for each in pool.members))
            for pool_id, pool in inventory.pools.items()
        }
        return real(replace(inventory, pools=pools))

    with patch.object(desired, "rules_by_hypervisor", rules_by_hypervisor):
        yield


@contextmanager
def hypervisors_are_prepared_last() -> Iterator[None]:
    """LB nodes send before there are rules."""
    real = planning.plan

    def plan(event: Event) -> Job:
        if not isinstance(event, Converge) or not event.prepare:
            return real(event)
        last = planning._forwarding("prepare hypervisors", event.prepare)
        return sequence(event.name, real(replace(event, prepare=())), last)

    with patch.object(reconciler, "plan", plan):
        yield


@contextmanager
def what_is_not_ready_is_announced() -> Iterator[None]:
    """An LB agent announces before it serves."""
    real = Enforcement._serve

    def serve(self: Enforcement, desired: Any, current: Any) -> Any:
        self._announce(desired.announced, current)
        return real(self, desired, current)

    with patch.object(Enforcement, "_serve", serve):
        yield


@contextmanager
def requests_during_a_run_are_forgotten() -> Iterator[None]:
    """Completing a run answers requests that it never saw."""
    real = Claims.complete

    def complete(self: Claims, connection: Connection, claim: Claim) -> None:
        rows = self._table
        newest = connection.execute(rows.select().where(is_entity(rows, claim.entity))).one().requested
        real(self, connection, replace(claim, requested=newest))

    with patch.object(Claims, "complete", complete):
        yield


@contextmanager
def leases_are_ignored() -> Iterator[None]:
    """A worker claims what another one works on."""
    with patch.object(Queue, "_free", lambda _self: true()):
        yield


@contextmanager
def lost_leases_go_unnoticed() -> Iterator[None]:
    """A worker goes on with a job that another one has taken over."""
    with patch.object(Claims, "check", lambda _self, _connection, _claim: None):
        yield


@contextmanager
def glances_take_work_for_none() -> Iterator[None]:
    """A glance ends whatever it looks at."""

    async def settled(_self: LoadBalancerReconciler, entities: Sequence[Entity]) -> frozenset[Entity]:
        return frozenset(entities)

    with patch.object(LoadBalancerReconciler, "settled", settled):
        yield


@contextmanager
def silent_nodes_are_not_waited_for() -> Iterator[None]:
    """The address of a deleted load balancer is given away while a silent LB node may still announce it."""
    real = deciding._remove

    def remove(inventory: Any) -> Decision[Any]:
        decision = real(inventory)
        assert isinstance(decision.event, Remove)
        return replace(decision, event=replace(decision.event, waits_for=""))

    with patch.object(deciding, "_remove", remove):
        yield


@contextmanager
def nobody_counts_who_is_silent() -> Iterator[None]:
    """However many LB nodes are silent, all are replaced."""
    with patch.object(Patience, "most", lambda _self, nodes: len(nodes)):
        yield


@contextmanager
def nodes_are_left_before_others_serve() -> Iterator[None]:
    """What was replaced stops before its replacement begins."""
    real = planning.plan

    def plan(event: Event) -> Job:
        if not isinstance(event, Converge) or not event.leaving:
            return real(event)
        again = tuple(replace(each, withdraw=None) for each in event.leaving)
        begin = real(replace(event, prepare=(), serving=(), leaving=(), tidy=()))
        assert isinstance(begin, JobSequence)
        recorded = begin.children[0] if event.placements is not None else None
        return sequence(event.name, recorded, planning._leave(event.leaving), real(replace(event, leaving=again)))

    with patch.object(reconciler, "plan", plan):
        yield


@contextmanager
def racks_are_all_one() -> Iterator[None]:
    """Placement takes no heed of failure domains."""
    with patch.object(LBNode, "domain", property(lambda node: str(node.id))):
        yield


@dataclass(frozen=True, slots=True)
class Breakage:
    """What is broken, the rule by which the simulation finds it, and seeds of which one does."""

    broken: Callable[[], AbstractContextManager[None]]
    rule: str
    seeds: range
    profile: Profile | None = None


BREAKAGES = {
    "agents do not fence": Breakage(agents_do_not_fence, "fencing", range(60)),
    "hypervisors are tidied first": Breakage(hypervisors_are_tidied_first, "rules before traffic", range(60)),
    "draining instances lose their rules": Breakage(
        draining_instances_lose_their_rules, "rules before traffic", range(60)
    ),
    "hypervisors are prepared last": Breakage(hypervisors_are_prepared_last, "rules before traffic", range(20)),
    "what is not ready is announced": Breakage(what_is_not_ready_is_announced, "serve before announce", range(6, 160)),
    "requests during a run are forgotten": Breakage(requests_during_a_run_are_forgotten, "no change lost", range(60)),
    "leases are ignored": Breakage(leases_are_ignored, "one job per entity", range(20)),
    "lost leases go unnoticed": Breakage(lost_leases_go_unnoticed, "one job per entity", range(42, 62), SLEEPY),
    "glances take work for none": Breakage(glances_take_work_for_none, "convergence", range(20)),
    "silent nodes are not waited for": Breakage(
        silent_nodes_are_not_waited_for, "one holder per address", range(10, 160)
    ),
    "nobody counts who is silent": Breakage(nobody_counts_who_is_silent, "few are replaced", range(4, 160)),
    "nodes are left before others serve": Breakage(
        nodes_are_left_before_others_serve, "served by as many", range(5, 60)
    ),
    "racks are all one": Breakage(racks_are_all_one, "convergence", range(20)),
}
