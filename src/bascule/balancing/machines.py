"""Obey machine events: bring the store to what they mean, and ask for the reconciliation of whoever is concerned."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from ipaddress import ip_address
from uuid import UUID, uuid4

import structlog
from sqlalchemy import Connection

from bascule.balancing.machine_events import (
    Change,
    Meaning,
    Member,
    Nothing,
    Obeyed,
    Register,
    Remove,
    Standing,
    is_newer,
    meaning,
)
from bascule.clock import Clock
from bascule.events.messages import MachineEvent, MachineEventKind
from bascule.model.addresses import IPAddress
from bascule.model.draining import DRAIN_DEADLINE
from bascule.model.errors import InvalidInput
from bascule.store import changes, draining, hypervisors, instance_pools, instances, machines
from bascule.store.database import Database
from bascule.store.machines import MachineRow
from bascule.store.times import from_seconds

log = structlog.stdlib.get_logger(__name__)


class MachineFollower:
    """Handles machine events. One event is one transaction: it counts as obeyed when what it means is written.

    `drain_deadline` is how long, in seconds, who makes room for another keeps its connections.
    """

    def __init__(self, database: Database, clock: Clock, drain_deadline: float = DRAIN_DEADLINE) -> None:
        self._database, self._clock, self._drain_deadline = database, clock, drain_deadline

    async def handle(self, event: MachineEvent) -> None:
        """Raises InvalidInput for what can never be obeyed, and Unavailable while the database is away."""
        with self._database.write() as connection:
            found = obey(connection, event, now=self._clock.now(), drain_deadline=self._drain_deadline)
        tell = log.debug if isinstance(found, Nothing) else log.info
        tell("machine event", kind=event.kind, machine=event.machine, meaning=type(found).__name__.lower())


def obey(connection: Connection, event: MachineEvent, *, now: float, drain_deadline: float = DRAIN_DEADLINE) -> Meaning:
    """Do what the event means, inside the caller's transaction; `now` is seconds since the epoch.

    A member that makes room for an older one drains, for `drain_deadline` seconds at most.

    Raises InvalidInput for what can never be obeyed.
    """
    row = machines.find(connection, event.machine)
    found = meaning(event, _standing(connection, event, row))
    if isinstance(found, Nothing) and not found.remember:
        return found
    until = from_seconds(now + drain_deadline) if drain_deadline > 0 else None
    own = _apply(connection, found, event, now=now, until=until)
    machines.put(
        connection,
        MachineRow(
            machine=event.machine,
            instance_id=own if not isinstance(found, Nothing) else None if row is None else row.instance_id,
            kind=event.kind,
            at=event.at.timestamp(),
            sequence=event.sequence,
        ),
    )
    return found


def _apply(
    connection: Connection, found: Meaning, event: MachineEvent, *, now: float, until: datetime | None
) -> UUID | None:
    """Write it down; returns the machine's instance. Whoever makes room drains until then."""
    match found:
        case Register(member, instead_of):
            if instead_of is not None:
                _leave(connection, instead_of, event, now)
            instances.insert(connection, member.pool_id, member.instance)
        case Change(member):
            if member.instance.moving_to is not None:
                hypervisors.lock_for_change(connection, member.instance.moving_to)  # it stays while somebody comes
            pool = instance_pools.get(connection, member.pool_id)
            instances.update(connection, member.instance)
            draining.follow(connection, pool, until=until)
        case Remove(member):
            _leave(connection, member, event, now)
            return None
        case Nothing():
            return None
    _tell(connection, member, event, now)
    return member.instance.id


def _leave(connection: Connection, member: Member, event: MachineEvent, now: float) -> None:
    instances.delete(connection, member.instance.id)
    machines.unlink(connection, member.instance.id)
    _tell(connection, member, event, now)


def _tell(connection: Connection, member: Member, event: MachineEvent, now: float) -> None:
    changes.from_outside(connection, member.pool_id, reason=f"{member.instance.name} was {event.kind}", now=now)


def _standing(connection: Connection, event: MachineEvent, row: MachineRow | None) -> Standing:
    """Names are looked up only where they matter: a data centre's other machines live where we know nobody."""
    obeyed = None if row is None else Obeyed(kind=MachineEventKind(row.kind), at=row.at, sequence=row.sequence)
    if not is_newer(event, obeyed):
        return Standing(new_id=uuid4(), obeyed=obeyed)
    linked = None if row is None else row.instance_id
    own = _named(connection, event) if linked is None else _member(connection, linked)
    if own is not None and own.instance.leaving and event.kind is MachineEventKind.CREATED:
        own = None  # people removed it: whoever is created is another one
    holder = None if event.address is None else _member(connection, event.address)
    if holder is not None and own is not None and holder.instance.id == own.instance.id:
        holder = None
    comes = event.kind not in {MachineEventKind.DELETED, MachineEventKind.STOPPED}
    concerned = comes and (own is not None or holder is not None or event.pool is not None)
    return Standing(
        new_id=uuid4(),
        obeyed=obeyed,
        own=own,
        holder=holder,
        pool_id=_pool(connection, event.pool) if event.pool is not None and comes and own is None else None,
        hypervisor_id=_hypervisor(connection, event.hypervisor) if event.hypervisor is not None and concerned else None,
        dismissed=linked is not None and own is None,
    )


def _named(connection: Connection, event: MachineEvent) -> Member | None:
    """Some senders call a machine by our identifier, or by its address; an instance that is another's is not meant."""
    for read in (UUID, ip_address):
        with suppress(ValueError):
            found = _member(connection, read(event.machine))
            if found is not None and found.machine in {"", event.machine}:
                return found
    if event.address is not None and event.kind in {MachineEventKind.DELETED, MachineEventKind.STOPPED}:
        found = _member(connection, event.address)
        return found if found is not None and not found.machine else None
    return None


def _member(connection: Connection, which: UUID | IPAddress) -> Member | None:
    if isinstance(which, UUID):
        found = instances.find_by_id(connection, which)
    else:
        found = instances.find_by_address(connection, which)
    if found is None:
        return None
    pool_id, instance = found
    return Member(pool_id=pool_id, instance=instance, machine=machines.of_instance(connection, instance.id))


def _pool(connection: Connection, name_or_id: str) -> UUID:
    found = instance_pools.named(connection, name_or_id)
    if not found:
        raise InvalidInput(f"There is no instance pool {name_or_id!r}: list them, or create it first.", field="pool")
    if len(found) > 1:
        raise InvalidInput(f"{len(found)} instance pools are named {name_or_id!r}: name its identifier.", field="pool")
    return found[0]


def _hypervisor(connection: Connection, name_or_id: str) -> UUID:
    for hypervisor in hypervisors.list_all(connection):
        if name_or_id in {hypervisor.name, str(hypervisor.id)}:
            return hypervisor.id
    raise InvalidInput(f"There is no hypervisor {name_or_id!r}: list them, or register it first.", field="hypervisor")
