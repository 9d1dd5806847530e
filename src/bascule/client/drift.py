"""Differences between nodes and the expected state."""

from __future__ import annotations

import time
from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.model.errors import Unavailable
from bascule.wire.admin_v1_work import (
    DriftAuditView,
    DriftFindingView,
    DriftView,
    QuarantinesView,
    QuarantineView,
)

_LOOK = 0.2  # seconds


class Drift:
    """/admin/v1/drift"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self, *, resolved: bool = False, limit: int = 100) -> list[DriftFindingView]:
        """The newest first: what lasts, and with `resolved` what is over too."""
        answer = self._transport.get("/admin/v1/drift", resolved="true" if resolved else "false", limit=limit)
        return DriftView.model_validate(answer).findings

    def audit(self, node: str | None = None) -> DriftAuditView:
        """Ask for an audit of a node, by name or identifier, or of all."""
        return DriftAuditView.model_validate(self._transport.post("/admin/v1/drift/audits", body_of(node=node)))

    def quarantines(self) -> list[QuarantineView]:
        """Load balancers on nodes for which drift asks for no reconciliation."""
        return QuarantinesView.model_validate(self._transport.get("/admin/v1/drift/quarantines")).quarantines

    def release(self, quarantine_id: UUID) -> QuarantineView:
        """End a quarantine."""
        answer = self._transport.post(f"/admin/v1/drift/quarantines/{quarantine_id}/release", {})
        return QuarantineView.model_validate(answer)

    def get_audit(self, audit_id: UUID) -> DriftAuditView:
        """One audit."""
        return DriftAuditView.model_validate(self._transport.get(f"/admin/v1/drift/audits/{audit_id}"))

    def wait(self, audit_id: UUID, timeout: float) -> DriftAuditView:
        """Wait until it has ended, `timeout` seconds at most. Raises Unavailable."""
        deadline = time.monotonic() + timeout
        while (audit := self.get_audit(audit_id)).ended_at is None:
            if time.monotonic() > deadline:
                raise Unavailable(f"No orchestrator has done the audit within {timeout:g} s: see whether one runs.")
            time.sleep(_LOOK)
        return audit
