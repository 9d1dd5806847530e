"""What drains, as the operators' API says it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from bascule.wire.fields import Body, DrainDeadline, View


class Drain(Body):
    """`deadline` is how long, in seconds, connections are kept at most; 0 is not at all.

    Without it the installation's is used (BASCULE_DRAIN_DEADLINE).
    """

    deadline: DrainDeadline | None = None


class Undrain(Body):
    """Nothing more is to be said."""


class RemainingView(View):
    """What one LB node counts of one service; `connections` is left out where it is not known."""

    lb_node: str
    load_balancer: str
    service: str
    connections: int | None = None


class InstanceDrainView(View):
    """An instance that drains until `until`; without that, it is drained and serves no more.

    `connections` sums up what LB nodes count; it is left out while none of them knows. `leaving`: it is removed then.
    """

    id: UUID
    name: str
    pool: UUID
    pool_name: str
    hypervisor: UUID
    until: datetime | None = None
    leaving: bool = False
    connections: int | None = None
    remaining: list[RemainingView]


class LBNodeDrainView(View):
    """An LB node that drains until `until`; without that, it is disabled.

    `load-balancers` counts what it carries yet, `announced` those of them that it still draws packets for; `packets`
    are those that it has counted of these.
    """

    id: UUID
    name: str
    until: datetime | None = None
    load_balancers: int
    announced: int
    packets: int


class DrainsView(View):
    """All that drains, and the instances that are drained."""

    instances: list[InstanceDrainView]
    lb_nodes: list[LBNodeDrainView]
