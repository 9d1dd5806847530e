"""/admin/v1/drift: where nodes differ from the expected state, and where they did."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from bascule.api.context import Ctx
from bascule.model.errors import NotFound
from bascule.model.nodes import Hypervisor, LBNode
from bascule.orchestration.queue import Priority
from bascule.store import (
    changes,
    drift_audits,
    drift_findings,
    drift_quarantines,
    hypervisors,
    lb_nodes,
    load_balancers,
)
from bascule.store.drift_audits import AuditRow
from bascule.store.drift_findings import DriftRow
from bascule.store.drift_quarantines import QuarantineRow
from bascule.store.times import from_seconds
from bascule.wire.admin_v1_work import (
    DriftAuditBody,
    DriftAuditView,
    DriftFindingView,
    DriftView,
    QuarantinesView,
    QuarantineView,
)

router = APIRouter(prefix="/admin/v1", tags=["operators: drift"])


@router.get("/drift")
def list_drift(context: Ctx, *, resolved: bool = False, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> DriftView:
    """The newest first: what lasts, and with `resolved` what is over too."""
    with context.database.read() as connection:
        found = drift_findings.latest(connection, resolved=resolved, limit=limit)
        return DriftView(findings=_views(connection, found))


@router.get("/drift/quarantines")
def list_quarantines(context: Ctx) -> QuarantinesView:
    """Load balancers on nodes for which drift asks for no reconciliation, because that does not mend them."""
    with context.database.read() as connection:
        return QuarantinesView(quarantines=[_quarantine_view(row) for row in drift_quarantines.lasting(connection)])


@router.post("/drift/quarantines/{id}/release")
def release_quarantine(context: Ctx, id: UUID) -> QuarantineView:  # noqa: A002
    """Let drift ask again; the load balancer is reconciled now."""
    now = context.clock.now()
    with context.database.write() as connection:
        row = drift_quarantines.release(connection, id, now=now)
        if row.load_balancer_id in load_balancers.list_ids(connection):
            reason = f"released from quarantine on {row.node}"
            changes.request(connection, [row.load_balancer_id], priority=Priority.EVENT, reason=reason, now=now)
    return _quarantine_view(row)


@router.post("/drift/audits", status_code=202)
def ask_for_audit(context: Ctx, body: DriftAuditBody) -> DriftAuditView:
    """Have an orchestrator ask every agent now and judge what it has; read the audit until it has ended."""
    with context.database.write() as connection:
        node_ids = _ids_of(connection, body.node) if body.node else []
        return _audit_view(connection, drift_audits.ask(connection, node_ids, now=context.clock.now()))


@router.get("/drift/audits/{id}")
def get_audit(context: Ctx, id: UUID) -> DriftAuditView:  # noqa: A002
    """One audit, with what it found."""
    with context.database.read() as connection:
        return _audit_view(connection, drift_audits.get(connection, id))


def _ids_of(connection: Connection, wanted: str) -> list[UUID]:
    """The LB node and the hypervisor of that name or identifier: one machine may be both."""
    machines: tuple[LBNode | Hypervisor, ...] = (*lb_nodes.list_all(connection), *hypervisors.list_all(connection))
    found = [each.id for each in machines if wanted in {each.name, str(each.id)}]
    if not found:
        raise NotFound(f"There is no LB node or hypervisor {wanted!r}: list them to find the one you mean.")
    return found


def _audit_view(connection: Connection, row: AuditRow) -> DriftAuditView:
    found = [] if row.ended_at is None else drift_findings.seen_at(connection, row.ended_at, row.node_ids)
    return DriftAuditView(
        id=row.id,
        requested_at=from_seconds(row.requested_at),
        ended_at=None if row.ended_at is None else from_seconds(row.ended_at),
        answered=list(row.answered),
        silent=list(row.silent),
        unsettled=row.unsettled,
        findings=_views(connection, found),
    )


def _quarantine_view(row: QuarantineRow) -> QuarantineView:
    return QuarantineView(
        id=row.id,
        node=row.node,
        node_id=row.node_id,
        load_balancer=row.load_balancer_id,
        reason=row.reason,
        since=from_seconds(row.since),
        released_at=None if row.released_at is None else from_seconds(row.released_at),
    )


def _views(connection: Connection, rows: Iterable[DriftRow]) -> list[DriftFindingView]:
    since = {row.place: from_seconds(row.since) for row in drift_quarantines.lasting(connection)}
    return [_view(row, since.get((row.node_id, row.load_balancer_id))) for row in rows]


def _view(row: DriftRow, quarantined_since: datetime | None) -> DriftFindingView:
    return DriftFindingView(
        id=row.id,
        kind=row.kind,
        node=row.node,
        node_id=row.node_id,
        load_balancer=row.load_balancer_id,
        what=row.words,
        first_seen=from_seconds(row.first_seen),
        last_seen=from_seconds(row.last_seen),
        resolved_at=None if row.resolved_at is None else from_seconds(row.resolved_at),
        quarantined_since=quarantined_since,
    )
