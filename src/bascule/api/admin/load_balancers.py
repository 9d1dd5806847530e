"""/admin/v1/load-balancers: what operators see of a load balancer, and a nudge to reconcile it."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import Connection

from bascule.api.admin.jobs import queue_entry_view
from bascule.api.context import Ctx
from bascule.api.load_balancers import view
from bascule.model.errors import InvalidInput
from bascule.orchestration.queue import Priority
from bascule.store import changes, health_statuses, instance_pools, jobs, lb_nodes, load_balancers, placements
from bascule.store.health_statuses import HealthStatus
from bascule.store.times import from_seconds
from bascule.wire.admin_v1 import Reconcile, ReconcileView
from bascule.wire.admin_v1_work import HealthStatusView, LoadBalancerDetailView, PlacementView

router = APIRouter(prefix="/admin/v1", tags=["operators: load balancers"])


@router.post("/load-balancers:reconcile", status_code=202)
def reconcile_load_balancers(context: Ctx, body: Reconcile) -> ReconcileView:
    """Ask for the reconciliation of these load balancers, of those with labels, or of all."""
    with context.database.write() as connection:
        known = load_balancers.list_ids(connection)
        wanted = known if body.ids is None else list(dict.fromkeys(body.ids))
        unknown = set(wanted) - set(known)
        if unknown:
            names = ", ".join(sorted(map(str, unknown)))
            raise InvalidInput(f"There is no load balancer {names}: list them to find those you mean.", field="ids")
        if body.labels:
            labelled = load_balancers.with_labels(connection, body.labels)
            wanted = [each for each in wanted if each in labelled]
        reason, now = "an operator asked", context.clock.now()
        changes.request(connection, wanted, priority=Priority[body.priority.upper()], reason=reason, now=now)
    return ReconcileView(requested=len(wanted))


@router.get("/load-balancers/{id}")
def get_load_balancer(context: Ctx, id: UUID) -> LoadBalancerDetailView:  # noqa: A002
    """One load balancer: where it is placed, what each LB node says, and how its reconciliation stands."""
    with context.database.read() as connection:
        load_balancer = load_balancers.get(connection, id)
        statuses = health_statuses.of_load_balancer(connection, id)
        health = health_statuses.combine(statuses, context.clock.now())
        seen = view(load_balancer, instance_pools.for_load_balancer(connection, id), health)
        queue = [queue_entry_view(row) for row in jobs.queue(connection, str(id))]
        return LoadBalancerDetailView(
            **dict(seen),
            generation=load_balancer.generation,
            placements=_placements(connection, id),
            health=[_health_view(status) for status in statuses],
            queue=queue[0] if queue else None,
        )


def _placements(connection: Connection, load_balancer_id: UUID) -> list[PlacementView]:
    placed = placements.of(connection, load_balancer_id)
    nodes = [node for node in lb_nodes.list_all(connection) if node.id in placed]
    return [PlacementView(lb_node=node.id, name=node.name, enabled=node.enabled) for node in nodes]


def _health_view(status: HealthStatus) -> HealthStatusView:
    return HealthStatusView(
        lb_node=status.lb_node_id,
        service=status.verdict.service_id,
        instance=status.verdict.instance_id,
        health=status.verdict.health,
        message=status.verdict.message,
        observed_at=from_seconds(status.observed_at),
    )
