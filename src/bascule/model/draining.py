"""When a member of a pool begins to drain, and when it drains no more. Pure.

Whoever served before a change and does not serve after it keeps its connections for a while, whatever the change was:
the pool shrank, people evicted, drained or removed it, or an older member came back. Whoever serves again does
not drain any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from bascule.model.instance_pools import Instance, InstancePool

DRAIN_DEADLINE = 300.0  # seconds, when nobody says another


def follow(
    before: InstancePool, after: InstancePool, until: datetime | None, asked: Set[UUID] = frozenset()
) -> Iterator[Instance]:
    """The members whose row is to be written, or deleted if they are `leaving` and do not drain.

    `until` is the deadline of drains that begin now, None for those that end before they begin. Those that drain
    already keep theirs, but for the members that were `asked` to drain: the last word counts.
    """
    served, drained = ({member.id for member in members} for members in (before.active, before.draining))
    serves = {member.id for member in after.active}
    for member in after.members:
        begins = member.id in served or (member.id in asked and member.id in drained)
        keeps = None if member.id in serves or member.stopped else member.drain_until
        deadline = until if begins and member.id not in serves and not member.stopped else keeps
        gone = member.leaving and deadline is None
        if gone or deadline != member.drain_until:
            yield replace(member, drain_until=deadline)
