"""Placement: which LB nodes carry a load balancer."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from bascule.balancing.placement import Wish, meetings, place
from bascule.model.nodes import LBNode
from tests.unit.balancing.world import lb_node

SOMETHING = UUID(int=9)
PLAIN = Wish(load_balancer_id=SOMETHING)


def ids(*numbers: int) -> frozenset[UUID]:
    """The identifiers of these nodes."""
    return frozenset(lb_node(number).id for number in numbers)


def chosen(
    nodes: tuple[LBNode, ...],
    *,
    current: frozenset[UUID] = frozenset(),
    loads: dict[UUID, int] | None = None,
    wish: Wish = PLAIN,
    silent: frozenset[UUID] = frozenset(),
    lost: frozenset[UUID] = frozenset(),
    returning: frozenset[UUID] = frozenset(),
) -> set[str]:
    """The names of the nodes chosen when all but the silent ones answer."""
    reachable = frozenset(node.id for node in nodes) - silent
    found = place(
        wish,
        candidates=nodes,
        reachable=reachable,
        current=current,
        loads=loads or {},
        lost=lost,
        returning=returning,
    )
    return {node.name for node in nodes if node.id in found}


FOUR = tuple(lb_node(number) for number in range(1, 5))


def test_two_nodes_of_different_failure_domains() -> None:
    """Racks differ even when that means a busier node."""
    nodes = (lb_node(1, domain="a"), lb_node(2, domain="a"), lb_node(3, domain="b"))
    assert "lb3" in chosen(nodes, loads={lb_node(3).id: 50})


def test_the_least_loaded_nodes_are_taken() -> None:
    """Among equals the emptier ones."""
    assert chosen(FOUR, loads={lb_node(1).id: 3, lb_node(2).id: 3}) == {"lb3", "lb4"}


def test_what_is_placed_stays() -> None:
    """An emptier node is no reason to move."""
    assert chosen(FOUR, current=ids(1, 2), loads={lb_node(1).id: 9, lb_node(2).id: 9}) == {"lb1", "lb2"}


def test_one_node_is_better_than_none() -> None:
    """A single node carries everything."""
    assert chosen((lb_node(1),)) == {"lb1"}


def test_one_domain_is_better_than_one_node() -> None:
    """Without a second failure domain both nodes are of the same."""
    assert chosen((lb_node(1, domain="a"), lb_node(2, domain="a"))) == {"lb1", "lb2"}


def test_a_new_domain_parts_what_was_together() -> None:
    """Two nodes of one rack are exchanged for two racks as soon as a node of another one answers."""
    nodes = (lb_node(1, domain="a"), lb_node(2, domain="a"), lb_node(3, domain="b"))
    found = chosen(nodes, current=ids(1, 2))
    assert "lb3" in found
    assert len(found) == 2
    assert chosen(nodes, current=ids(1, 2), silent=ids(3)) == {"lb1", "lb2"}


def test_as_many_nodes_as_asked() -> None:
    """One, three, and no more than there are; fewer are kept when fewer are asked for, those that answer first."""
    assert len(chosen(FOUR, wish=replace(PLAIN, wanted=1))) == 1
    assert len(chosen(FOUR, wish=replace(PLAIN, wanted=3))) == 3
    assert len(chosen(FOUR, wish=replace(PLAIN, wanted=9))) == 4
    assert chosen(FOUR, current=ids(1, 2, 3), silent=ids(2)) == {"lb1", "lb3"}


def test_affinity_is_never_given_up() -> None:
    """Only nodes with every label carry it, however few; one that loses a label is left."""
    nodes = (
        replace(lb_node(1), labels={"net": "10g", "row": "1"}),
        replace(lb_node(2), labels={"net": "1g"}),
        *FOUR[2:],
    )
    wish = replace(PLAIN, affinity={"net": "10g"})
    assert chosen(nodes, wish=wish) == {"lb1"}
    assert chosen(nodes, wish=wish, current=ids(2, 3)) == {"lb1"}


def test_a_group_avoids_its_nodes() -> None:
    """A load balancer goes where no other of its anti-affinity group is, and shares a node rather than go short."""
    wish = replace(PLAIN, avoided=ids(1, 2))
    assert chosen(FOUR, wish=wish) == {"lb3", "lb4"}
    assert len(chosen(FOUR[:3], wish=wish)) == 2


def test_of_two_that_share_a_node_one_gives_way() -> None:
    """Whoever has an elder on its node moves; for a younger one it stays."""
    assert chosen(FOUR[:3], current=ids(1, 2), wish=replace(PLAIN, avoided=ids(2), elders=ids(2))) == {"lb1", "lb3"}
    assert chosen(FOUR[:3], current=ids(1, 2), wish=replace(PLAIN, avoided=ids(2))) == {"lb1", "lb2"}


def test_a_silent_node_stays_until_it_counts_as_dead() -> None:
    """Within the grace time it is kept, after it another takes its place, and without others it stays."""
    assert chosen(FOUR, current=ids(1, 2), silent=ids(1)) == {"lb1", "lb2"}
    found = chosen(FOUR, current=ids(1, 2), silent=ids(1), lost=ids(1))
    assert "lb2" in found
    assert "lb1" not in found
    assert len(found) == 2
    assert chosen(FOUR[:2], current=ids(1, 2), silent=ids(1), lost=ids(1)) == {"lb1", "lb2"}


def test_one_whose_nodes_are_all_dead_gets_others() -> None:
    """Both are replaced at once."""
    assert chosen(FOUR, current=ids(1, 2), silent=ids(1, 2), lost=ids(1, 2)) == {"lb3", "lb4"}


def test_a_node_that_returns_is_better_than_one_that_went_silent() -> None:
    """The replacement never answered, and the replaced one is back with all it carried: that one goes on."""
    assert chosen(FOUR, current=ids(2, 3), silent=ids(3), returning=ids(1)) == {"lb1", "lb2"}
    assert chosen(FOUR, current=ids(2, 3), returning=ids(1)) == {"lb2", "lb3"}


@given(st.integers(2, 12), st.integers(1, 60), st.integers(1, 4))
def test_load_balancers_spread_within_one(nodes: int, load_balancers: int, wanted: int) -> None:
    """Placed one after the other, no node carries more than one more than another."""
    candidates = tuple(lb_node(number) for number in range(nodes))
    assert unevenness(placed_in_turn(candidates, load_balancers, wanted), candidates) <= 1


@given(st.integers(2, 5), st.integers(1, 4), st.integers(1, 50), st.integers(1, 3))
def test_they_spread_within_one_over_racks(racks: int, nodes: int, load_balancers: int, wanted: int) -> None:
    """Also over racks of equal size, of which each load balancer is in different ones."""
    candidates = tuple(
        lb_node(rack * 10 + number, domain=f"rack-{rack}") for rack in range(racks) for number in range(nodes)
    )
    placed = placed_in_turn(candidates, load_balancers, min(wanted, racks))
    assert unevenness(placed, candidates) <= 1
    domains = {node.id: node.domain for node in candidates}
    assert all(len({domains[each] for each in found}) == len(found) for found in placed.values())


def placed_in_turn(candidates: tuple[LBNode, ...], load_balancers: int, wanted: int) -> dict[UUID, frozenset[UUID]]:
    """So many load balancers, each placed when those before it are."""
    everybody = frozenset(node.id for node in candidates)
    loads: Counter[UUID] = Counter()
    placed = {}
    for number in range(load_balancers):
        wish = Wish(load_balancer_id=uuid5(SOMETHING, str(number)), wanted=wanted)
        found = place(wish, candidates=candidates, reachable=everybody, current=frozenset(), loads=loads)
        loads.update(found)
        placed[wish.load_balancer_id] = found
    return placed


def unevenness(placed: dict[UUID, frozenset[UUID]], candidates: tuple[LBNode, ...]) -> int:
    """By how many load balancers the fullest and the emptiest node differ."""
    loads = Counter(each for found in placed.values() for each in found)
    counts = [loads[node.id] for node in candidates]
    return max(counts) - min(counts)


NODES = st.lists(st.tuples(st.sampled_from(["", "a", "b", "c"]), st.booleans(), st.booleans()), min_size=1, max_size=8)


@given(NODES, st.sets(st.integers(0, 7)), st.integers(1, 4), st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_a_placement_is_at_rest(
    drawn: list[tuple[str, bool, bool]], placed: set[int], wanted: int, lost: set[int], avoided: set[int]
) -> None:
    """Whatever is where: what was chosen is chosen again, and no exchange of one would part domains more."""
    nodes = tuple(lb_node(number, domain=domain, enabled=enabled) for number, (domain, enabled, _) in enumerate(drawn))
    reachable = frozenset(node.id for node, (_, _, answers) in zip(nodes, drawn, strict=True) if answers)
    dead = ids(*lost) - reachable
    wish = replace(PLAIN, wanted=wanted, avoided=ids(*avoided), elders=ids(*(each for each in avoided if each % 2)))
    loads = {node.id: number for number, node in enumerate(nodes)}
    first = place(wish, candidates=nodes, reachable=reachable, current=ids(*placed), loads=loads, lost=dead)
    again = place(wish, candidates=nodes, reachable=reachable, current=first, loads=loads, lost=dead)
    assert again == first
    assert len(first) <= wanted
    by_id = {node.id: node for node in nodes}
    free = [node for node in nodes if node.enabled and node.id in reachable - first]
    for leaving in first:
        others = [by_id[each] for each in first - {leaving}]
        here = meetings(wish, [*others, by_id[leaving]])
        assert all(meetings(wish, [*others, node]) >= here for node in free)
