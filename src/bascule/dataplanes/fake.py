"""A data plane that only remembers, for tests, simulations and agents on a machine without the right kernel."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import replace

from bascule.dataplanes.interface import require_carryable
from bascule.model.addresses import IPAddress, address_order
from bascule.model.data_planes import Capabilities
from bascule.model.errors import SystemFailure
from bascule.model.health_checks import Health
from bascule.model.reports import DataPlaneReport, VirtualBackendReport, VirtualServiceReport
from bascule.model.strategies import Strategy
from bascule.model.virtual_services import ForwardingMethod, ServiceKey, VirtualService


class FakeDataPlane:
    """`addresses` and `services` stand for the kernel, which outlives a process: a test may change them, as a foreign
    hand would. While `broken` holds a sentence, start and enforce fail with it. One that `checks` its backends itself
    reports what is in `healths`. `remaining` are the connections that it counts of backends with weight 0.
    """

    name = "fake"
    capabilities = Capabilities(
        strategies=frozenset(Strategy),
        methods=frozenset(ForwardingMethod),
        persistence=True,
        families=frozenset({4, 6}),
        rise=True,
    )

    def __init__(self, *, checks: bool = False) -> None:
        self.capabilities = replace(type(self).capabilities, checks=checks)
        self.healths: dict[IPAddress, Health] = {}
        self.remaining: dict[IPAddress, int] = {}
        self.addresses: set[IPAddress] = set()
        self.services: dict[ServiceKey, VirtualService] = {}
        self.broken: str | None = None
        self.started = False
        self._desired: tuple[VirtualService, ...] = ()

    def start(self) -> None:
        """Succeed unless broken."""
        self._fail_if_broken()
        self.started = True

    def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """Hold exactly these."""
        if not self.started:
            raise SystemFailure("The data plane is not started: call start() first.")
        self._fail_if_broken()
        require_carryable(self, services)
        held = set(addresses) | {service.key.address for service in services}
        wanted = {service.key: service for service in services}
        sentences = [f"Removed address {address}." for address in sorted(self.addresses - held, key=address_order)]
        sentences += [f"Added address {address}." for address in sorted(held - self.addresses, key=address_order)]
        sentences += [f"Removed {key}." for key in sorted(self.services.keys() - wanted.keys())]
        sentences += [f"Wrote {key}." for key in sorted(wanted) if self.services.get(key) != wanted[key]]
        self.addresses, self.services, self._desired = held, wanted, services
        return tuple(sentences)

    def observe(self) -> DataPlaneReport:
        """What is held; no packet was ever counted."""
        incomplete = {service.key.address for service in self._desired if service.key not in self.services}
        return DataPlaneReport(
            ready=frozenset(self.addresses - incomplete),
            services=tuple(self._report(self.services[key]) for key in sorted(self.services)),
        )

    def close(self) -> None:
        """Forwarding goes on, as the interface says."""
        self.started = False

    def _fail_if_broken(self) -> None:
        if self.broken is not None:
            raise SystemFailure(self.broken)

    def _report(self, service: VirtualService) -> VirtualServiceReport:
        backends = sorted(service.backends, key=lambda backend: address_order(backend.address))
        return VirtualServiceReport(
            key=service.key,
            scheduler=service.strategy,
            backends=tuple(
                VirtualBackendReport(
                    address=each.address,
                    weight=each.weight,
                    method=each.method,
                    port=each.target_port if each.method is ForwardingMethod.TRANSLATION else service.key.port,
                    remaining=None if each.weight else self.remaining.get(each.address),
                    health=self._health(each.address),
                )
                for each in backends
            ),
        )

    def _health(self, address: IPAddress) -> Health | None:
        return self.healths.get(address, Health.UNKNOWN) if self.capabilities.checks else None
