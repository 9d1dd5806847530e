"""An LB node with IPVS in a network namespace of its own, and a data centre around it, for real packets."""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TypeVar

from bascule.dataplanes.ipvs import reading
from bascule.dataplanes.ipvs.driver import IpvsDataPlane
from bascule.dataplanes.ipvs.writing import Timeouts
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.model.reports import DataPlaneReport
from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import Persistence, ServiceKey, VirtualBackend, VirtualService
from bascule.system.commands import run
from bascule.system.namespaces import call_in

# By family. Most tests are of the first.
VIPS: dict[int, IPAddress] = {4: ip_address("203.0.113.10"), 6: ip_address("2001:db8:203::10")}
VIP = VIPS[4]
FAMILIES = tuple(VIPS)
T = TypeVar("T")


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


class Hosts:
    """Namespaces that go away together. Their names are nobody else's."""

    def __init__(self, *names: str) -> None:
        self._prefix = f"t{uuid.uuid4().hex[:8]}-"
        self.names = names

    def __enter__(self) -> Hosts:
        for name in self.names:
            run(["ip", "netns", "add", self.of(name)])
            self.ip(name, "link set lo up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in self.names:
            subprocess.run(["ip", "netns", "del", self.of(name)], capture_output=True, check=False)

    def of(self, name: str) -> str:
        """The full name of a host's namespace."""
        return self._prefix + name

    def inside(self, name: str, function: Callable[[], T]) -> T:
        """Call a function on a host."""
        return call_in(self.of(name), function)

    def ip(self, name: str, *commands: str) -> str:
        """`ip …` commands on a host, in one process. `@host` in them is that host's namespace."""
        script = "\n".join(commands).replace("@", self._prefix)
        return run(["ip", "-n", self.of(name), "-batch", "-"], stdin=script + "\n")

    def do(self, name: str, command: str, stdin: str | None = None) -> str:
        """Run a program on a host."""
        return self.inside(name, lambda: run(command.split(), stdin=stdin))

    def sysctl(self, name: str, **values: int) -> None:
        """Set values below /proc/sys/net on a host; `__` stands for a slash."""

        def write() -> None:
            for key, value in values.items():
                Path("/proc/sys/net", *key.split("__")).write_text(str(value))

        self.inside(name, write)


class Node:
    """The data plane of one host. Keeps the last report's namespace; a driver moves with its calling thread."""

    def __init__(self, hosts: Hosts, name: str = "lb") -> None:
        self._hosts, self._name = hosts, name
        self.driver = self.started()

    def started(self, timeouts: Timeouts | None = None) -> IpvsDataPlane:
        """A driver as in a new process."""
        driver = IpvsDataPlane(timeouts=timeouts)
        self._hosts.inside(self._name, driver.start)
        return driver

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """Enforce the services, holding the VIP or not."""
        return self._hosts.inside(self._name, lambda: self.driver.enforce({VIP} if held else set(), services))

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
