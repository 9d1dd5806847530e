"""An LB node with IPVS in a network namespace of its own, and a data centre around it, for real packets."""

from __future__ import annotations

import os
import shutil
from ipaddress import ip_address

from bascule.dataplanes.ipvs import reading
from bascule.dataplanes.ipvs.driver import IpvsDataPlane
from bascule.dataplanes.ipvs.writing import Timeouts
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.reports import DataPlaneReport
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import Persistence, ServiceKey, VirtualBackend, VirtualService
from tests.namespaces import Hosts

# By family. Most tests are of the first.
VIPS: dict[int, IPAddress] = {4: ip_address("203.0.113.10"), 6: ip_address("2001:db8:203::10")}
VIP = VIPS[4]
FAMILIES = tuple(VIPS)


def service(
    *backends: VirtualBackend,
    port: int = 80,
    protocol: Protocol = Protocol.TCP,
    strategy: Strategy = Strategy.ROUND_ROBIN,
    hash_source_port: bool = True,
    family: int = 4,
    persistence: Persistence | None = None,
) -> VirtualService:
    """A service of the VIP of a family."""
    return VirtualService(
        key=ServiceKey(VIPS[family], protocol, port),
        persistence=persistence,
        strategy=strategy,
        hash_source_port=hash_source_port,
        hash_seed=0,
        backends=backends,
    )


class Node:
    """The data plane of one host. Keeps the last report's namespace; a driver moves with its calling thread."""

    def __init__(self, hosts: Hosts, name: str = "lb", vip: IPAddress = VIP) -> None:
        self._hosts, self._name, self._vip = hosts, name, vip
        self.driver = self.started()

    def started(self, timeouts: Timeouts | None = None) -> IpvsDataPlane:
        """A driver as in a new process."""
        driver = IpvsDataPlane(timeouts=timeouts)
        self._hosts.inside(self._name, driver.start)
        return driver

    def restart(self) -> None:
        """Let the process die, and start another on the same host."""
        self.driver = self.started()

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """Enforce the services, holding the VIP or not."""
        return self._hosts.inside(self._name, lambda: self.driver.enforce({self._vip} if held else set(), services))

    def observe(self) -> DataPlaneReport:
        """What the driver reports."""
        return self._hosts.inside(self._name, self.driver.observe)


def reason_to_skip() -> str:
    """What these tests miss on this machine; empty when nothing."""
    if os.geteuid() != 0:
        return "needs root for network namespaces and IPVS"
    if missing := [
        tool
        for tool in ("ip", "ipvsadm", "iptables-legacy-restore", "ip6tables-legacy-restore")
        if shutil.which(tool) is None
    ]:
        return f"needs {' and '.join(missing)}"
    try:
        reading.require()
    except SystemFailure:
        return "needs a kernel with ip_vs: `make test-ipvs` boots one"
    return ""
