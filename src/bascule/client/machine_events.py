"""What became of machines, told without a bus."""

from __future__ import annotations

from collections.abc import Mapping

from bascule.client.transport import Transport
from bascule.wire.admin_v1_work import MachineEventView


class MachineEvents:
    """/admin/v1/machine-events"""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def tell(self, event: Mapping[str, object]) -> MachineEventView:
        """Have an event obeyed, as JSON that a topic would carry; answers what it meant."""
        return MachineEventView.model_validate(self._transport.post("/admin/v1/machine-events", dict(event)))
