"""Turn an event into a job tree. Pure. Every prefix of the tree leaves traffic safe:

- a hypervisor's rules exist before any LB node sends to it, and go last;
- a node serves before it announces, and withdraws before it stops serving;
- which rules LB nodes may send by is written down before they are told, for hypervisors that come back without them;
- what is promised to users is recorded only when it is true.
"""

from __future__ import annotations

from bascule.balancing.events import Converge, Event, Forwarding, Leaving, Remove, Serving
from bascule.balancing.steps.forwarding import ApplyForwarding
from bascule.balancing.steps.records import (
    RecordDeleted,
    RecordGivenRules,
    RecordLeft,
    RecordPlacements,
    RecordRunning,
)
from bascule.balancing.steps.serving import Announce, Serve, StopServing, Withdraw
from bascule.balancing.steps.waiting import AwaitSilentNodes, LetRoutersConverge
from bascule.orchestration.jobs import Job, Step, parallel, sequence


def plan(event: Event) -> Job:
    """The job tree that carries out the event."""
    return _plan_remove(event) if isinstance(event, Remove) else _plan_converge(event)


def _plan_converge(event: Converge) -> Job:
    placements = event.placements
    return sequence(
        f"bring {event.name} to generation {event.generation}",
        None
        if placements is None
        else Step(RecordPlacements(event.load_balancer_id, placements.nodes, placements.leaving)),
        None if event.give is None else Step(RecordGivenRules(event.load_balancer_id, event.give)),
        _forwarding("prepare hypervisors", event.prepare),
        parallel("serve and announce", *(_serve(serving) for serving in event.serving)),
        _leave(event.leaving),
        _left(event),
        _forwarding("tidy hypervisors", event.tidy),
        Step(RecordRunning(event.load_balancer_id, event.generation, event.incomplete, event.settle)),
    )


def _left(event: Converge) -> Job | None:
    left = frozenset(leave.node.id for leave in event.leaving if leave.stop)
    return Step(RecordLeft(event.load_balancer_id, left)) if left else None


def _plan_remove(event: Remove) -> Job:
    return sequence(
        f"remove {event.name}",
        _leave(event.leaving),
        Step(AwaitSilentNodes(event.waits_for)) if event.waits_for else None,
        _forwarding("tidy hypervisors", event.tidy),
        Step(RecordDeleted(event.load_balancer_id)),
    )


def _forwarding(title: str, changes: tuple[Forwarding, ...]) -> Job:
    return parallel(title, *(Step(ApplyForwarding(change.hypervisor, change.configuration)) for change in changes))


def _serve(serving: Serving) -> Job:
    return sequence(
        serving.node.name,
        None if serving.serve is None else Step(Serve(serving.node, serving.serve)),
        None if serving.announce is None else Step(Announce(serving.node, serving.announce)),
    )


def _leave(leaving: tuple[Leaving, ...]) -> Job:
    withdrawn, stopped = (
        [each for each in leaving if each.withdraw is not None],
        [each for each in leaving if each.stop],
    )
    return sequence(
        "leave LB nodes",
        parallel("withdraw", *(Step(Withdraw(leave.node, leave.withdraw)) for leave in withdrawn if leave.withdraw)),
        Step(LetRoutersConverge()) if any(each.stop for each in withdrawn) else None,
        parallel(
            "stop serving", *(Step(StopServing(leave.node, leave.load_balancer_id, leave.version)) for leave in stopped)
        ),
    )
