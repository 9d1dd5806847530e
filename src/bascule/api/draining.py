"""What routes by which members leave a pool have in common."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from bascule.api.context import Context
from bascule.model.addresses import IPAddress
from bascule.store import changes, instances
from bascule.store.times import from_seconds


def drain_until(context: Context, deadline: int | None) -> datetime | None:
    """When a drain ends that begins now; None: at once. `deadline` is in seconds, None the installation's."""
    seconds = context.drain_deadline if deadline is None else deadline
    return from_seconds(context.clock.now() + seconds) if seconds > 0 else None


def free_address(context: Context, connection: Connection, address: IPAddress, pool_id: UUID) -> None:
    """Whoever was removed and only keeps connections gives its address up to whoever comes to a pool with it."""
    found = instances.find_by_address(connection, address)
    if found is None or not found[1].leaving:
        return
    former_pool, holder = found
    instances.delete(connection, holder.id)
    if former_pool != pool_id:
        reason = f"another instance has the address of {holder.name}"
        changes.from_outside(connection, former_pool, reason=reason, now=context.clock.now())
