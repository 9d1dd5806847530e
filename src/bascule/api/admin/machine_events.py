"""/admin/v1/machine-events: tell of one machine without a bus, for installations that have no Kafka."""

from __future__ import annotations

from fastapi import APIRouter

from bascule.api.context import Ctx
from bascule.balancing.machines import obey
from bascule.events.messages import MachineEvent
from bascule.wire.admin_v1_work import MachineEventView

router = APIRouter(prefix="/admin/v1", tags=["operators: instance pools"])


@router.post("/machine-events", status_code=202)
def tell_machine_event(context: Ctx, body: MachineEvent) -> MachineEventView:
    """Obey an event as if it had come over the bus; answers what it meant: register, change, remove or nothing."""
    with context.database.write() as connection:
        found = obey(connection, body, now=context.clock.now(), drain_deadline=context.drain_deadline)
    return MachineEventView(meaning=type(found).__name__.lower())
