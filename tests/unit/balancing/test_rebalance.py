"""Rebalancing: the fewest moves after which LB nodes carry the same number of load balancers, within one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from bascule.balancing.placement import Wish, place
from bascule.balancing.rebalance import Placed, rebalance
from bascule.model.nodes import LBNode
from tests.unit.balancing.test_placement import SOMETHING, ids, placed_in_turn, unevenness
from tests.unit.balancing.world import lb_node


def rebalanced(placed: dict[UUID, frozenset[UUID]], nodes: tuple[LBNode, ...]) -> dict[UUID, frozenset[UUID]]:
    """Where everything is after all moves."""
    before = [Placed(wish=Wish(load_balancer_id=each), nodes=found) for each, found in placed.items()]
    placed = dict(placed)
    for moves in rebalance(before, nodes, {node.id for node in nodes}):
        for move in moves:
            assert move.source in placed[move.load_balancer_id]
            assert move.target not in placed[move.load_balancer_id]
            placed[move.load_balancer_id] = placed[move.load_balancer_id] - {move.source} | {move.target}
    return placed


@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 40), st.integers(1, 3), st.data())
def test_even_within_one_after_nodes_came_and_went(
    racks: int, size: int, load_balancers: int, wanted: int, data: st.DataObject
) -> None:
    """Racks of equal size, of which nodes died and came back: then every node has the same, within one."""
    nodes = tuple(lb_node(rack * 10 + number, domain=f"r{rack}") for rack in range(racks) for number in range(size))
    wanted = min(wanted, racks)
    placed = placed_in_turn(nodes, load_balancers, wanted)
    for _ in range(data.draw(st.integers(0, 4))):
        gone = data.draw(st.sampled_from(nodes)).id
        for each in placed:
            placed[each] = without(gone, each, nodes, placed, wanted)
    after = rebalanced(placed, nodes)
    assert unevenness(after, nodes) <= 1
    domains = {node.id: node.domain for node in nodes}
    for each, found in after.items():
        assert len(found) == len(placed[each])
        assert len({domains[one] for one in found}) >= len({domains[one] for one in placed[each]})


def without(
    gone: UUID, load_balancer_id: UUID, nodes: tuple[LBNode, ...], placed: dict[UUID, frozenset[UUID]], wanted: int
) -> frozenset[UUID]:
    """Where it goes when that node dies."""
    loads = Counter(each for found in placed.values() for each in found)
    return place(
        Wish(load_balancer_id=load_balancer_id, wanted=wanted),
        candidates=nodes,
        reachable={node.id for node in nodes} - {gone},
        current=placed[load_balancer_id],
        loads=loads,
        lost={gone},
    )


def test_a_new_node_gets_its_share() -> None:
    """Of thirty load balancers on three nodes a fourth gets fifteen, and no more move than that."""
    nodes = tuple(lb_node(number) for number in range(4))
    placed = placed_in_turn(nodes[:3], 30, 2)
    after = rebalanced(placed, nodes)
    assert unevenness(after, nodes) == 0
    assert sum(placed[each] != after[each] for each in placed) == 15


def test_what_is_even_stays() -> None:
    """Nothing moves for a difference of one."""
    nodes = tuple(lb_node(number) for number in range(3))
    placed = placed_in_turn(nodes, 4, 2)
    assert rebalanced(placed, nodes) == placed


def test_nothing_goes_where_it_must_not() -> None:
    """Affinity and groups come before balance, and what is fixed, silent or disabled takes no part."""
    crowd, other = lb_node(1), lb_node(2)

    def moves(*placed: Placed, node: LBNode = other, answering: frozenset[UUID] = ids(1, 2)) -> int:
        return sum(len(each) for each in rebalance(placed, (crowd, node), answering))

    def two(**given: object) -> list[Placed]:
        found = []
        for number in range(2):
            wish = Wish(load_balancer_id=uuid5(SOMETHING, str(number)), wanted=1)
            found.append(replace(Placed(wish=wish, nodes=ids(1)), **given))  # type: ignore[arg-type]
        return found

    picky = [replace(each, wish=replace(each.wish, affinity={"net": "10g"})) for each in two()]
    assert moves(*two()) == 1
    assert moves(*two(fixed=True)) == 0
    assert moves(*picky) == 0
    assert moves(*two(), answering=ids(1)) == 0
    assert moves(*two(), node=replace(other, enabled=False)) == 0
    assert moves(*two(group="shop")) == 1
