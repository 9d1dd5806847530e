"""/admin/v1/lb-nodes: the machines that carry VIPs."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID, uuid4

from fastapi import APIRouter
from sqlalchemy import Connection

from bascule.api.context import Ctx
from bascule.balancing.rebalancing import rebalance_some
from bascule.model.errors import InUse
from bascule.model.nodes import Agent, LBNode, Silence
from bascule.orchestration.queue import Priority
from bascule.store import changes, lb_nodes, load_balancers, placements
from bascule.store.times import from_seconds
from bascule.wire.admin_v1 import LBNodeCreate, LBNodesView, LBNodeUpdate, LBNodeView, Rebalance, RebalanceView

router = APIRouter(prefix="/admin/v1/lb-nodes", tags=["operators: LB nodes"])


@router.get("")
def list_lb_nodes(context: Ctx) -> LBNodesView:
    """Every LB node, by name."""
    with context.database.read() as connection:
        counts, silences = placements.counts(connection), lb_nodes.silences(connection)
        nodes = lb_nodes.list_all(connection)
    return LBNodesView(lb_nodes=[_view(node, counts.get(node.id, 0), silences.get(node.id)) for node in nodes])


@router.post("", status_code=201)
def create_lb_node(context: Ctx, body: LBNodeCreate) -> LBNodeView:
    """Register an LB node: load balancers with too few nodes come to it."""
    node = LBNode(
        id=uuid4(),
        name=body.name,
        agent=Agent(url=body.agent_url, token=body.agent_token),
        failure_domain=body.failure_domain,
        enabled=body.enabled,
        data_plane=body.data_plane,
        labels=body.labels,
    )
    with context.database.write() as connection:
        lb_nodes.insert(connection, node)
        _reconcile_all(context, connection, f"LB node {node.name} was registered")
    return _view(node, 0)


@router.post(":rebalance", status_code=202)
def rebalance_lb_nodes(context: Ctx, body: Rebalance) -> RebalanceView:
    """Move load balancers from full LB nodes to emptier ones, as after one was added: nothing moves for that by itself.

    Ask again until nothing is left: then nodes carry the same number, within one, as far as load balancers allow it.
    """
    with context.database.write() as connection:
        done = rebalance_some(connection, at_most=body.at_most, now=context.clock.now())
    return RebalanceView(moved=done.moved, under_way=done.under_way, left=done.left)


@router.get("/{id}")
def get_lb_node(context: Ctx, id: UUID) -> LBNodeView:  # noqa: A002
    """One LB node."""
    with context.database.read() as connection:
        node, carried = lb_nodes.get(connection, id), len(placements.on_node(connection, id))
        return _view(node, carried, lb_nodes.silences(connection).get(id))


@router.put("/{id}")
def update_lb_node(context: Ctx, id: UUID, body: LBNodeUpdate) -> LBNodeView:  # noqa: A002
    """Change an LB node. Disabled, or with a data plane that cannot carry them, it loses load balancers to others."""
    with context.database.write() as connection:
        present = lb_nodes.lock_for_change(connection, id)
        node = replace(
            present,
            name=body.name or present.name,
            agent=Agent(url=body.agent_url or present.agent.url, token=body.agent_token or present.agent.token),
            failure_domain=present.failure_domain if body.failure_domain is None else body.failure_domain,
            enabled=present.enabled if body.enabled is None else body.enabled,
            data_plane=body.data_plane or present.data_plane,
            # Who says enabled or disabled says so at once.
            drain_until=present.drain_until if body.enabled is None else None,
            labels=present.labels if body.labels is None else body.labels,
        )
        lb_nodes.update(connection, node)
        _reconcile_all(context, connection, f"LB node {node.name} was changed")
        return _view(node, len(placements.on_node(connection, id)), lb_nodes.silences(connection).get(id))


@router.delete("/{id}", status_code=204)
def delete_lb_node(context: Ctx, id: UUID, dead: bool = False) -> None:  # noqa: A002
    """Forget an LB node. Refused until it is disabled and has confirmed that it carries nothing.

    `dead` is an operator's word for a silent machine: it is switched off for good, draws no traffic, and need not
    confirm anything. Addresses that it held may be given to others, and rules that it sent by are removed.
    """
    with context.database.write() as connection:
        node = lb_nodes.lock_for_change(connection, id)
        carried = placements.on_node(connection, id)
        if carried and not dead:
            names = ", ".join(load_balancers.get(connection, one).name for one in carried)
            raise InUse(
                f"LB node {node.name} carries {names}: disable it, and delete it once they have moved. If the machine"
                " is switched off for good, disable it and delete it as dead (bascule node delete NAME --dead)."
            )
        if node.enabled:
            raise InUse(f"LB node {node.name} is enabled: disable it first, so that nothing is placed on it meanwhile.")
        placements.forget_node(connection, id)
        lb_nodes.delete(connection, id)
        reason, now = f"LB node {node.name} is dead", context.clock.now()
        changes.request(connection, carried, priority=Priority.OPERATOR, reason=reason, now=now)


def _reconcile_all(context: Ctx, connection: Connection, reason: str) -> None:
    everything = load_balancers.list_ids(connection)
    changes.request(connection, everything, priority=Priority.OPERATOR, reason=reason, now=context.clock.now())


def _view(node: LBNode, carried: int, silent: tuple[float, Silence] | None = None) -> LBNodeView:
    since, silence = silent or (None, Silence.ANSWERS)
    return LBNodeView(
        id=node.id,
        name=node.name,
        agent_url=node.agent.url,
        failure_domain=node.failure_domain,
        enabled=node.enabled,
        drain_until=node.drain_until,
        data_plane=node.data_plane,
        load_balancers=carried,
        labels=dict(node.labels),
        silent_since=None if since is None else from_seconds(since),
        silence=silence,
    )
