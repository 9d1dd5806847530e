"""An LB node with the keepalived data plane in a network namespace of its own."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from bascule.dataplanes.keepalived import naming
from bascule.dataplanes.keepalived.driver import KeepalivedDataPlane
from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode
from bascule.model.reports import DataPlaneReport
from bascule.model.virtual_services import VirtualBackend, VirtualService
from bascule.system.commands import run
from bascule.system.namespaces import NAMESPACES, call_in
from tests.ipvs import bench
from tests.ipvs.bench import VIP
from tests.ipvs.centre import TARGET_PORT
from tests.namespaces import Hosts

SOURCE, SOURCE_V6 = IPv4Network("10.99.0.0/16"), IPv6Network("fd00:ba5c:1::/64")
SOURCES: dict[int, IPNetwork] = {4: SOURCE, 6: SOURCE_V6}
SCRIPTS = Path("/usr/bin")
# A busy machine's guest may stand still for seconds: that must be nobody's failed check.
TCP_CHECK = HealthCheck(mode=HealthCheckMode.TCP, port=TARGET_PORT, interval=1, timeout=5, retries=0, retry_interval=1)
PATIENCE = 60.0


class Node:
    """The data plane of one host, and the namespace of the load balancer at `vip`."""

    def __init__(self, hosts: Hosts, name: str, folder: Path, vip: IPAddress = VIP, scripts: Path = SCRIPTS) -> None:
        self._hosts, self._name, self.folder, self._vip, self._scripts = hosts, name, folder, vip, scripts
        self.names = naming.names(hosts.of(name), vip, SOURCES)
        self.driver = self.started()

    def started(self) -> KeepalivedDataPlane:
        """A driver as in a new process."""
        driver = KeepalivedDataPlane(
            node=self._hosts.of(self._name),
            run_dir=self.folder,
            tunnel_source=SOURCE,
            tunnel_source_v6=SOURCE_V6,
            scripts=self._scripts,
        )
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
        """What keepalived logged, but for a line at every question."""
        lines = (self.folder / self.names.namespace / "keepalived.log").read_text().splitlines(keepends=True)
        return "".join(line for line in lines if "Printing checker data" not in line)


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
            run(["ip", "netns", "del", naming.names(hosts.of(name), address, SOURCES).namespace])


def reason_to_skip() -> str:
    """What these tests miss on this machine; empty when nothing."""
    return bench.reason_to_skip() or ("" if shutil.which("keepalived") else "needs keepalived")


def checked(*backends: VirtualBackend, check: HealthCheck = TCP_CHECK, **more: object) -> VirtualService:
    """A service of the VIP whose instances are checked."""
    return replace(bench.service(*backends, **more), health_check=check)  # type: ignore[arg-type]


def until(
    node: Node, *services: VirtualService, condition: Callable[[], bool], told: Callable[[], object] | None = None
) -> None:
    """Let passes go by, as the agent does, until the condition holds. If it never does, `told` says how things are."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, (told() if told else node.observe(), node.log()[-3000:])
        node.enforce(*services)


def healths(node: Node) -> dict[object, Health | None]:
    """What the report says of the instances of the only service."""
    (seen,) = node.observe().services
    return {each.address: each.health for each in seen.backends}


def serve(node: Node, *services: VirtualService) -> None:
    """Enforce, and wait for the first checks."""
    node.enforce(*services)
    until(node, *services, condition=lambda: _all_serve(node, len(services)))


def _all_serve(node: Node, count: int) -> bool:
    seen = node.observe().services
    known = [each for one in seen for each in one.backends]
    return len(seen) == count and all(each.health is not Health.UNKNOWN for each in known)


def kill(node: Node) -> None:
    """Kill all of keepalived at once: the parent first, which would start the checker again."""
    pids = node.pids()
    for name in ("keepalived", "checkers"):
        os.kill(pids[name], signal.SIGKILL)
