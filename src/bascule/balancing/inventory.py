"""The observed world for one load balancer, as plain data: what `decide` decides on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingConfiguration, RulesByHypervisor
from bascule.model.data_planes import DataPlaneName
from bascule.model.instance_pools import Instance, InstancePool
from bascule.model.load_balancers import LoadBalancer
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import BalancerReport


@dataclass(frozen=True, slots=True, kw_only=True)
class LBNodeView:
    """One LB node: whether its agent answered, and what it carries of this load balancer (None: nothing).

    `runs` is the data plane that its agent reports, "" when it does not say; `problems` is what it complains of.
    """

    node: LBNode
    reachable: bool
    balancer: BalancerReport | None = None
    runs: str = ""
    problems: tuple[str, ...] = ()

    @property
    def as_it_runs(self) -> LBNode:
        """The node with the data plane that its agent reports, where that is known: what is registered may be wrong."""
        known = self.runs in set(DataPlaneName)
        return replace(self.node, data_plane=DataPlaneName(self.runs)) if known else self.node


@dataclass(frozen=True, slots=True, kw_only=True)
class HypervisorView:
    """One hypervisor: whether its agent answered, and the rules it has for this load balancer (None: none).

    Not `enforced`: it was told these rules, but its kernel may not have them.
    """

    hypervisor: Hypervisor
    reachable: bool
    configuration: ForwardingConfiguration | None = None
    enforced: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """Another load balancer of the same anti-affinity group, and the LB nodes that shall carry it."""

    load_balancer_id: UUID
    name: str
    nodes: frozenset[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """Everything about one load balancer at one moment.

    `epoch` is the lease's, for fencing. `placements` is what the store says; `leaving` are LB nodes that were placed
    and have not confirmed since that they carry nothing; `loads` is how many load balancers each LB node shall carry,
    this one included. `lost` are LB nodes that others shall replace, unless they answer. `pending` tells that
    operations wait for an answer. `fallbacks` are the sorry servers that exist. `unanswered` is the epoch of the last
    job if that did not end well, else 0: commands of it may still be on their way, and nodes that look as they should
    may obey them yet. `given` are the rules by which LB nodes may send, None when they are those of the expected state.
    `neighbours` are the others of its anti-affinity group.
    """

    load_balancer: LoadBalancer
    epoch: int
    pools: Mapping[UUID, InstancePool]
    placements: frozenset[UUID]
    loads: Mapping[UUID, int]
    lb_nodes: tuple[LBNodeView, ...]
    hypervisors: tuple[HypervisorView, ...]
    pending: bool = False
    leaving: frozenset[UUID] = frozenset()
    fallbacks: Mapping[IPAddress, Instance] = field(default_factory=dict)
    unanswered: int = 0
    given: RulesByHypervisor | None = None
    lost: frozenset[UUID] = frozenset()
    neighbours: tuple[Neighbour, ...] = ()

    @property
    def holders(self) -> frozenset[UUID]:
        """LB nodes that may carry it, whatever they say or do not say."""
        return self.placements | self.leaving
