"""The IPVS data plane: compares the kernel's table with what is desired at every pass, and writes the difference.

Nothing is remembered that the kernel cannot tell: a process that starts finds the addresses that are ours by their
label, and every virtual server of such an address is ours. Virtual servers of other addresses are somebody else's: they
are left alone, and named once.

The outer source of a tunnel is not said here. For IPv4, IPVS takes what the route to the backend names (`src`): the
operator sets that route. For IPv6 it takes what RFC 6724 chooses from the addresses of the link that leads there, and
the route's `src` is not asked: hypervisors must accept tunnels from that link's prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Set

from bascule.dataplanes.interface import require_carryable
from bascule.dataplanes.ipvs import reading, sysctls, writing
from bascule.dataplanes.ipvs.addresses import Addresses
from bascule.dataplanes.ipvs.diff import diff
from bascule.dataplanes.ipvs.entries import EVERY_PORT, Found, VirtualServer
from bascule.dataplanes.ipvs.translate import misfit, refuse, translate
from bascule.model.addresses import IPAddress
from bascule.model.data_planes import CAPABILITIES, DataPlaneName
from bascule.model.errors import SystemFailure
from bascule.model.reports import DataPlaneReport, VirtualServiceReport
from bascule.model.virtual_services import ForwardingMethod, ServiceKey, VirtualService

INTERFACE = "bascule-ipvs"


class IpvsDataPlane:
    """The contract's methods may be called from any thread, one at a time, in one network namespace."""

    name = "ipvs"
    capabilities = CAPABILITIES[DataPlaneName.IPVS]

    def __init__(self, *, interface: str = INTERFACE, timeouts: writing.Timeouts | None = None) -> None:
        """`interface` holds the VIPs; it becomes a dummy link if it is missing. `timeouts` are the kernel's own."""
        self._name = interface
        self._interface = Addresses(interface)
        self._timeouts = timeouts or writing.Timeouts()
        self._started = False
        self._notes: tuple[str, ...] = ()
        self._addresses: frozenset[IPAddress] = frozenset()
        self._wanted: tuple[VirtualServer, ...] = ()
        self._foreign: frozenset[str] = frozenset()
        self._left_out: frozenset[str] = frozenset()

    def start(self) -> None:
        """See that the kernel has IPVS; what is in its table forwards on."""
        reading.require()
        self._notes = (*sysctls.enforce(), *self._interface.prepare())
        self._started = True

    def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """See the contract. An address of a service counts as held.

        A service that IPVS cannot carry (`translate.misfit`) is left out, and a sentence says why.
        """
        self._require_start()
        require_carryable(self, services)
        notes, self._notes = self._notes, ()
        held = frozenset(addresses) | {service.key.address for service in services}
        wanted = (*(translate(each) for each in services if not misfit(each)), *refuse(held))
        notes += (*self._prepare(held, services), *self._leave_out(services))
        leaving = self._interface.present() - held
        ours = held | leaving | self._addresses
        # Before an address is held and until it is gone, its other ports are refused: the node's daemons listen there.
        notes += self._write(ours, (*wanted, *refuse(leaving)))
        notes += self._interface.remove(held)
        if leaving:
            notes += self._write(ours, wanted)
        notes += self._interface.add(held)
        self._addresses, self._wanted = held, wanted
        return notes

    def observe(self) -> DataPlaneReport:
        """See the contract. No address is ready before the first `enforce`."""
        self._require_start()
        bound = self._interface.present()
        ours, _ = reading.read(bound | self._addresses)
        present = {each.server.key for each in ours}
        incomplete = {server.key.address for server in self._wanted if server.key not in present}
        return DataPlaneReport(
            ready=(bound & self._addresses) - incomplete,
            services=tuple(_report(each) for each in sorted(ours, key=_key) if each.server.key.port != EVERY_PORT),
        )

    def close(self) -> None:
        """Nothing is held open; the kernel forwards on."""
        self._started = False

    def _prepare(self, held: Set[IPAddress], services: Iterable[VirtualService]) -> tuple[str, ...]:
        """All but addresses and entries."""
        translated = {
            service.key.address.version
            for service in services
            for backend in service.backends
            if backend.method is ForwardingMethod.TRANSLATION
        }
        notes = (*sysctls.enforce(), *sysctls.forward(translated), *writing.keep_timeouts(self._timeouts))
        notes += self._interface.prepare()
        return notes + (sysctls.take_ipv6(self._name) if any(each.version == 6 for each in held) else ())

    def _leave_out(self, services: Iterable[VirtualService]) -> tuple[str, ...]:
        """Say once of a service that it has no entry. Its port refuses; failing the pass would stop all the others."""
        reasons = {service.key: reason for service in services if (reason := misfit(service))}
        found = frozenset(f"Left out {key}, which refuses: {reason}." for key, reason in reasons.items())
        new, self._left_out = sorted(found - self._left_out), found
        return tuple(new)

    def _write(self, ours: Set[IPAddress], wanted: Iterable[VirtualServer]) -> tuple[str, ...]:
        found, others = reading.read(ours)
        changes = diff((each.server for each in found), wanted)
        if changes:
            writing.write(changes)
        foreign = frozenset(others)
        new, self._foreign = sorted(foreign - self._foreign), foreign
        return (
            *(change.sentence for change in changes),
            *(f"Left alone a virtual server that is not ours: {name}." for name in new),
        )

    def _require_start(self) -> None:
        if not self._started:
            raise SystemFailure("The data plane is not started: call start() first.")


def _key(found: Found) -> ServiceKey:
    return found.server.key


def _report(found: Found) -> VirtualServiceReport:
    return VirtualServiceReport(
        key=found.server.key, scheduler=found.server.scheduler, traffic=found.traffic, backends=found.backends()
    )
