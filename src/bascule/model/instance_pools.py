"""An instance pool is a group of machines that grows and shrinks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.virtual_services import ForwardingMethod

WEIGHT_MAX = 100


class InstancePoolState(StrEnum):
    """States of the public API that we use."""

    RUNNING = "running"
    SCALING_UP = "scaling-up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One machine. `weight` 0 keeps its connections and gives it no new ones.

    `forwarding_method` is how this one is reached, whatever its services say; None leaves it to them.
    `moving_to` is the hypervisor that it is about to move to, which gets ready for it; None while it stays.
    `evicted` and `drained` are what people say, `stopped` what became of the machine, `leaving` that it goes as soon as
    it may: each keeps it from serving. `drain_until`: it served until then or a moment ago, and keeps its connections
    until it has none or that time comes (UTC).
    """

    id: UUID
    name: str
    address: IPAddress
    hypervisor_id: UUID
    weight: int = 1
    forwarding_method: ForwardingMethod | None = None
    evicted: bool = False
    stopped: bool = False
    drained: bool = False
    leaving: bool = False
    drain_until: datetime | None = None
    moving_to: UUID | None = None

    @property
    def willing(self) -> bool:
        """Whether it may serve, as far as people say."""
        return not (self.evicted or self.drained or self.leaving)

    @property
    def places(self) -> tuple[UUID, ...]:
        """The hypervisors that must know it: where it is, and where it is about to be."""
        return (self.hypervisor_id,) if self.moving_to is None else (self.hypervisor_id, self.moving_to)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstancePool:
    """`size` caps how many members serve, oldest first; None lets every member serve. The others stand by."""

    id: UUID
    name: str
    description: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    size: int | None = None
    members: tuple[Instance, ...] = ()

    @property
    def active(self) -> tuple[Instance, ...]:
        """The members that take new connections: willing and not stopped, oldest first, at most `size`."""
        willing = [member for member in self.members if member.willing and not member.stopped]
        return tuple(willing if self.size is None else willing[: self.size])

    @property
    def draining(self) -> tuple[Instance, ...]:
        """The members that keep their connections and take no new ones. A machine that stopped has none to keep."""
        active = {member.id for member in self.active}
        return tuple(
            member
            for member in self.members
            if member.drain_until is not None and not member.stopped and member.id not in active
        )

    @property
    def carried(self) -> tuple[Instance, ...]:
        """Everybody that LB nodes send to: those that drain have weight 0."""
        return (*self.active, *(replace(member, weight=0) for member in self.draining))

    @property
    def state(self) -> InstancePoolState:
        """SCALING_UP while fewer members are registered than the size asks for."""
        short = self.size is not None and len(self.active) < self.size
        return InstancePoolState.SCALING_UP if short else InstancePoolState.RUNNING
