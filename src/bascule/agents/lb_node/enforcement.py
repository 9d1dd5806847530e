"""One pass of an LB node: withdraw, serve, announce, in this order, then look at what is there.

Runs in the loop's worker thread. A driver that fails is a problem in the outcome, never an exception: the other driver
must still do its part.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass, field

from bascule.agents.lb_node.locality import with_local
from bascule.agents.lb_node.serving import Desired
from bascule.agents.passes import Pass
from bascule.announcers.interface import Announcer, GracefulAnnouncer
from bascule.dataplanes.interface import CheckingDataPlane, DataPlane
from bascule.model.addresses import IPAddress, address_order
from bascule.model.configurations import BalancerConfiguration
from bascule.model.reports import AnnouncerReport, DataPlaneReport
from bascule.model.virtual_services import ForwardingMethod, VirtualService


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a pass found and did; the reports are of after the pass. `of` are the configurations it carried out."""

    data_plane: DataPlaneReport = field(default_factory=DataPlaneReport)
    announcer: AnnouncerReport = field(default_factory=AnnouncerReport)
    of: tuple[BalancerConfiguration, ...] = ()
    changes: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class Enforcement:
    """Applies what is desired by way of the two drivers. Call from one thread at a time."""

    def __init__(
        self,
        data_plane: DataPlane,
        announcer: Announcer,
        own_addresses: Callable[[], frozenset[IPAddress]] = frozenset,
    ) -> None:
        """`own_addresses` are the node's, asked at every pass: backends there are reached without a network."""
        self._own_addresses = own_addresses
        self.data_plane_name, self.capabilities = data_plane.name, data_plane.capabilities
        self._own: frozenset[IPAddress] = frozenset()
        self._data_plane = data_plane
        self._announcer = announcer
        self._started: set[str] = set()
        self._of: tuple[BalancerConfiguration, ...] = ()
        self._refused = False
        self._served: tuple[Set[IPAddress], object] | None = None
        self._drawn: tuple[Set[IPAddress], Set[IPAddress]] | None = None
        self._fading: Set[IPAddress] = frozenset()
        self._heard: AnnouncerReport | None = None

    @property
    def grace(self) -> float:
        """Seconds that routers are given to move an address's packets before it is withdrawn."""
        return self._announcer.grace if isinstance(self._announcer, GracefulAnnouncer) else 0.0

    @property
    def checks(self) -> bool:
        """Whether the data plane checks its backends itself."""
        return self._data_plane.capabilities.checks

    def require(self, services: tuple[VirtualService, ...]) -> None:
        """Raises SystemFailure when a data plane that checks its backends itself cannot carry these services."""
        if isinstance(self._data_plane, CheckingDataPlane):
            self._data_plane.require(services)

    def announced(self) -> Set[IPAddress]:
        """What an earlier process left announced; nothing when nobody can tell. Before the first pass."""
        heard = Pass().attempt("announcer", self._announcer.observe)
        return frozenset() if heard is None else heard.announced

    def apply(self, desired: Desired) -> Observation:
        """One pass. An address is announced only after the data plane said in this very pass that it is ready."""
        current = Pass()
        desired = self._with_local(desired, current)
        announcing = self._start("announcer", self._announcer.start, current)
        self._discourage(desired.fading)
        self._withdraw_unwanted(desired, current)
        data_plane = self._serve(desired, current)
        wanted = desired.announced & data_plane.ready
        if announcing:
            self._announce(wanted, current)
        # What cannot be seen is taken to be as it was: an address nobody saw withdrawn counts as announced.
        self._heard = current.attempt("announcer", self._announcer.observe) or self._heard
        announcer = self._heard or AnnouncerReport()
        return Observation(
            data_plane=data_plane,
            announcer=announcer,
            of=self._followed(desired, data_plane),
            changes=tuple(current.changes),
            repairs=tuple(current.repairs),
            problems=(*dict.fromkeys(current.problems), *_judge(desired, data_plane, announcer)),
        )

    def heard(self) -> None:
        """The control plane spoke: what is announced by lease may go on."""
        self._announcer.heard()

    def close(self) -> None:
        """Let go of the drivers' handles. Forwarding and announcing go on."""
        self._data_plane.close()
        self._announcer.close()

    def _with_local(self, desired: Desired, current: Pass) -> Desired:
        if ForwardingMethod.LOCAL in self.capabilities.methods:
            # A kernel that does not tell is no reason to send elsewhere what was local.
            found = current.attempt("own addresses", self._own_addresses)
            self._own = self._own if found is None else found
        return with_local(desired, self._own, self.capabilities)

    def _start(self, who: str, start: Callable[[], None], current: Pass) -> bool:
        if who not in self._started and current.succeeds(who, start):
            self._started.add(who)
        return who in self._started

    def _withdraw_unwanted(self, desired: Desired, current: Pass) -> None:
        """Before the data plane lets go of an address, no router may send to it any more."""
        before = self._heard or current.attempt("announcer", self._announcer.observe)
        if before is not None and before.announced - desired.announced:
            self._announce(before.announced & desired.announced, current)

    def _serve(self, desired: Desired, current: Pass) -> DataPlaneReport:
        """What the data plane has after enforcing, whether it refused or not; nothing when it cannot say.

        One load balancer that the kernel refuses must not take the node's others off the air: what is in place for
        them is what counts, and the driver asks the kernel for that.
        """
        if not self._start("data plane", self._data_plane.start, current):
            return DataPlaneReport()
        wanted = (desired.addresses, desired.services)
        done = current.attempt("data plane", lambda: self._data_plane.enforce(*wanted))
        self._refused = done is None
        if done is not None:
            current.note(done, asked_for=self._served != wanted)
            self._served = wanted
        return current.attempt("data plane", self._data_plane.observe) or DataPlaneReport()

    def _followed(self, desired: Desired, report: DataPlaneReport) -> tuple[BalancerConfiguration, ...]:
        """The configurations in force: all, but after a refusal only those that were, or that the data plane shows.

        An address may be ready by its old services: whoever asked for new ones must hear that they are not there.
        """
        if not self._refused:
            self._of = desired.of
        else:
            has = {service.key: {each.address for each in service.backends} for service in report.services}
            wants = {service.key: {each.address for each in service.backends} for service in desired.services}
            differing = {key.address for key in has.keys() | wants.keys() if has.get(key) != wants.get(key)}
            self._of = tuple(each for each in desired.of if each in self._of or each.address not in differing)
        return self._of

    def _discourage(self, addresses: Set[IPAddress]) -> None:
        self._fading = addresses
        if isinstance(self._announcer, GracefulAnnouncer):
            self._announcer.discourage(addresses)

    def _announce(self, addresses: frozenset[IPAddress], current: Pass) -> None:
        done = current.attempt("announcer", lambda: self._announcer.enforce(addresses))
        if done is not None:
            current.note(done, asked_for=self._drawn != (addresses, self._fading))
            self._drawn = (addresses, self._fading)


def _judge(desired: Desired, data_plane: DataPlaneReport, announcer: AnnouncerReport) -> list[str]:
    """What is wrong although no driver failed."""
    unready = sorted(desired.addresses - data_plane.ready, key=address_order)
    problems = [f"The data plane is not ready for {address}: it is not announced." for address in unready]
    problems += [
        f"The session with {session.neighbor} is down ({session.state}): look at the router and the link."
        for session in announcer.sessions
        if not session.up
    ]
    problems += [
        f"BFD with {session.neighbor} is silent, so a death is noticed after BGP's hold time only: turn BFD on at the"
        " router, and let UDP port 3784 pass."
        for session in announcer.sessions
        if session.up and not session.bfd
    ]
    problems += [
        f"VRRP cannot have {each.address} on this node: is its interface up, and its cable in?"
        for each in announcer.vrrp
        if each.state == "FAULT"
    ]
    return problems
