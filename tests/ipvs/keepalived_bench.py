"""An LB node with the keepalived data plane in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path

from bascule.dataplanes.keepalived import naming
from bascule.dataplanes.keepalived.driver import KeepalivedDataPlane
from bascule.model.reports import DataPlaneReport
from bascule.model.virtual_services import VirtualService
from bascule.system.commands import run
from bascule.system.namespaces import NAMESPACES, call_in
from tests.ipvs import bench
from tests.ipvs.bench import VIP, Hosts

SOURCE = IPv4Network("10.99.0.0/16")
SCRIPTS = Path("/usr/bin")


class Node:
    """The data plane of one host, and its load balancer's namespace."""

    def __init__(self, hosts: Hosts, name: str, folder: Path) -> None:
        self._hosts, self._name, self.folder = hosts, name, folder
        self.names = naming.names(hosts.of(name), VIP, SOURCE)
        self.driver = self.started()

    def started(self) -> KeepalivedDataPlane:
        """A driver as in a new process."""
        driver = KeepalivedDataPlane(
            node=self._hosts.of(self._name), run_dir=self.folder, tunnel_source=SOURCE, scripts=SCRIPTS
        )
        self._hosts.inside(self._name, driver.start)
        return driver

    def enforce(self, *services: VirtualService, held: bool = True) -> tuple[str, ...]:
        """Enforce the services, holding the VIP or not."""
        return self._hosts.inside(self._name, lambda: self.driver.enforce({VIP} if held else set(), services))

    def observe(self) -> DataPlaneReport:
        """What the driver reports."""
        return self._hosts.inside(self._name, self.driver.observe)

    def ip(self, *commands: str) -> str:
        """`ip …` commands in the load balancer's namespace."""
        return run(["ip", "-n", self.names.namespace, "-batch", "-"], stdin="\n".join(commands) + "\n")

    def do(self, command: str) -> str:
        """Run a program in the load balancer's namespace."""
        return call_in(self.names.namespace, lambda: run(command.split()))

    def pids(self) -> dict[str, int]:
        """The processes of keepalived by the names of their files."""
        return pids(self.folder / self.names.namespace)

    def log(self) -> str:
        """What keepalived logged."""
        return (self.folder / self.names.namespace / "keepalived.log").read_text()


def pids(folder: Path) -> dict[str, int]:
    """The processes of a keepalived by the names of their files."""
    return {file.stem: int(file.read_text()) for file in folder.glob("*.pid") if file.exists()}


@contextmanager
def cleaned(hosts: Hosts, folder: Path, name: str = "lb") -> Iterator[None]:
    """At the end nothing is left of the node's load balancers."""
    try:
        yield
    finally:
        for each in folder.glob("*/*.pid"):
            with suppress(OSError, ValueError):
                os.kill(int(each.read_text()), signal.SIGKILL)
        for address in naming.owned(hosts.of(name), (each.name for each in NAMESPACES.iterdir())):
            run(["ip", "netns", "del", naming.names(hosts.of(name), address, SOURCE).namespace])


def reason_to_skip() -> str:
    """What these tests miss on this machine; empty when nothing."""
    return bench.reason_to_skip() or ("" if shutil.which("keepalived") else "needs keepalived")
