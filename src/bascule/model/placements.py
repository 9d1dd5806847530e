"""Which LB nodes carry a load balancer."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

NODES_PER_LOAD_BALANCER = 2
NODES_MOST = 64  # of one load balancer


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """One load balancer on one LB node."""

    load_balancer_id: UUID
    lb_node_id: UUID
