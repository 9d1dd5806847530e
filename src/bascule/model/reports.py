"""What an agent observes: read from the kernel and from BIRD, never from what it remembers doing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from uuid import UUID

from bascule.model.addresses import IPAddress
from bascule.model.configurations import BalancerConfiguration, ForwardingConfiguration
from bascule.model.health_checks import Health
from bascule.model.virtual_services import ForwardingMethod, ServiceKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Totals since the data plane was loaded."""

    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualBackendReport:
    """One backend as the data plane has it, with the port that packets for it go to (0: not said). A data plane that
    keeps no table of connections counts none, and only one that checks its backends itself says their health.

    `remaining` are the connections of a backend with weight 0, with those that end just now; None is not known.
    """

    address: IPAddress
    weight: int
    method: ForwardingMethod = ForwardingMethod.TUNNEL
    port: int = 0
    traffic: Traffic = Traffic()
    active_connections: int = 0
    inactive_connections: int = 0
    remaining: int | None = None
    health: Health | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServiceReport:
    """One service as the data plane has it; `scheduler` is the data plane's own word for its strategy."""

    key: ServiceKey
    scheduler: str = ""
    traffic: Traffic = Traffic()
    backends: tuple[VirtualBackendReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DataPlaneReport:
    """`ready` holds the addresses whose every service is in place; `counters` are the named fates of packets."""

    ready: frozenset[IPAddress] = frozenset()
    services: tuple[VirtualServiceReport, ...] = ()
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionReport:
    """One routing session. `state` is the daemon's own word ("Established" when all is well).

    Without `bfd` the neighbor's death is noticed after BGP's hold time only. Agents that do not tell are believed.
    """

    neighbor: IPAddress
    state: str
    up: bool
    bfd: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VrrpReport:
    """One address in VRRP, with its number on the segment. `state` is MASTER, BACKUP, FAULT or INIT."""

    address: IPAddress
    router_id: int
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncerReport:
    """`announced` holds the addresses this node draws traffic for, or stands by for where one node does at a time."""

    announced: frozenset[IPAddress] = frozenset()
    sessions: tuple[SessionReport, ...] = ()
    vrrp: tuple[VrrpReport, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwardingReport:
    """`instances` are the tunnel endpoints in place."""

    instances: frozenset[IPAddress] = frozenset()
    counters: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendHealth:
    """The verdict on one instance of one service, with the last check's own words."""

    service_id: UUID
    instance_id: UUID
    health: Health
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerReport:
    """One load balancer on one LB node: what it obeys, and what is true of it.

    `problems` are the node's; an answer to a command has them, in a node's own report they are there once for all.
    """

    configuration: BalancerConfiguration
    ready: bool
    announced: bool
    health: tuple[BackendHealth, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LBNodeReport:
    """All an LB agent knows. `problems` are sentences for a human; none means all is as desired.

    `data_plane_name` is the data plane it runs, whatever its node is registered with.
    """

    node: str
    started_at: float
    data_plane_name: str = ""
    load_balancers: tuple[BalancerReport, ...] = ()
    data_plane: DataPlaneReport = DataPlaneReport()
    announcer: AnnouncerReport = AnnouncerReport()
    problems: tuple[str, ...] = ()
    repairs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class HypervisorReport:
    """All a hypervisor agent knows. `enforced` tells that the last pass put exactly these configurations in force."""

    node: str
    started_at: float
    load_balancers: tuple[ForwardingConfiguration, ...] = ()
    enforced: bool = True
    forwarding: ForwardingReport = ForwardingReport()
    problems: tuple[str, ...] = ()
    repairs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BalancerState:
    """What an LB node's report says of one load balancer; `problems` are the node's."""

    data_plane_name: str
    problems: tuple[str, ...]
    balancer: BalancerReport
    services: tuple[VirtualServiceReport, ...]


def without_counters(report: LBNodeReport) -> LBNodeReport:
    """The report without what changes with every packet: while nothing happens but traffic, it stays the same."""
    plane = report.data_plane
    return replace(report, data_plane=replace(plane, counters={}, services=tuple(map(_at_rest, plane.services))))


def _at_rest(service: VirtualServiceReport) -> VirtualServiceReport:
    backends = (
        replace(each, traffic=Traffic(), active_connections=0, inactive_connections=0, remaining=None)
        for each in service.backends
    )
    return replace(service, traffic=Traffic(), backends=tuple(backends))


def without_totals(report: HypervisorReport) -> HypervisorReport:
    """The same of a hypervisor."""
    return replace(report, forwarding=replace(report.forwarding, counters={}))


def states_of(report: LBNodeReport) -> dict[UUID, BalancerState]:
    """The report, cut by load balancer."""
    services: dict[IPAddress, list[VirtualServiceReport]] = {}
    for service in report.data_plane.services:
        services.setdefault(service.key.address, []).append(service)
    return {
        balancer.configuration.load_balancer_id: BalancerState(
            data_plane_name=report.data_plane_name,
            problems=report.problems,
            balancer=balancer,
            services=tuple(services.get(balancer.configuration.address, ())),
        )
        for balancer in report.load_balancers
    }
