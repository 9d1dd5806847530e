"""The keepalived data plane: one balancer for each address, each with a namespace and a keepalived of its own.

A load balancer that cannot be brought to what is wanted does not hold up the others: it is not ready, and is named.
"""

from __future__ import annotations

import shutil
from collections.abc import Set
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from bascule.dataplanes.interface import require_carryable
from bascule.dataplanes.ipvs import reading
from bascule.dataplanes.keepalived import naming
from bascule.dataplanes.keepalived.balancer import Balancer
from bascule.dataplanes.keepalived.daemon import require_scripts
from bascule.dataplanes.keepalived.render import Configuration, render
from bascule.dataplanes.keepalived.wiring import require_routing, tunnel_mtu
from bascule.model.addresses import IPAddress, IPNetwork, address_order
from bascule.model.data_planes import CAPABILITIES, DataPlaneName
from bascule.model.errors import SystemFailure
from bascule.model.reports import DataPlaneReport, VirtualServiceReport
from bascule.model.virtual_services import VirtualService
from bascule.system.namespaces import NAMESPACES


class KeepalivedDataPlane:
    """The contract's methods may be called from any thread, one at a time, in one network namespace."""

    name = "keepalived"
    capabilities = CAPABILITIES[DataPlaneName.KEEPALIVED]

    def __init__(
        self, *, node: str, run_dir: Path, tunnel_source: IPv4Network, tunnel_source_v6: IPv6Network, scripts: Path
    ) -> None:
        """`node` tells this node's namespaces from those of others on the machine; `run_dir` is for keepalived's files.

        Tunnels come from an address of the `tunnel_source` of their family. `scripts` is the operator's folder of
        health checks.
        """
        self._node, self._run_dir, self._scripts = node, run_dir, scripts
        self._sources: dict[int, IPNetwork] = {4: tunnel_source, 6: tunnel_source_v6}
        self._balancers: dict[IPAddress, Balancer] = {}
        self._configurations: dict[IPAddress, tuple[tuple[VirtualService, ...], Configuration]] = {}
        self._failures: dict[IPAddress, str] = {}
        self._started = False

    def start(self) -> None:
        """See that all it needs is there; what an earlier process left runs on."""
        if shutil.which("keepalived") is None:
            raise SystemFailure("keepalived is not installed: install the package keepalived (`make setup` does).")
        reading.require()
        require_routing()
        self._started = True

    def require(self, services: tuple[VirtualService, ...]) -> None:
        """Raises SystemFailure for a service that keepalived cannot carry, or check as it is to be checked."""
        require_carryable(self, services)
        for configuration in self._render(services).values():
            require_scripts(configuration)

    def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """See the contract. Changes that come while keepalived reads a configuration wait for the next pass."""
        self._require_start()
        require_carryable(self, services)
        configurations = self._render(services, addresses)
        notes: list[str] = []
        for address in sorted(self._present() - configurations.keys(), key=address_order):
            notes += self._balancer(address).remove()
            self._balancers.pop(address, None)
            self._failures.pop(address, None)
            self._configurations.pop(address, None)
        mtu = tunnel_mtu() if configurations else 0
        for address in sorted(configurations, key=address_order):
            own = tuple(service for service in services if service.key.address == address)
            notes += self._one(address, own, configurations[address], mtu)
        if self._failures and len(self._failures) == len(configurations):
            raise SystemFailure(" ".join(self._failures[each] for each in sorted(self._failures, key=address_order)))
        return tuple(notes)

    def observe(self) -> DataPlaneReport:
        """See the contract. No address is ready before the first `enforce`."""
        self._require_start()
        ready: set[IPAddress] = set()
        services: list[VirtualServiceReport] = []
        for address in sorted(self._present(), key=address_order):
            balancer = self._balancer(address)
            services += balancer.report()
            if balancer.is_ready():
                ready.add(address)
        return DataPlaneReport(ready=frozenset(ready), services=tuple(sorted(services, key=lambda each: each.key)))

    def close(self) -> None:
        """Nothing is held open; every keepalived goes on."""
        self._started = False

    def _one(
        self, address: IPAddress, services: tuple[VirtualService, ...], configuration: Configuration, mtu: int
    ) -> tuple[str, ...]:
        try:
            notes = self._balancer(address).enforce(services, configuration, mtu)
        except SystemFailure as error:
            known, self._failures[address] = self._failures.get(address), f"{address}: {error.sentence}"
            return () if known == self._failures[address] else (self._failures[address],)
        self._failures.pop(address, None)
        return notes

    def _render(
        self, services: tuple[VirtualService, ...], addresses: Set[IPAddress] = frozenset()
    ) -> dict[IPAddress, Configuration]:
        own: dict[IPAddress, list[VirtualService]] = {address: [] for address in addresses}
        for service in services:
            own.setdefault(service.key.address, []).append(service)
        return {address: self._rendered(address, tuple(wanted)) for address, wanted in own.items()}

    def _rendered(self, address: IPAddress, services: tuple[VirtualService, ...]) -> Configuration:
        known = self._configurations.get(address)
        if known is None or known[0] != services:
            known = services, render(self._names(address).namespace, services, self._scripts)
            self._configurations[address] = known
        return known[1]

    def _balancer(self, address: IPAddress) -> Balancer:
        if address not in self._balancers:
            self._balancers[address] = Balancer(self._names(address), self._run_dir)
        return self._balancers[address]

    def _names(self, address: IPAddress) -> naming.Names:
        return naming.names(self._node, address, self._sources)

    def _present(self) -> frozenset[IPAddress]:
        found = (each.name for each in NAMESPACES.iterdir()) if NAMESPACES.exists() else ()
        return naming.owned(self._node, found)

    def _require_start(self) -> None:
        if not self._started:
            raise SystemFailure("The data plane is not started: call start() first.")
