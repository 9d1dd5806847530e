"""An LB node in a network namespace of its own, with a router that answers for every backend.

LB node 10.0.0.1 eth0 ---- eth0 10.0.0.2 router, the way to 10.128.0.0/16
      fd00:10::1                fd00:10::2             and fd00:128::/64
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import TypeVar

from bascule import native
from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.dataplanes.xdp.tables import IdleTimes
from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.reports import DataPlaneReport
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ServiceKey, VirtualBackend, VirtualService
from bascule.system import bpf
from tests.bpf import packets
from tests.bpf.packets import ACK
from tests.namespaces import Hosts, unmount

ROUTER_MAC = "02:00:00:00:00:99"
TUNNEL_SOURCE, TUNNEL_SOURCE_V6 = IPv4Network("10.99.0.0/16"), IPv6Network("fd00:99:0:1::/64")
XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = 1, 2, 3, 4
SEED = 0x1234_5678_9ABC_DEF0

T = TypeVar("T")


@dataclass(frozen=True)
class Family:
    """IPv4 or IPv6 in a test: addresses of each kind. Tunnels add `overhead` bytes."""

    version: int
    vip: IPAddress
    client: IPAddress
    network: IPNetwork
    tunnel_source: IPNetwork
    overhead: int
    protocol: int

    def __str__(self) -> str:
        return f"IPv{self.version}"

    def backend(self, last: int, weight: int = 1) -> VirtualBackend:
        """The backend number `last` of the network."""
        return VirtualBackend(address=self.network.network_address + last, weight=weight, target_port=8080)

    def service(
        self,
        *backends: VirtualBackend,
        port: int = 80,
        protocol: Protocol = Protocol.TCP,
        strategy: Strategy = Strategy.MAGLEV_HASH,
        hash_source_port: bool = True,
    ) -> VirtualService:
        """A service of the VIP."""
        return VirtualService(
            key=ServiceKey(self.vip, protocol, port),
            strategy=strategy,
            hash_source_port=hash_source_port,
            hash_seed=SEED,
            backends=backends,
        )

    def services(self) -> tuple[VirtualService, ...]:
        """Web on port 80, DNS, and a service without backends."""
        return (
            self.service(self.backend(1), self.backend(2), self.backend(3)),
            self.service(self.backend(1), self.backend(2), port=53, protocol=Protocol.UDP),
            self.service(port=81),
        )

    def to_vip(self, port: int = 80, client_port: int = 40000) -> packets.Ends:
        """A client's flow to the VIP."""
        return packets.Ends(self.client, client_port, self.vip, port)

    def tcp(self, port: int = 80, client_port: int = 40000, *, flags: int = ACK, payload: bytes = b"hello") -> bytes:
        """A client's TCP packet."""
        return packets.tcp(self.to_vip(port, client_port), flags, payload=payload)

    def udp(self, port: int, client_port: int = 40000, *, payload: bytes = b"hello") -> bytes:
        """A client's UDP packet."""
        return packets.udp(self.to_vip(port, client_port), payload=payload)


V4 = Family(
    4,
    IPv4Address("203.0.113.10"),
    IPv4Address("198.51.100.2"),
    IPv4Network("10.128.0.0/24"),
    TUNNEL_SOURCE,
    20,
    4,
)
V6 = Family(
    6,
    IPv6Address("2001:db8:113::10"),
    IPv6Address("2001:db8:198::2"),
    IPv6Network("fd00:128::/64"),
    TUNNEL_SOURCE_V6,
    40,
    41,
)
FAMILIES = (V4, V6)
VIP, CLIENT = IPv4Address("203.0.113.10"), IPv4Address("198.51.100.2")
backend, service = V4.backend, V4.service


