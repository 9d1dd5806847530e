"""What became of machines, told without a bus."""

from __future__ import annotations

from bascule.client.transport import Transport
from bascule.events.messages import MachineEvent
from bascule.wire.admin_v1_work import MachineEventView


class MachineEvents:
    """/admin/v1/machine-events"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def tell(self, event: MachineEvent) -> MachineEventView:
        """Have it obeyed; answers what it meant."""
        body = event.model_dump(mode="json", by_alias=True, exclude_none=True)
        return MachineEventView.model_validate(self._transport.post("/admin/v1/machine-events", body))
