"""Operations: what became of a change."""

from __future__ import annotations

import time
from uuid import UUID

from bascule.client.transport import Transport
from bascule.model.errors import SystemFailure, Unavailable
from bascule.model.operations import OperationState
from bascule.wire.public_v2_views import OperationView

POLL_INTERVAL = 0.2  # seconds; the public API answers from its store, so asking often is cheap


class Operations:
    """/v2/operation"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def get(self, operation_id: UUID) -> OperationView:
        """One operation. Raises NotFound."""
        return OperationView.model_validate(self._transport.get(f"/v2/operation/{operation_id}"))

    def wait(self, operation_id: UUID, timeout: float) -> OperationView:
        """Ask until it has succeeded. `timeout` is in seconds.

        Raises Unavailable when it is still pending then, and SystemFailure with its message when it failed.
        """
        deadline = time.monotonic() + timeout
        while (operation := self.get(operation_id)).state is OperationState.PENDING:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unavailable(f"Operation {operation_id} is still pending after {timeout:g} s: ask again later.")
            time.sleep(min(POLL_INTERVAL, left))
        if operation.state is not OperationState.SUCCESS:
            reason = operation.message or operation.reason or "no reason given"
            raise SystemFailure(f"Operation {operation_id} ended in {operation.state}: {reason}.")
        return operation
