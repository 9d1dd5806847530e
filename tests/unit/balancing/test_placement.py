"""Placement: which LB nodes carry a load balancer."""

from __future__ import annotations

from collections import Counter
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from bascule.balancing.placement import place
from bascule.model.nodes import LBNode
from tests.unit.balancing.world import lb_node

SOMETHING = UUID(int=9)


def chosen(
    nodes: tuple[LBNode, ...], *, current: frozenset[UUID] = frozenset(), loads: dict[UUID, int] | None = None
) -> set[str]:
    """The names of the nodes chosen when all of them answer."""
    reachable = frozenset(node.id for node in nodes)
    found = place(SOMETHING, candidates=nodes, reachable=reachable, current=current, loads=loads or {})
    return {node.name for node in nodes if node.id in found}


def test_two_nodes_of_different_failure_domains() -> None:
    """Racks differ even when that means a busier node."""
    nodes = (lb_node(1, domain="a"), lb_node(2, domain="a"), lb_node(3, domain="b"))
    assert "lb3" in chosen(nodes, loads={lb_node(3).id: 50})


def test_the_least_loaded_nodes_are_taken() -> None:
    """Among equals the emptier ones."""
    nodes = tuple(lb_node(number) for number in range(1, 5))
    assert chosen(nodes, loads={lb_node(1).id: 3, lb_node(2).id: 3}) == {"lb3", "lb4"}


def test_what_is_placed_stays() -> None:
    """An emptier node is no reason to move."""
    nodes = tuple(lb_node(number) for number in range(1, 5))
    current = frozenset({lb_node(1).id, lb_node(2).id})
    assert chosen(nodes, current=current, loads={lb_node(1).id: 9, lb_node(2).id: 9}) == {"lb1", "lb2"}


def test_one_node_is_better_than_none() -> None:
    """A single node carries everything."""
    assert chosen((lb_node(1),)) == {"lb1"}


@given(st.integers(2, 12), st.integers(1, 60))
def test_load_balancers_spread_within_one(nodes: int, load_balancers: int) -> None:
    """Placed one after the other, no node carries more than one more than another."""
    candidates = tuple(lb_node(number) for number in range(nodes))
    everybody = frozenset(node.id for node in candidates)
    loads: Counter[UUID] = Counter()
    for number in range(load_balancers):
        identifier = uuid5(SOMETHING, str(number))
        loads.update(place(identifier, candidates=candidates, reachable=everybody, current=frozenset(), loads=loads))
    counts = [loads[node.id] for node in candidates]
    assert max(counts) - min(counts) <= 1
