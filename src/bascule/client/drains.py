"""Drains of instances, pools, hypervisors and LB nodes."""

from __future__ import annotations

from uuid import UUID

from bascule.client.transport import Transport, body_of
from bascule.wire.admin_v1_drains import DrainsView


class Drains:
    """/admin/v1/drains and …:drain, …:undrain. Deadlines are in seconds; None is the installation's."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def show(self) -> DrainsView:
        """All that drains, and the instances that are drained."""
        return DrainsView.model_validate(self._transport.get("/admin/v1/drains"))

    def drain(self, path: str, deadline: int | None = None) -> DrainsView:
        """Drain what is at this path, as in `instance-pools/ID/instances/ID`, `hypervisors/ID` or `lb-nodes/ID`."""
        return DrainsView.model_validate(self._transport.put(f"/admin/v1/{path}:drain", body_of(deadline=deadline)))

    def undrain(self, path: str) -> DrainsView:
        """Undo it."""
        return DrainsView.model_validate(self._transport.put(f"/admin/v1/{path}:undrain", {}))


def instance_path(pool_id: UUID, instance_id: UUID) -> str:
    """Of one member of a pool."""
    return f"instance-pools/{pool_id}/instances/{instance_id}"
