"""What an event of a machine means for the instances of pools. Pure.

    created, started, migrated   a machine that no pool has comes into the pool that the event names
    started, migrated, created   the instance lives on the hypervisor that the event names, and is not stopped (migrated
                                 leaves that as it is)
    migrating                    the hypervisor that the event names gets ready for the instance, still elsewhere
    stopped                      the instance is stopped: it stays in its pool and does not serve
    deleted                      the instance leaves its pool

What people set by hand (evicted, weight, how it is reached) is never touched, and whom they took out of a pool comes
back only when it is created anew. An event that is older than one that was
obeyed already means nothing, and so does the same event once more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeAlias
from uuid import UUID

from bascule.events.messages import MachineEvent, MachineEventKind
from bascule.model.errors import InvalidInput
from bascule.model.instance_pools import Instance

_Kind = MachineEventKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Obeyed:
    """The last event of a machine that was obeyed; `at` is seconds since the epoch."""

    kind: MachineEventKind
    at: float
    sequence: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """An instance in its pool; `machine` is whose it is, "" when only people spoke of it."""

    pool_id: UUID
    instance: Instance
    machine: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the store knows of what an event speaks of.

    `own` is the machine's instance; `holder` another that has the event's address. `pool_id` and `hypervisor_id` are
    those that the event names. `dismissed`: people took its instance out of the pool. `new_id` is for an instance that
    comes to be.
    """

    new_id: UUID
    obeyed: Obeyed | None = None
    own: Member | None = None
    holder: Member | None = None
    pool_id: UUID | None = None
    hypervisor_id: UUID | None = None
    dismissed: bool = False


@dataclass(frozen=True, slots=True)
class Register:
    """A member comes to a pool, in place of one whose machine is gone and whose address it has."""

    member: Member
    instead_of: Member | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """A member is different; it is the machine's from now on."""

    member: Member


@dataclass(frozen=True, slots=True)
class Remove:
    """A member leaves its pool."""

    member: Member


@dataclass(frozen=True, slots=True)
class Nothing:
    """Nothing changes. `remember` tells whether the event counts as obeyed."""

    remember: bool


Meaning: TypeAlias = Register | Change | Remove | Nothing


def meaning(event: MachineEvent, standing: Standing) -> Meaning:
    """Raises InvalidInput for an event that lacks what it needs."""
    if not is_newer(event, standing.obeyed):
        return Nothing(remember=False)
    if event.kind is _Kind.DELETED:
        return Nothing(remember=True) if standing.own is None else Remove(standing.own)
    if event.kind is _Kind.STOPPED:
        return (
            _changed(standing, replace(standing.own.instance, stopped=True, moving_to=None))
            if standing.own
            else _unknown(event, standing)
        )
    if event.kind is _Kind.MIGRATING:
        return _about_to_move(event, standing)
    if standing.own is not None:
        return _changed(standing, _followed(event, standing.own.instance, standing))
    return _newcomer(event, standing)


def is_newer(event: MachineEvent, obeyed: Obeyed | None) -> bool:
    """By the sender's own count; by time where either lacks one."""
    if obeyed is None:
        return True
    if event.sequence is not None and obeyed.sequence is not None:
        return event.sequence > obeyed.sequence
    return event.at.timestamp() > obeyed.at


def _unknown(event: MachineEvent, standing: Standing) -> Nothing:
    """A machine of no pool: remembered only if it has to do with pools, for a data centre has many that have not."""
    return Nothing(remember=standing.obeyed is not None or event.pool is not None)


def _changed(standing: Standing, instance: Instance) -> Meaning:
    assert standing.own is not None
    same = instance == standing.own.instance
    return Nothing(remember=True) if same else Change(replace(standing.own, instance=instance))


def _about_to_move(event: MachineEvent, standing: Standing) -> Meaning:
    """Naming the hypervisor where it is calls a move off. Who is nobody yet is told of when it has moved."""
    by_hand = standing.holder is not None and not standing.holder.machine
    member = standing.own or (standing.holder if by_hand else None)
    if member is None:
        return _unknown(event, standing)
    if standing.hypervisor_id is None:
        raise InvalidInput("A machine that is about to move needs the hypervisor it moves to.", field="hypervisor")
    target = None if standing.hypervisor_id == member.instance.hypervisor_id else standing.hypervisor_id
    adopted = replace(member, machine=event.machine, instance=replace(member.instance, moving_to=target))
    return Nothing(remember=True) if adopted == member else Change(adopted)


def _followed(event: MachineEvent, instance: Instance, standing: Standing) -> Instance:
    address = event.address or instance.address
    if address != instance.address and standing.holder is not None:
        raise InvalidInput(
            f"{address} is the address of {standing.holder.instance.name}: one of both machines is elsewhere by now.",
            field="address",
        )
    arrived = instance.moving_to if event.kind is _Kind.MIGRATED else None
    return replace(
        instance,
        address=address,
        hypervisor_id=standing.hypervisor_id or arrived or instance.hypervisor_id,
        moving_to=None,
        stopped=instance.stopped and event.kind is _Kind.MIGRATED,
    )


def _newcomer(event: MachineEvent, standing: Standing) -> Meaning:
    """A machine without an instance."""
    if standing.holder is not None and not (standing.holder.machine or standing.holder.instance.leaving):
        # Somebody registered it by hand: it stays what they made of it.
        adopted = replace(standing.holder, machine=event.machine)
        found = _followed(event, adopted.instance, replace(standing, holder=None))
        return Change(replace(adopted, instance=found))
    if standing.pool_id is None:
        return _unknown(event, standing)
    if standing.dismissed and event.kind is not _Kind.CREATED:
        return Nothing(remember=True)
    if event.address is None or standing.hypervisor_id is None:
        raise InvalidInput("A machine that comes into a pool needs its address and its hypervisor.", field="address")
    instance = Instance(
        id=standing.new_id,
        name=event.name or event.machine,
        address=event.address,
        hypervisor_id=standing.hypervisor_id,
    )
    member = Member(pool_id=standing.pool_id, instance=instance, machine=event.machine)
    return Register(member, instead_of=standing.holder)
