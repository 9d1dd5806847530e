"""What each LB node last had of each load balancer, as the watch read it, inside the caller's transaction.

The API needs no way to the agents: they may be on a network of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, bindparam, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert
from sqlalchemy import update as sql_update

from bascule.model.reports import BalancerState
from bascule.store import tables

_TABLE = tables.node_states
_NODES = tables.lb_nodes
_LOCKED = select(_NODES.c.id).where(_NODES.c.id == bindparam("of")).with_for_update(key_share=True)
_STATE: TypeAdapter[BalancerState] = TypeAdapter(BalancerState)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """`observed_at` is seconds since the epoch."""

    state: BalancerState
    observed_at: float


def take_turns(connection: Connection, node_id: UUID) -> None:
    """Wait for whoever writes down what this node reports; others wait until the transaction ends.

    Every orchestrator watches: two at once would both delete, and then both insert.
    """
    connection.execute(_LOCKED, {"of": str(node_id)})


def written(states: Mapping[UUID, BalancerState]) -> dict[UUID, str]:
    """As `replace_node` takes them: work to do before the transaction."""
    return {load_balancer_id: _STATE.dump_json(state).decode() for load_balancer_id, state in states.items()}


def replace_node(
    connection: Connection, node_id: UUID, states: Mapping[UUID, str], before: Mapping[UUID, str] | None, now: float
) -> None:
    """What a node has now, by load balancer; `before` is what the caller wrote last, None when it cannot know.

    Only what differs is written anew: most load balancers of a large installation are idle most of the time.
    """
    take_turns(connection, node_id)
    mine = _TABLE.c.lb_node_id == str(node_id)
    if before is None:
        forget_node(connection, node_id)
        before = {}
    changed = {each: state for each, state in states.items() if before.get(each) != state}
    # Also what `before` does not name: every orchestrator watches, and another one may have written it meanwhile.
    outdated = [{"outdated": str(each)} for each in {**before, **changed} if each in changed or each not in states]
    if outdated:
        connection.execute(sql_delete(_TABLE).where(mine, _TABLE.c.load_balancer_id == bindparam("outdated")), outdated)
    values = [
        {
            "lb_node_id": str(node_id),
            "load_balancer_id": str(load_balancer_id),
            "state": state,
        }
        for load_balancer_id, state in changed.items()
    ]
    if values:
        connection.execute(sql_insert(_TABLE), values)
    still(connection, node_id, now)


def still(connection: Connection, node_id: UUID, now: float) -> None:
    """A node was seen, and has what it had before."""
    connection.execute(sql_update(_NODES).where(_NODES.c.id == str(node_id)).values(seen_at=now))


def of_load_balancer(connection: Connection, load_balancer_id: UUID) -> dict[UUID, KeptState]:
    """The newest state on each LB node that had one; one that this release cannot read is left out."""
    query = select(_TABLE, _NODES.c.seen_at).join(_NODES, _NODES.c.id == _TABLE.c.lb_node_id)
    found = {}
    for row in connection.execute(query.where(_TABLE.c.load_balancer_id == str(load_balancer_id))):
        try:
            state = _STATE.validate_json(row.state)
        except ValidationError:
            continue
        found[UUID(row.lb_node_id)] = KeptState(state=state, observed_at=row.seen_at or 0.0)
    return found


def seen_at(connection: Connection) -> dict[UUID, float]:
    """When each LB node was last seen, of those that ever were."""
    rows = connection.execute(select(_NODES.c.id, _NODES.c.seen_at).where(_NODES.c.seen_at.is_not(None)))
    return {UUID(row.id): row.seen_at for row in rows}


def forget_node(connection: Connection, node_id: UUID) -> None:
    """Remove what a node had."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.lb_node_id == str(node_id)))


def forget_load_balancer(connection: Connection, load_balancer_id: UUID) -> None:
    """Remove what nodes had of a load balancer."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.load_balancer_id == str(load_balancer_id)))
