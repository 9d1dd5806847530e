"""Sentences about LB nodes and their data planes, for whoever waits for an operation. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from uuid import UUID

from bascule.balancing import desired
from bascule.balancing.inventory import Inventory
from bascule.model import demands
from bascule.model.data_planes import DataPlaneName
from bascule.model.demands import Demand
from bascule.model.nodes import LBNode
from bascule.model.placements import NODES_PER_LOAD_BALANCER

_TOLD = 3  # problems: who waits for an operation wants the reason, not the report


def on_data_planes(inventory: Inventory, placements: Set[UUID]) -> Iterator[str]:
    """Nodes that run something else than they are registered with; and when too few can carry the load balancer."""
    yield from mismatches(inventory, placements)
    yield from too_few(_demanded(inventory), [view.as_it_runs for view in inventory.lb_nodes])


def too_few(demanded: tuple[Demand, ...], nodes: Sequence[LBNode]) -> Iterator[str]:
    """At most one sentence: why fewer nodes carry the load balancer than there are and than there should be."""
    carriers = demands.carriers(demanded)
    enabled = [node for node in nodes if node.enabled]
    able = [node.name for node in enabled if node.data_plane in carriers]
    if len(able) < min(len(enabled), NODES_PER_LOAD_BALANCER):
        who = f"Only {', '.join(able)}" if able else "No LB node"
        yield f"{who} can carry it: it asks for {', '.join(map(str, demanded))}."


def mismatches(inventory: Inventory, placements: Set[UUID]) -> Iterator[str]:
    """Of the nodes that carry the load balancer, and of those that could if they ran what they are registered with."""
    carriers = demands.carriers(_demanded(inventory))
    for view in inventory.lb_nodes:
        missed = view.node.data_plane in carriers and view.as_it_runs.data_plane not in carriers
        if view.node.id in placements or (view.node.enabled and missed):
            yield from mismatch(view.node, view.runs)


def said(node: LBNode, problems: Sequence[str]) -> str:
    """A node's own words on why it does not do what it was told."""
    words = " ".join(problems[:_TOLD]) if problems else "no problem. Read its agent's log."
    return f"{node.name} reports: {words}"


def _demanded(inventory: Inventory) -> tuple[Demand, ...]:
    return desired.demands_of(inventory.load_balancer, inventory.pools, inventory.fallbacks)


def mismatch(node: LBNode, runs: str) -> Iterator[str]:
    """At most one sentence. The fake data plane, of tests and rehearsals, stands for any."""
    if runs in set(DataPlaneName) - {node.data_plane}:
        yield (
            f"{node.name} is registered with the data plane {node.data_plane}, and its agent runs {runs}: correct the"
            f" registration (bascule node set {node.name} --data-plane {runs}) or the agent's BASCULE_DATAPLANE."
        )
