"""One load balancer on a node: its namespace, its keepalived, and IPVS in there."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from bascule.dataplanes.ipvs import reading, sysctls, writing
from bascule.dataplanes.ipvs.diff import Change, diff
from bascule.dataplanes.ipvs.entries import Found
from bascule.dataplanes.keepalived.daemon import Daemon
from bascule.dataplanes.keepalived.naming import Names
from bascule.dataplanes.keepalived.render import Configuration
from bascule.dataplanes.keepalived.state import Running
from bascule.dataplanes.keepalived.table import health_of, table
from bascule.dataplanes.keepalived.wiring import Wiring
from bascule.model.addresses import address_order
from bascule.model.health_checks import Health
from bascule.model.reports import VirtualBackendReport, VirtualServiceReport
from bascule.model.virtual_services import VirtualService
from bascule.system.namespaces import NAMESPACES, call_in

FIRST_CHECKS = 2.5  # seconds a new load balancer waits for them; a command waits a little longer

T = TypeVar("T")


class Balancer:
    """For one address. Nothing is remembered that the node cannot tell, but what is wanted."""

    def __init__(self, names: Names, run_dir: Path) -> None:
        self._names = names
        self._wiring = Wiring(names)
        self._folder = run_dir / names.namespace
        self._daemon = Daemon(self._folder)
        self._services: tuple[VirtualService, ...] | None = None
        self._running = Running()
        self._begun: float | None = None
        self._settled = False
        self._foreign: frozenset[str] = frozenset()

    def enforce(self, services: tuple[VirtualService, ...], configuration: Configuration, mtu: int) -> tuple[str, ...]:
        """Bring all of it to what is wanted; `mtu` is how long tunnels may be, in bytes.

        Returns a sentence per change; raises SystemFailure.
        """
        self._services = None
        # One that runs holds on to the namespace that it began with, even when that was removed.
        notes = list(() if self._exists() else self._daemon.stop())
        notes += (*self._wiring.prepare(mtu), *self._inside(sysctls.enforce))
        checked = any(service.backends for service in services)
        if checked:
            said, self._running = self._daemon.keep(configuration)
        else:
            said, self._running = self._daemon.stop(), Running()
        notes += [*said, *self._repair(services, look_again=checked)]
        notes += self._wiring.open()
        self._services = services
        self._settle(services)
        return tuple(notes)

    def remove(self) -> tuple[str, ...]:
        """Let go of all of it, in an order in which no packet meets half of it."""
        self._wiring.close()
        stopped = self._daemon.stop()
        self._wiring.remove()
        shutil.rmtree(self._folder, ignore_errors=True)
        return (*stopped, f"Removed {self._names.address} and {self._names.namespace}.")

    def is_ready(self) -> bool:
        """Whether the last `enforce` succeeded, the first checks had their time, and all is still there."""
        if self._services is None or not self._settled or not self._wiring.is_complete():
            return False
        found, _ = self._inside(self._read)
        return {service.key for service in self._services} <= {each.server.key for each in found}

    def report(self) -> tuple[VirtualServiceReport, ...]:
        """What is in IPVS, with what keepalived said of it in the last `enforce`."""
        if not self._exists():
            return ()
        services = {service.key: service for service in self._services or ()}
        found, _ = self._inside(self._read)
        return tuple(self._report(each, services.get(each.server.key)) for each in found)

    def _exists(self) -> bool:
        return (NAMESPACES / self._names.namespace).exists()

    def _settle(self, services: Iterable[VirtualService]) -> None:
        """Clients must not be drawn here before instances can be known to be healthy; once they are, it stays so."""
        if self._begun is None:
            self._begun = time.monotonic()
        waited = time.monotonic() - self._begun
        self._settled = self._settled or waited > FIRST_CHECKS or not any(map(self._is_new, services))

    def _is_new(self, service: VirtualService) -> bool:
        server = self._running.servers.get(service.key)
        known = server.instances if server is not None else {}
        return any(health_of(service, known.get(each.address)) is Health.UNKNOWN for each in service.backends)

    def _read(self) -> tuple[tuple[Found, ...], tuple[str, ...]]:
        return reading.read({self._names.address})

    def _repair(self, services: Iterable[VirtualService], *, look_again: bool) -> tuple[str, ...]:
        """Put right where IPVS differs from what keepalived believes, and not only because it is just changing it."""
        found, others = self._inside(self._read)
        changes = self._differences(services, found)
        if changes and look_again:
            self._running = self._daemon.ask()
            found, _ = self._inside(self._read)
            later = self._differences(services, found)
            changes = tuple(change for change in later if change in changes)
        if changes:
            self._inside(lambda: writing.write(changes))
        foreign = frozenset(others)
        new, self._foreign = sorted(foreign - self._foreign), foreign
        return (
            *(change.sentence for change in changes),
            *(f"Left alone a virtual server that is not ours: {name}." for name in new),
        )

    def _differences(self, services: Iterable[VirtualService], found: Iterable[Found]) -> tuple[Change, ...]:
        present = tuple(each.server for each in found)
        return diff(present, table(services, self._running, present))

    def _inside(self, function: Callable[[], T]) -> T:
        return call_in(self._names.namespace, function)

    def _report(self, found: Found, service: VirtualService | None) -> VirtualServiceReport:
        present = {each.address: each for each in found.backends()}
        server = self._running.servers.get(found.server.key)
        known = {each.address: each for each in service.backends} if service is not None else {}
        backends = []
        for address in sorted({*present, *known}, key=address_order):
            health = None
            if service is not None and address in known:
                health = health_of(service, server.instances.get(address) if server is not None else None)
            backend = present.get(address) or VirtualBackendReport(address=address, weight=0)
            backends.append(replace(backend, health=health))
        return VirtualServiceReport(
            key=found.server.key, scheduler=found.server.scheduler, traffic=found.traffic, backends=tuple(backends)
        )
