"""/admin/v1/drift: where nodes differ from the expected state, and where they did."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from bascule.api.context import Ctx
from bascule.store import drift_findings
from bascule.store.drift_findings import DriftRow
from bascule.store.times import from_seconds
from bascule.wire.admin_v1_work import DriftFindingView, DriftView

router = APIRouter(prefix="/admin/v1", tags=["operators: drift"])


@router.get("/drift")
def list_drift(context: Ctx, *, resolved: bool = False, limit: Annotated[int, Query(ge=1, le=1000)] = 100) -> DriftView:
    """The newest first: what lasts, and with `resolved` what is over too."""
    with context.database.read() as connection:
        found = drift_findings.latest(connection, resolved=resolved, limit=limit)
    return DriftView(findings=[_view(row) for row in found])


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
