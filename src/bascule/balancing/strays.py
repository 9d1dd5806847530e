"""Load balancers that are gone but still carried: an agent was silent while they were deleted. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

from bascule.model.configurations import Version
from bascule.model.nodes import Hypervisor, LBNode
from bascule.model.reports import HypervisorReport, LBNodeReport

Node: TypeAlias = LBNode | Hypervisor
Report: TypeAlias = LBNodeReport | HypervisorReport
Reports: TypeAlias = Mapping[Node, Report | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stray:
    """One load balancer to take off one node, by a command later than all that was ever said of it."""

    node: Node
    load_balancer_id: UUID
    version: Version


def carried(report: Report | None) -> dict[UUID, Version]:
    """What a node carries, and the version it obeys."""
    if report is None:
        return {}
    if isinstance(report, HypervisorReport):
        return {found.load_balancer_id: found.version for found in report.load_balancers}
    return {found.configuration.load_balancer_id: found.configuration.version for found in report.load_balancers}


def unknown(
    reports: Mapping[LBNode | Hypervisor, LBNodeReport | HypervisorReport | None], known: Set[UUID]
) -> frozenset[UUID]:
    """What is carried somewhere but stands in no table."""
    return frozenset(identifier for report in reports.values() for identifier in carried(report)) - known


def strays(reports: Reports, gone: Mapping[UUID, int]) -> Iterator[Stray]:
    """What to take off where. `gone` maps deleted load balancers to the last epoch that spoke of them."""
    for node, report in reports.items():
        for load_balancer_id, version in carried(report).items():
            if load_balancer_id in gone:
                epoch = max(version.epoch, gone[load_balancer_id]) + 1
                yield Stray(node=node, load_balancer_id=load_balancer_id, version=Version(epoch, version.generation))
