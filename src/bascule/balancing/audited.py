"""What an audit looks at: every load balancer as the store expects it, and which of them may be judged now."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing import expectation
from bascule.balancing.expectation import Expectation, Fleet
from bascule.balancing.inventory import Inventory
from bascule.balancing.reports import Seen
from bascule.balancing.strays import carried
from bascule.events.messages import NodeReport
from bascule.model.load_balancers import LoadBalancerState
from bascule.model.nodes import Hypervisor, LBNode
from bascule.store import hypervisors, jobs, lb_nodes, load_balancers, tombstones
from bascule.store.jobs import Fields

_AT_ONCE = 500  # load balancers whose rows are read together: databases take only so many values in a query


@dataclass(frozen=True, slots=True, kw_only=True)
class Audited:
    """`unsettled` are load balancers that changed since the oldest report was taken, or are about to."""

    expectations: tuple[Expectation, ...]
    nodes: tuple[LBNode, ...]
    hosts: tuple[Hypervisor, ...]
    epochs: Mapping[UUID, int]
    unsettled: frozenset[UUID]
    known: frozenset[UUID]
    gone: frozenset[UUID]

    @property
    def machines(self) -> tuple[LBNode | Hypervisor, ...]:
        """Whoever runs an agent."""
        return (*self.nodes, *self.hosts)


def read(connection: Connection, reports: Mapping[UUID, NodeReport], now: float) -> Audited:
    """Everything, in one transaction. `now` is seconds since the epoch."""
    known = load_balancers.list_ids(connection)
    expectations = tuple(
        expectation.read(connection, known[first : first + _AT_ONCE]) for first in range(0, len(known), _AT_ONCE)
    )
    queue = jobs.queue(connection)
    oldest = min((report.at for report in reports.values()), default=now)
    strangers = {one for report in reports.values() for one in carried_by(report)} - set(known)
    everything = [each for found in expectations for each in found.load_balancers.values()]
    deleting = {each.id for each in everything if each.state is LoadBalancerState.DELETING}
    touched = {UUID(entity_id) for entity_id in jobs.touched_since(connection, oldest)}
    return Audited(
        expectations=expectations,
        nodes=tuple(lb_nodes.list_all(connection)),
        hosts=tuple(hypervisors.list_all(connection)),
        epochs={UUID(row["entity_id"]): row["epoch"] for row in queue},
        unsettled=frozenset(deleting | touched | {UUID(row["entity_id"]) for row in queue if _is_due(row, now)}),
        known=frozenset(known),
        gone=frozenset(tombstones.epochs(connection, frozenset(strangers))),
    )


def _is_due(row: Fields, now: float) -> bool:
    """In somebody's hand, or soon to be. One that keeps failing is not: what it lacks meanwhile is to be seen."""
    return row["lease_holder"] is not None or bool(row["waiting"] and row["due_at"] <= now and not row["attempts"])


def inventories(audited: Audited, reports: Mapping[UUID, NodeReport]) -> Iterator[Inventory]:
    """One for each load balancer that is settled. Pure. A machine without a report counts as silent."""
    unheard = NodeReport(node_id=UUID(int=0), at=0.0)
    fleet: Fleet = (
        [(node, Seen(reports.get(node.id, unheard).lb_node)) for node in audited.nodes],
        [(host, Seen(reports.get(host.id, unheard).hypervisor)) for host in audited.hosts],
    )
    for found in audited.expectations:
        for each in found.load_balancers:
            if each not in audited.unsettled:
                yield expectation.inventory(found, fleet, each, epoch=audited.epochs.get(each, 0), loads={})


def carried_by(report: NodeReport) -> frozenset[UUID]:
    """The load balancers of which a node has something. Pure."""
    return frozenset(carried(report.lb_node or report.hypervisor))
