"""Differences between nodes and the expected state."""

from __future__ import annotations

from bascule.client.transport import Transport
from bascule.wire.admin_v1_work import DriftFindingView, DriftView


class Drift:
    """/admin/v1/drift"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_all(self, *, resolved: bool = False, limit: int = 100) -> list[DriftFindingView]:
        """The newest first: what lasts, and with `resolved` what is over too."""
        answer = self._transport.get("/admin/v1/drift", resolved="true" if resolved else "false", limit=limit)
        return DriftView.model_validate(answer).findings
