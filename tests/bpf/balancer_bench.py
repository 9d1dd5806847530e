"""An LB node in a network namespace of its own, with a router that answers for every backend.

LB node 10.0.0.1 eth0 ---- eth0 10.0.0.2 router, the way to 10.128.0.0/16
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

from bascule import native
from bascule.dataplanes.xdp.driver import XdpDataPlane
from bascule.dataplanes.xdp.tables import IdleTimes
from bascule.model.reports import DataPlaneReport
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import ServiceKey, VirtualBackend, VirtualService
from bascule.system import bpf
from bascule.system.bpffs import is_bpffs
from bascule.system.commands import run
from bascule.system.namespaces import call_in

VIP = IPv4Address("203.0.113.10")
CLIENT = IPv4Address("198.51.100.2")
ROUTER_MAC = "02:00:00:00:00:99"
TUNNEL_SOURCE = IPv4Network("10.99.0.0/16")
XDP_DROP, XDP_PASS, XDP_TX, XDP_REDIRECT = 1, 2, 3, 4
SEED = 0x1234_5678_9ABC_DEF0

T = TypeVar("T")


def backend(last: int, weight: int = 1) -> VirtualBackend:
    """The backend 10.128.0.`last`."""
    return VirtualBackend(address=IPv4Address(f"10.128.0.{last}"), weight=weight, target_port=8080)


def service(
    *backends: VirtualBackend,
    port: int = 80,
    protocol: Protocol = Protocol.TCP,
    strategy: Strategy = Strategy.MAGLEV_HASH,
    hash_source_port: bool = True,
) -> VirtualService:
    """A service of the VIP."""
    return VirtualService(
        key=ServiceKey(VIP, protocol, port),
        strategy=strategy,
        hash_source_port=hash_source_port,
        hash_seed=SEED,
        backends=backends,
    )


class Bench:
    """Build with `with`: everything goes away at the end, whatever happened."""

    def __init__(self, directory: Path) -> None:
        self.namespace, self._router = (f"t{uuid.uuid4().hex[:8]}-{host}" for host in ("lb", "router"))
        self.bpf_dir = directory / "bpf"
        self._drivers: list[XdpDataPlane] = []

    def __enter__(self) -> Bench:
        try:
            for namespace in (self.namespace, self._router):
                run(["ip", "netns", "add", namespace])
                # Neighbour discovery would move the counters of the tests.
                call_in(namespace, disable_ipv6)
                self.ip("link set lo up", namespace)
            self.ip(f"link add eth0 type veth peer name eth0 netns {self._router}")
            self.ip(f"link set eth0 address {ROUTER_MAC} up", self._router)
            self.ip("addr add 10.0.0.1/24 dev eth0")
            self.ip("link set eth0 up")
            self.ip(f"neigh replace 10.0.0.2 lladdr {ROUTER_MAC} dev eth0 nud permanent")
            self.ip("route add 10.128.0.0/16 via 10.0.0.2")
        except BaseException:
            self.__exit__()
            raise
        return self

    def ip(self, words: str, namespace: str = "") -> str:
        """`ip ...` on the LB node."""
        return run(["ip", "-n", namespace or self.namespace, *words.split()])

    def inside(self, function: Callable[[], T]) -> T:
        """Call a function in the LB node's namespace."""
        return call_in(self.namespace, function)

    def driver(self, *, max_services: int = 8, idle: IdleTimes | None = None, flow_buckets: int = 1024) -> XdpDataPlane:
        """A driver that has started, as in a new process."""
        driver = XdpDataPlane(
            interfaces=("eth0",),
            tunnel_source=TUNNEL_SOURCE,
            max_services=max_services,
            bpf_dir=self.bpf_dir,
            flow_buckets=flow_buckets,
            idle=idle or IdleTimes(),
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
        for namespace in (self.namespace, self._router):
            subprocess.run(["ip", "netns", "del", namespace], capture_output=True, check=False)
        if self.bpf_dir.exists() and is_bpffs(self.bpf_dir):
            run(["umount", str(self.bpf_dir)])


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
