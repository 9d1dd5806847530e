"""What is true of a lab now: read from the processes, the router and the API."""

from __future__ import annotations

from dataclasses import dataclass

from bascule.lab import network, processes, router
from bascule.lab.control_plane import ControlPlane
from bascule.lab.roster import OUTSIDE, roster
from bascule.lab.router import Session
from bascule.lab.state import Lab
from bascule.lab.topology import UPLINK, Host, Role
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import BasculeError
from bascule.wire.public_v2_views import LoadBalancerView


@dataclass(frozen=True, slots=True, kw_only=True)
class HostStatus:
    """One host. `programs` says of each program whether it runs."""

    host: Host
    connected: bool
    programs: dict[str, bool]

    @property
    def well(self) -> bool:
        """Whether the cable is in and every program runs."""
        return self.connected and all(self.programs.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """One lab, with announcements in the order of their addresses. `problem` says why there are no load balancers."""

    lab: Lab
    hosts: tuple[HostStatus, ...]
    outside: dict[str, bool]
    sessions: tuple[Session, ...]
    announcements: dict[IPAddress, tuple[str, ...]]
    load_balancers: tuple[LoadBalancerView, ...] = ()
    problem: str = ""

    def host(self, name: str) -> HostStatus:
        """One host's status."""
        return next(each for each in self.hosts if each.host.name == name)

    def announced_by(self, node: str) -> list[IPAddress]:
        """The VIPs that the router sends to a node."""
        return [address for address, nodes in self.announcements.items() if node in nodes]


def observe(lab: Lab) -> Status:
    """Look at everything once."""
    programs = {program.title: program for program in roster(lab)}
    runs = {title: processes.running(lab, title) is not None for title in programs}
    balancers, problem = _load_balancers(lab)
    return Status(
        lab=lab,
        hosts=tuple(
            HostStatus(
                host=host,
                connected=host.role is Role.ROUTER or network.link_is_up(lab.name, host.name, UPLINK),
                programs={p.name: runs[title] for title, p in programs.items() if p.host == host.name},
            )
            for host in lab.topology.hosts
        ),
        outside={title: runs[title] for title, program in programs.items() if program.host == OUTSIDE},
        sessions=router.sessions(lab),
        announcements=dict(sorted(router.announcements(lab).items(), key=lambda each: address_order(each[0]))),
        load_balancers=balancers,
        problem=problem,
    )


def _load_balancers(lab: Lab) -> tuple[tuple[LoadBalancerView, ...], str]:
    if lab.hosts_only:
        return (), "This lab has no control plane."
    try:
        with ControlPlane(lab) as api:
            return tuple(api.load_balancers()), ""
    except BasculeError as error:
        return (), error.sentence
