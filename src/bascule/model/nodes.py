"""The machines: LB nodes, which carry VIPs, and hypervisors, which carry instances. Each runs one agent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from bascule.model.data_planes import DataPlaneName


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """Where a node's agent answers, and the bearer token it wants."""

    url: str
    token: str = field(repr=False)


class Silence(StrEnum):
    """What becomes of an LB node whose agent does not answer; ANSWERS is the usual."""

    ANSWERS = ""
    WAITING = "waiting"  # for the grace time to end
    REPLACED = "replaced"  # its load balancers get other nodes
    HELD = "held"  # the grace time is over, but more of the fleet is silent than may be replaced


@dataclass(frozen=True, slots=True, kw_only=True)
class LBNode:
    """A machine that carries VIPs. Nodes of one failure domain (rack, power feed) may die together.

    Without one a node is a domain of its own. `labels` are what load balancers may ask for by their affinity.
    `drain_until`: it is disabled, but what it carried it serves until no packets come any more, or until then (UTC).
    """

    id: UUID
    name: str
    agent: Agent
    failure_domain: str = ""
    enabled: bool = True
    data_plane: DataPlaneName = DataPlaneName.XDP
    drain_until: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def domain(self) -> str:
        """Equal for those that may die together, and for no others."""
        return f"domain {self.failure_domain}" if self.failure_domain else f"node {self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hypervisor:
    """A host that carries instances (a Kubernetes node is the hypervisor of its pods)."""

    id: UUID
    name: str
    agent: Agent
