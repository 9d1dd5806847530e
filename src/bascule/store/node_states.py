"""What each LB node last had of each load balancer, as the watch read it, inside the caller's transaction.

The API needs no way to the agents: they may be on a network of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, select
from sqlalchemy import delete as sql_delete
from sqlalchemy import insert as sql_insert

from bascule.model.reports import BalancerState
from bascule.store import tables

_TABLE = tables.node_states
_STATE: TypeAdapter[BalancerState] = TypeAdapter(BalancerState)


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptState:
    """`observed_at` is seconds since the epoch."""

    state: BalancerState
    observed_at: float


def replace_node(connection: Connection, node_id: UUID, states: Mapping[UUID, BalancerState], now: float) -> None:
    """What a node has now, by load balancer, in place of everything it had before."""
    forget_node(connection, node_id)
    values = [
        {
            "lb_node_id": str(node_id),
            "load_balancer_id": str(load_balancer_id),
            "state": _STATE.dump_json(state).decode(),
            "observed_at": now,
        }
        for load_balancer_id, state in states.items()
    ]
    if values:
        connection.execute(sql_insert(_TABLE), values)


def of_load_balancer(connection: Connection, load_balancer_id: UUID) -> dict[UUID, KeptState]:
    """The newest state on each LB node that had one; one that this release cannot read is left out."""
    found = {}
    for row in connection.execute(select(_TABLE).where(_TABLE.c.load_balancer_id == str(load_balancer_id))):
        try:
            state = _STATE.validate_json(row.state)
        except ValidationError:
            continue
        found[UUID(row.lb_node_id)] = KeptState(state=state, observed_at=row.observed_at)
    return found


def forget_node(connection: Connection, node_id: UUID) -> None:
    """Remove what a node had."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.lb_node_id == str(node_id)))


def forget_load_balancer(connection: Connection, load_balancer_id: UUID) -> None:
    """Remove what nodes had of a load balancer."""
    connection.execute(sql_delete(_TABLE).where(_TABLE.c.load_balancer_id == str(load_balancer_id)))
