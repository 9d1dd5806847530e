"""What `decide` hands to `plan`: an event that carries everything needed, so that planning looks nothing up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration, RulesByHypervisor, Version
from bascule.model.nodes import Hypervisor, LBNode


@dataclass(frozen=True, slots=True, kw_only=True)
class Placements:
    """LB nodes that shall carry a load balancer, and those that may carry it still."""

    nodes: frozenset[UUID]
    leaving: frozenset[UUID] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """What an LB node shall carry. `serve` is None when it carries that already; `announce` when it announces it."""

    node: LBNode
    serve: BalancerConfiguration | None
    announce: BalancerConfiguration | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaving:
    """An LB node that shall carry the load balancer no more. `withdraw` is None when it announces nothing.

    Not `stop`: it drains, and serves what still comes by the configuration `withdraw`.
    """

    node: LBNode
    withdraw: BalancerConfiguration | None
    load_balancer_id: UUID
    version: Version
    stop: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Forwarding:
    """What a hypervisor shall carry; a configuration without rules removes it."""

    hypervisor: Hypervisor
    configuration: ForwardingConfiguration


@dataclass(frozen=True, slots=True, kw_only=True)
class Converge:
    """Bring the nodes to the expected state. `prepare` adds hypervisor rules, `tidy` removes those no longer used.

    `give` are the rules by which LB nodes may send while this goes on, None when they are written down already;
    `settle` those by which they may send afterwards, None when they are written down, or cannot be told.
    """

    load_balancer_id: UUID
    name: str
    generation: int
    placements: Placements | None
    prepare: tuple[Forwarding, ...]
    serving: tuple[Serving, ...]
    leaving: tuple[Leaving, ...]
    tidy: tuple[Forwarding, ...]
    give: RulesByHypervisor | None = None
    settle: RulesByHypervisor | None = None
    # A sentence about nodes that could not be reached and will follow; empty when there are none.
    incomplete: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Take the load balancer off every node, then delete it. `waits_for` names nodes that must answer first."""

    load_balancer_id: UUID
    name: str
    leaving: tuple[Leaving, ...]
    tidy: tuple[Forwarding, ...]
    waits_for: str = ""


Event: TypeAlias = Converge | Remove
