"""Writes down which members of a pool drain, inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Set
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from bascule.model import draining
from bascule.model.instance_pools import Instance, InstancePool
from bascule.store import instance_pools, instances, services


def follow(
    connection: Connection, before: InstancePool, *, until: datetime | None, asked: Set[UUID] = frozenset()
) -> InstancePool:
    """After a change of a pool that was `before`: see `bascule.model.draining`. Returns the pool as it is then.

    Members of a pool that no service uses have no connections to keep.
    """
    after = instance_pools.get(connection, before.id)
    deadline = until if services.using_pool(connection, before.id) else None
    for member in draining.follow(before, after, deadline, asked):
        write(connection, member)
    return instance_pools.get(connection, before.id)


def write(connection: Connection, member: Instance) -> None:
    """Write the row; whoever is leaving and does not drain any more is gone."""
    if member.leaving and member.drain_until is None:
        instances.delete(connection, member.id)
    else:
        instances.update(connection, member)
