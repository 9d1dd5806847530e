"""Two nodes that speak VRRP, and a client, on one segment: network namespaces, a bridge, and real keepalived."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from tempfile import mkdtemp
from typing import TypeVar

from bascule.announcers.vrrp.deadlines import Lease
from bascule.announcers.vrrp.driver import VrrpAnnouncer
from bascule.announcers.vrrp.held import HeldAddresses
from bascule.announcers.vrrp.render import VrrpOptions
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.reports import AnnouncerReport
from bascule.system.own_addresses import own_addresses
from bascule.system.pid_files import PidFile
from tests.namespaces import Hosts

T = TypeVar("T")

NODES: dict[str, tuple[IPAddress, IPAddress]] = {
    "a": (IPv4Address("10.78.0.1"), IPv6Address("fd00:78::1")),
    "b": (IPv4Address("10.78.0.2"), IPv6Address("fd00:78::2")),
}
GATEWAYS: tuple[IPAddress, ...] = (IPv4Address("10.78.0.9"), IPv6Address("fd00:78::9"))
OPTIONS = VrrpOptions(interface="eth0", nodes=tuple(each for both in NODES.values() for each in both))


def missing() -> str | None:
    """Why these tests cannot run here; None when they can."""
    if os.geteuid() != 0:
        return "needs root for network namespaces"
    return None if shutil.which("keepalived") else "needs keepalived (package keepalived)"


class Segment(Hosts):
    """The namespaces `a`, `b` and `client` on the bridge of `switch`."""

    def __init__(
        self, options: VrrpOptions = OPTIONS, *, hold: int = 20, lease: float = 0, pass_most: float = 60
    ) -> None:
        super().__init__("a", "b", "client", "switch")
        # Scripts that run as root may not be where others can write.
        self.folder = Path(mkdtemp(prefix="bascule-vrrp-", dir="/run"))
        self.options, self.hold, self.lease, self.pass_most = options, hold, lease, pass_most
        self.nodes = {name: Node(self, name) for name in NODES}

    def build(self) -> None:
        self.sysctl("switch", ipv6__conf__all__disable_ipv6=1)
        self.ip("switch", "link add lan type bridge", "link set lan up")
        addresses = {**NODES, "client": GATEWAYS}
        for name, (four, six) in addresses.items():
            self.ip(
                "switch",
                f"link add to-{name} type veth peer name eth0 netns @{name}",
                f"link set to-{name} master lan",
                f"link set to-{name} up",
            )
            self.sysctl(name, ipv6__conf__eth0__disable_ipv6=0, ipv6__conf__eth0__accept_dad=0)
            self.ip(name, f"addr add {four}/24 dev eth0", f"addr add {six}/64 dev eth0 nodad", "link set eth0 up")

    def __exit__(self, *exception: object) -> None:
        for node in self.nodes.values():
            node.kill_agent()
            node.kill_keepalived()
        super().__exit__(*exception)
        shutil.rmtree(self.folder, ignore_errors=True)

    def holders(self, address: IPAddress) -> set[str]:
        """The nodes that have it on their interface, whatever keepalived says."""
        return {name for name, node in self.nodes.items() if address in node.present()}

    def plug(self, name: str, *, up: bool) -> None:
        """Pull a cable, or plug it in again. The host does not see it: only its packets get lost."""
        self.do("switch", f"bridge link set dev to-{name} state {3 if up else 0}")


@dataclass
class Node:
    """One node, with an agent's announcer in it, or without."""

    segment: Segment
    name: str
    announcer: VrrpAnnouncer | None = None

    @property
    def folder(self) -> Path:
        """Where its keepalived is."""
        return self.segment.folder / self.name

    def start_agent(self) -> VrrpAnnouncer:
        """As an agent process that has just begun would have it."""
        self.announcer = VrrpAnnouncer(
            self.segment.options,
            self.folder,
            own_addresses=own_addresses,
            lease=self.lease(),
            hold=self.segment.hold,
            pass_most=self.segment.pass_most,
        )
        self.inside(self.announcer.start)
        return self.announcer

    def lease(self) -> Lease:
        """What the node's agent would read of its lease."""
        return Lease(self.folder / "lease", self.segment.lease)

    def kill_agent(self) -> None:
        """It does nothing any more; an agent that is killed has no last words either."""
        if self.announcer is not None:
            self.announcer.close()
            self.announcer = None

    def kill_keepalived(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Both its processes."""
        for file in ("keepalived.pid", "vrrp.pid"):
            self.process(file).send(number)

    def process(self, file: str = "vrrp.pid") -> PidFile:
        """One of its keepalived's processes."""
        return PidFile(self.folder / file, str(self.folder / "keepalived.conf"))

    def inside(self, function: Callable[[], T]) -> T:
        """Call it in the node's namespace."""
        return self.segment.inside(self.name, function)

    def enforce(self, *addresses: IPAddress) -> tuple[str, ...]:
        """One pass of the agent."""
        announcer = self.announcer or self.start_agent()
        return self.inside(lambda: announcer.enforce(frozenset(addresses)))

    def enforced(self, *addresses: IPAddress) -> str:
        """One pass of an agent that tells a problem."""
        try:
            self.enforce(*addresses)
        except SystemFailure as problem:
            return problem.sentence
        return ""

    def observe(self) -> AnnouncerReport:
        """What the agent sees."""
        announcer = self.announcer or self.start_agent()
        return self.inside(announcer.observe)

    def present(self) -> frozenset[IPAddress]:
        """The addresses on its interface."""
        return self.inside(HeldAddresses("eth0").present)


def with_options(**changes: object) -> VrrpOptions:
    """The usual options with some that differ."""
    return replace(OPTIONS, **changes)  # type: ignore[arg-type]


def vips(first: str, count: int) -> tuple[IPAddress, ...]:
    """Addresses that follow one another."""
    return tuple(ip_address(first) + number for number in range(count))
