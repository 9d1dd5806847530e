"""The machines: LB nodes, which carry VIPs, and hypervisors, which carry instances. Each runs one agent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from bascule.model.data_planes import DataPlaneName


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Where a node's agent answers, and the bearer token it wants."""

    url: str
    token: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class LBNode:
    """A machine that carries VIPs. Nodes of one failure domain (rack, power feed) may die together.

    `drain_until`: it is disabled, but what it carried it serves until no packets come any more, or until then (UTC).
    """

    id: UUID
    name: str
    agent: Agent
    failure_domain: str = ""
    enabled: bool = True
    data_plane: DataPlaneName = DataPlaneName.XDP
    drain_until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypervisor:
    """A host that carries instances (a Kubernetes node is the hypervisor of its pods)."""

    id: UUID
    name: str
    agent: Agent
