"""/admin/v1/drift: where nodes differ from the expected state, and where they did."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import Connection

from bascule.api.context import Ctx
from bascule.model.errors import NotFound
from bascule.model.nodes import Hypervisor, LBNode
from bascule.store import drift_audits, drift_findings, hypervisors, lb_nodes
from bascule.store.drift_audits import AuditRow
from bascule.store.drift_findings import DriftRow
from bascule.store.times import from_seconds
from bascule.wire.admin_v1_work import DriftAuditBody, DriftAuditView, DriftFindingView, DriftView

router = APIRouter(prefix="/admin/v1", tags=["operators: drift"])


@router.get("/drift")
def list_drift(context: Ctx, *, resolved: bool = False, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> DriftView:
    """The newest first: what lasts, and with `resolved` what is over too."""
    with context.database.read() as connection:
        found = drift_findings.latest(connection, resolved=resolved, limit=limit)
    return DriftView(findings=[_view(row) for row in found])


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
        findings=[_view(each) for each in found],
    )


def _view(row: DriftRow) -> DriftFindingView:
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
    )
