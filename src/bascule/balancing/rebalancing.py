"""Write down the moves that make LB nodes carry the same number of load balancers, at most so many at a time.

A move is a placement and a node to be left: the reconciliation that is asked for serves on the new node before it
leaves the old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing import desired, expectation
from bascule.balancing.expectation import Expectation
from bascule.balancing.placement import Wish
from bascule.balancing.rebalance import Move, Placed, rebalance
from bascule.model import demands
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState
from bascule.orchestration.queue import Priority
from bascule.store import changes, lb_nodes, load_balancers, placements


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebalanced:
    """`moved` go now, `under_way` went before and are not there yet, `left` are to go later."""

    moved: int
    under_way: int
    left: int


def rebalance_some(connection: Connection, *, at_most: int, now: float) -> Rebalanced:
    """Let so many load balancers move, with those that are moving already."""
    known = load_balancers.list_ids(connection)
    found = expectation.read(connection, known)
    nodes = lb_nodes.list_all(connection)
    answering = {node.id for node in nodes} - lb_nodes.silences(connection).keys()
    moving = {each for each, left in found.leaving.items() if left & answering}
    fixed = moving | changes.in_hand(connection, known)
    placed = [_placed(each, found, fixed=each.id in fixed) for each in found.load_balancers.values()]
    groups = list(rebalance(placed, nodes, answering))
    chosen: list[Move] = []
    for moves in groups:
        if len(moving) + len(chosen) + len(moves) > at_most:
            break
        chosen += moves
    _write(connection, found, chosen, now)
    return Rebalanced(moved=len(chosen), under_way=len(moving), left=sum(map(len, groups)) - len(chosen))


def _placed(load_balancer: LoadBalancer, found: Expectation, *, fixed: bool) -> Placed:
    demanded = desired.demands_of(load_balancer, found.pools, found.fallbacks)
    wish = Wish(
        load_balancer_id=load_balancer.id,
        wanted=load_balancer.node_count,
        carriers=demands.carriers(demanded),
        affinity=load_balancer.affinity,
    )
    return Placed(
        wish=wish,
        nodes=found.placements.get(load_balancer.id, frozenset()),
        group=load_balancer.anti_affinity,
        fixed=fixed or load_balancer.state is LoadBalancerState.DELETING,
    )


def _write(connection: Connection, found: Expectation, moves: list[Move], now: float) -> None:
    nodes, leaving = dict(found.placements), dict(found.leaving)
    for move in moves:
        key = move.load_balancer_id
        nodes[key] = nodes[key] - {move.source} | {move.target}
        leaving[key] = leaving.get(key, frozenset()) - {move.target} | {move.source}
    moved: set[UUID] = {move.load_balancer_id for move in moves}
    for key in sorted(moved):
        placements.replace(connection, key, nodes[key], leaving=leaving[key] - nodes[key])
    changes.request(connection, moved, priority=Priority.OPERATOR, reason="LB nodes are rebalanced", now=now)
