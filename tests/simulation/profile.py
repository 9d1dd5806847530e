"""Which faults one history has, and how many: each seed draws its own, so that some meet alone and some together.

Source: Groce et al., "Swarm Testing", ISSTA 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random


class Fault(StrEnum):
    """What happens now and then, by a hand from outside."""

    ORCHESTRATOR_DIES = "orchestrator dies"
    ORCHESTRATOR_STALLS = "orchestrator stalls"
    AGENT_DIES = "agent dies"
    MACHINE_RESTARTS = "machine restarts"
    OLD_DISK = "machine restarts with an old disk"
    EMPTY_DISK = "machine restarts with an empty disk"
    CUT_OFF = "machine is cut off"
    DATABASE_AWAY = "database is away"
    KERNEL_REFUSES = "kernel refuses"
    DISK_REFUSES = "disk refuses"
    INSTANCE_FAILS = "instance fails"
    LB_NODE_GONE = "LB node is gone for long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """`faults` and the seconds between two of them; then what may happen to each message and each transaction."""

    faults: tuple[Fault, ...]
    pause: float
    lost_request: float
    lost_answer: float
    doubled: float
    late: float
    refused_transaction: float
    unknown_commit: float
    trouble: float  # seconds of faults
    users: int  # changes that users and operators ask for


SLEEPY = Profile(
    faults=(Fault.ORCHESTRATOR_STALLS,),
    pause=2.5,
    lost_request=0.0,
    lost_answer=0.0,
    doubled=0.0,
    late=0.4,
    refused_transaction=0.0,
    unknown_commit=0.0,
    trouble=16.0,
    users=10,
)
"""Jobs that last, for workers that sleep longer than their leases: few seeds draw this by themselves."""


def draw(chance: Random) -> Profile:
    """A profile."""

    def now_and_then(most: float) -> float:
        return chance.uniform(0, most) if chance.random() < 0.5 else 0.0

    return Profile(
        faults=tuple(fault for fault in Fault if chance.random() < 0.4),
        pause=chance.uniform(0.5, 4.0),
        lost_request=now_and_then(0.10),
        lost_answer=now_and_then(0.10),
        doubled=now_and_then(0.15),
        late=now_and_then(0.10),
        refused_transaction=now_and_then(0.01),
        unknown_commit=now_and_then(0.02),
        trouble=chance.uniform(6.0, 16.0),
        users=chance.randint(4, 10),
    )
