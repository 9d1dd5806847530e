"""Which LB nodes carry a load balancer. Pure, and stable: what is placed stays where it is while it may.

What it asks for comes in this order: data plane and affinity, which are never given up; then different failure domains;
then LB nodes without others of its anti-affinity group; then the emptier ones. Nothing moves for balance alone: see
`rebalance`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field
from uuid import UUID

from bascule.model.data_planes import DataPlaneName
from bascule.model.nodes import LBNode
from bascule.model.placements import NODES_PER_LOAD_BALANCER


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a load balancer asks of the LB nodes that carry it.

    `wanted` is how many; `carriers` are the data planes that can carry it; `affinity` are labels that each must have.
    `avoided` are the nodes of the others in its anti-affinity group: `elders` those of them for whom it gives way, so
    that of two that share a node one moves and not both.
    """

    load_balancer_id: UUID
    wanted: int = NODES_PER_LOAD_BALANCER
    carriers: Set[DataPlaneName] = frozenset(DataPlaneName)
    affinity: Mapping[str, str] = field(default_factory=dict)
    avoided: Set[UUID] = frozenset()
    elders: Set[UUID] = frozenset()

    def fits(self, node: LBNode) -> bool:
        """Whether it may be there at all."""
        labelled = not self.affinity or self.affinity.items() <= node.labels.items()
        return node.enabled and node.data_plane in self.carriers and labelled


def place(
    wish: Wish,
    *,
    candidates: tuple[LBNode, ...],
    reachable: Set[UUID],
    current: Set[UUID],
    loads: Mapping[UUID, int],
    lost: Set[UUID] = frozenset(),
    returning: Set[UUID] = frozenset(),
) -> frozenset[UUID]:
    """Choose up to `wanted` nodes that fit.

    Keeps the current ones, reachable or not: a silent agent says nothing about its packets. `lost` are those that have
    been silent for so long that others take their place; without others they stay. `returning` are nodes that were to
    be left, but answer and carry it still: one of them is better than a silent one. A node that is silent and
    runs none of the carriers is kept beside the chosen ones until it can be told to let go.
    """
    here = [node for node in candidates if node.id in current]
    if not returning and not current & lost and _at_rest(wish, here):
        return frozenset(node.id for node in here)  # of many load balancers all but a few
    fit = {node.id: node for node in candidates if wish.fits(node)}
    able = [node for node in fit.values() if node.id in reachable]
    order = _Order(wish, loads)
    kept = _fewest(wish, [fit[each] for each in sorted(current & fit.keys() - lost)], reachable, order)
    back = [node for node in able if node.id in returning]
    chosen = _exchange_silent(kept, back, reachable, order)
    while len(chosen) < wish.wanted and (free := [node for node in able if node not in chosen]):
        chosen.append(order.best([node for node in back if node not in chosen] or free, chosen))
    dead = [fit[each] for each in sorted(current & fit.keys() & lost)]
    chosen += dead[: wish.wanted - len(chosen)]
    chosen = _spread(wish, chosen, able, reachable, order)
    misfits = {node.id for node in candidates if node.enabled and node.data_plane not in wish.carriers}
    return frozenset(node.id for node in chosen) | ((misfits & current) - reachable)


def _at_rest(wish: Wish, chosen: list[LBNode]) -> bool:
    return len(chosen) == wish.wanted and all(map(wish.fits, chosen)) and meetings(wish, chosen) == (0, 0)


@dataclass(frozen=True, slots=True)
class _Order:
    """Which node comes first beside those that are chosen."""

    wish: Wish
    loads: Mapping[UUID, int]

    def best(self, free: Collection[LBNode], chosen: Iterable[LBNode]) -> LBNode:
        """Of a new failure domain, free of its group, and with the least load.

        Of equally loaded ones from the domain with most of those: taking first where most is left lets later ones find
        two domains (Gale and Ryser, 1957). Ties are broken by rendezvous hashing (Thaler and Ravishankar, 1998).
        """
        domains = {node.domain for node in chosen}
        alike = Counter((node.domain, self.loads.get(node.id, 0)) for node in free)
        return min(
            free,
            key=lambda node: (
                node.domain in domains,
                node.id in self.wish.elders,
                node.id in self.wish.avoided,
                self.loads.get(node.id, 0),
                -alike[node.domain, self.loads.get(node.id, 0)],
                rank(self.wish.load_balancer_id, node.id),
            ),
        )


def rank(load_balancer_id: UUID, node_id: UUID) -> bytes:
    """The same everywhere, and another order for each load balancer."""
    return hashlib.blake2b(load_balancer_id.bytes + node_id.bytes, digest_size=8).digest()


def _fewest(wish: Wish, current: list[LBNode], reachable: Set[UUID], order: _Order) -> list[LBNode]:
    """As many of them as are wanted: those that answer first."""
    kept: list[LBNode] = []
    while current and len(kept) < wish.wanted:
        answering = [node for node in current if node.id in reachable]
        kept.append(current[0] if len(current) + len(kept) <= wish.wanted else order.best(answering or current, kept))
        current = [node for node in current if node not in kept]
    return kept


def _exchange_silent(
    chosen: list[LBNode], returning: list[LBNode], reachable: Set[UUID], order: _Order
) -> list[LBNode]:
    """Whoever carries it and answers instead of whoever does not answer."""
    silent = [node for node in chosen if node.id not in reachable]
    free = [node for node in returning if node not in chosen]
    chosen = list(chosen)
    while silent and free:
        chosen.remove(silent.pop())
        best = order.best(free, chosen)
        free.remove(best)
        chosen.append(best)
    return chosen


def _spread(wish: Wish, chosen: list[LBNode], able: list[LBNode], reachable: Set[UUID], order: _Order) -> list[LBNode]:
    """Exchange nodes while that makes failure domains or its group's nodes meet less."""
    while len(chosen) > 0:
        found = _exchange(wish, chosen, able, reachable, order)
        if found is None:
            return chosen
        chosen = found
    return chosen


def _exchange(
    wish: Wish, chosen: list[LBNode], able: list[LBNode], reachable: Set[UUID], order: _Order
) -> list[LBNode] | None:
    """The best exchange of one node, silent ones before others; None when none is better than what is."""
    free = [node for node in able if node not in chosen]
    troubled = _troubled(wish, chosen)
    best, least = None, meetings(wish, chosen)
    for node in sorted(troubled, key=lambda node: (node.id in reachable, rank(wish.load_balancer_id, node.id))):
        others = [other for other in chosen if other != node]
        if free and (now := meetings(wish, found := [*others, order.best(free, others)])) < least:
            best, least = found, now
    return best


def _troubled(wish: Wish, chosen: list[LBNode]) -> list[LBNode]:
    domains = Counter(node.domain for node in chosen)
    return [node for node in chosen if domains[node.domain] > 1 or node.id in wish.elders]


def meetings(wish: Wish, chosen: Collection[LBNode]) -> tuple[int, int]:
    """How many nodes share a failure domain with another, and how many are those of whom it gives way for."""
    return len(chosen) - len({node.domain for node in chosen}), sum(node.id in wish.elders for node in chosen)