class Bench:
    """Build with `with`: everything goes away at the end, whatever happened."""

    def __init__(self, directory: Path) -> None:
        self._hosts = Hosts("lb", "router")
        self.bpf_dir = directory / "bpf"
        self._drivers: list[XdpDataPlane] = []

    def __enter__(self) -> Bench:
        self._hosts.__enter__()
        try:
            self._build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _build(self) -> None:
        # Neighbour discovery would move the counters of the tests.
        self._hosts.inside("router", disable_ipv6)
        self.ip("link add eth0 type veth peer name eth0 netns @router")
        self._hosts.ip("router", f"link set eth0 address {ROUTER_MAC} up")
        # Without a link-local address nothing happens here that a test has not asked for.
        self.ip(
            "link set eth0 addrgenmode none up",
            "addr add 10.0.0.1/24 dev eth0",
            "addr add fd00:10::1/64 dev eth0 nodad",
            *(f"neigh replace {at} lladdr {ROUTER_MAC} dev eth0 nud permanent" for at in ("10.0.0.2", "fd00:10::2")),
            "route add 10.128.0.0/16 via 10.0.0.2",
            "route add fd00:128::/64 via fd00:10::2",
        )

    def ip(self, *commands: str) -> str:
        """`ip …` commands on the LB node."""
        return self._hosts.ip("lb", *commands)

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in the LB node's namespace."""
        return self._hosts.inside("lb", function)

    def driver(
        self,
        *,
        max_services: int = 8,
        idle: IdleTimes | None = None,
        flow_buckets: int = 1024,
        second_chance: bool = True,
    ) -> XdpDataPlane:
        """A driver that has started, as in a new process."""
        driver = XdpDataPlane(
            interfaces=("eth0",),
            tunnel_source=TUNNEL_SOURCE,
            tunnel_source_v6=TUNNEL_SOURCE_V6,
            max_services=max_services,
            bpf_dir=self.bpf_dir,
            flow_buckets=flow_buckets,
            idle=idle or IdleTimes(),
            second_chance=second_chance,
        )
        self._drivers.append(driver)
        self.inside(driver.start)
        return driver

    def enforce(self, driver: XdpDataPlane, *services: VirtualService) -> tuple[str, ...]:
        """Enforce the services, holding the VIP."""
        return self.inside(lambda: driver.enforce({VIP}, services))

    def observe(self, driver: XdpDataPlane) -> DataPlaneReport:
        """What the driver reports."""
        return self.inside(driver.observe)

    def send(self, driver: XdpDataPlane, frame: bytes) -> tuple[int, bytes]:
        """The verdict on a frame, and what is left of it."""
        verdict, left, _ = self.inside(lambda: bpf.test_run(driver.program(), frame))
        return verdict, left

    def run(self, driver: XdpDataPlane, frame: bytes) -> tuple[int, bytes, Mapping[str, int]]:
        """The same, with the counters that moved."""
        before = self.observe(driver).counters
        verdict, left = self.send(driver, frame)
        after = self.observe(driver).counters
        return verdict, left, {name: after[name] - before[name] for name in after if after[name] != before[name]}

    def __exit__(self, *_: object) -> None:
        for driver in self._drivers:
            driver.close()
        self._hosts.__exit__()
        unmount(self.bpf_dir)


def disable_ipv6() -> None:
    """In the calling thread's namespace: neighbour discovery would move counters."""
    for which in ("all", "default"):
        Path(f"/proc/sys/net/ipv6/conf/{which}/disable_ipv6").write_text("1")


def reason_to_skip() -> str:
    """What these tests miss on this machine; empty when nothing."""
    if os.geteuid() != 0:
        return "needs root for network namespaces and BPF"
    missing = [name for name in ("xdp_balancer.bpf.o", "libbascule.so") if not (native.DIRECTORY / name).exists()]
    if missing:
        return f"needs {' and '.join(missing)}: run `make native`"
    missing = [tool for tool in ("ip", "nft") if shutil.which(tool) is None]
    return f"needs {' and '.join(missing)}" if missing else ""
