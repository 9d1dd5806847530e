"""Which load balancers to move so that LB nodes carry the same number of them, within one. Pure.

Nothing moves for balance by itself: an operator asks for it, as after a node was added. What load balancers ask for
comes before balance; where it allows an even spread, the moves found lead to one.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from uuid import UUID

from bascule.balancing.placement import Wish
from bascule.model.nodes import LBNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A load balancer where it is. Of one that is `fixed` nothing moves now; `group` is its anti-affinity."""

    wish: Wish
    nodes: frozenset[UUID]
    group: str = ""
    fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A load balancer that goes from one LB node to another."""

    load_balancer_id: UUID
    source: UUID
    target: UUID


def rebalance(placed: Sequence[Placed], nodes: Sequence[LBNode], answering: Set[UUID]) -> Iterator[tuple[Move, ...]]:
    """Moves that belong together, each such group making the spread more even by one load balancer.

    A load balancer moves to nodes that answer, and from them: silent ones are none of our business.
    """
    world = _World(placed, [node for node in nodes if node.enabled and node.id in answering])
    while moves := world.next_moves():
        for move in moves:
            world.make(move)
        yield moves


class _World:
    def __init__(self, placed: Sequence[Placed], nodes: Sequence[LBNode]) -> None:
        self._nodes: Mapping[UUID, LBNode] = {node.id: node for node in nodes}
        self._placed = {each.wish.load_balancer_id: each for each in placed}
        self._where = {key: set(each.nodes) for key, each in self._placed.items()}
        self._on: defaultdict[UUID, set[UUID]] = defaultdict(set)
        self._groups: Counter[tuple[str, UUID]] = Counter()
        for key, each in self._placed.items():
            for node_id in each.nodes:
                self._on[node_id].add(key)
                self._groups[each.group, node_id] += 1

    def make(self, move: Move) -> None:
        key, group = move.load_balancer_id, self._placed[move.load_balancer_id].group
        self._where[key] = self._where[key] - {move.source} | {move.target}
        self._on[move.source].remove(key)
        self._on[move.target].add(key)
        self._groups[group, move.source] -= 1
        self._groups[group, move.target] += 1

    def next_moves(self) -> tuple[Move, ...]:
        """From one of the fullest nodes to one with at least two fewer, maybe by others; empty when all is even."""
        order = sorted(self._nodes, key=lambda node_id: (len(self._on[node_id]), node_id))
        for fullest in reversed(order):
            emptier = {each for each in order if len(self._on[each]) <= len(self._on[fullest]) - 2}
            if emptier and (found := self._way(fullest, emptier, order)):
                return found
        return ()

    def _way(self, begin: UUID, ends: Set[UUID], order: Sequence[UUID]) -> tuple[Move, ...]:
        """The shortest chain of moves, each of another load balancer, from `begin` to one of the ends."""
        ways: dict[UUID, tuple[Move, ...]] = {begin: ()}
        queue = deque([begin])
        while queue:
            source = queue.popleft()
            for target in order:
                if target not in ways and (move := self._movable(source, target, ways[source])):
                    ways[target] = (*ways[source], move)
                    if target in ends:
                        return ways[target]
                    queue.append(target)
        return ()

    def _movable(self, source: UUID, target: UUID, earlier: tuple[Move, ...]) -> Move | None:
        taken = {move.load_balancer_id for move in earlier}
        for key in sorted(self._on[source] - taken - self._on[target]):
            if self._may(self._placed[key], source, target):
                return Move(load_balancer_id=key, source=source, target=target)
        return None

    def _may(self, each: Placed, source: UUID, target: UUID) -> bool:
        """Whether it gets all that it asks for as it does now."""
        if each.fixed or not each.wish.fits(self._nodes[target]):
            return False
        others = [self._nodes[one] for one in self._where[each.wish.load_balancer_id] - {source} if one in self._nodes]
        domains = {node.domain for node in others}
        worse_domain = self._nodes[target].domain in domains and self._nodes[source].domain not in domains
        meets = each.group and self._groups[each.group, target] > 0 and self._groups[each.group, source] == 1
        return not worse_domain and not meets
