"""Sentences about LB nodes and their data planes, for whoever waits for an operation. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from uuid import UUID

from bascule.balancing import desired
from bascule.balancing.inventory import Inventory, Neighbour
from bascule.model import demands
from bascule.model.data_planes import DataPlaneName
from bascule.model.demands import Demand
from bascule.model.load_balancers import LoadBalancer
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


def on_placement(
    load_balancer: LoadBalancer, nodes: Sequence[LBNode], placements: Set[UUID], neighbours: Sequence[Neighbour]
) -> Iterator[str]:
    """What it asks for and does not get: enough LB nodes, of different failure domains, apart from its group."""
    placed = [node for node in nodes if node.id in placements]
    fit = [node for node in nodes if node.enabled and load_balancer.affinity.items() <= node.labels.items()]
    asks = load_balancer.node_count > NODES_PER_LOAD_BALANCER or load_balancer.affinity
    if asks and len(placed) < load_balancer.node_count:
        asked = f" with the labels {labels(load_balancer.affinity)}" if load_balancer.affinity else ""
        yield (
            f"{len(placed)} of {load_balancer.node_count} LB nodes carry it: {len(fit)} are enabled{asked}."
            " Register more."
        )
    together: dict[str, list[str]] = {}
    for node in placed:
        together.setdefault(node.failure_domain, []).append(node.name)
    for domain, names in together.items():
        if domain and len(names) > 1:
            yield f"{', '.join(names)} may die together ({domain}): no fit LB node of another failure domain was free."
    for neighbour in neighbours:
        shared = ", ".join(node.name for node in placed if node.id in neighbour.nodes)
        if shared:
            yield f"It shares {shared} with {neighbour.name}, of its group {load_balancer.anti_affinity}."


def labels(given: Mapping[str, str]) -> str:
    """As they are written on the command line."""
    return ", ".join(f"{key}={value}" for key, value in sorted(given.items()))


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
