"""The contract of a data plane. Calls block: the agent makes them from a thread of its own, never two at once."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol, runtime_checkable

from bascule.model.addresses import IPAddress
from bascule.model.data_planes import Capabilities
from bascule.model.errors import SystemFailure
from bascule.model.reports import DataPlaneReport
from bascule.model.virtual_services import VirtualService


class DataPlane(Protocol):
    """Forwards the packets of virtual services to their backends."""

    name: str
    capabilities: Capabilities

    def start(self) -> None:
        """Load and attach, or take over what an earlier process left running without a gap in forwarding.

        Raises SystemFailure with what is missing and how to get it.
        """

    def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """Compare the kernel with the desired state and repair what differs; cheap when nothing does.

        `addresses` are held even while no service uses them; what is not named is removed. A service without backends
        refuses its traffic. A change of backends moves no established connection of a backend that stays (weight 0
        included). Returns a sentence per repair; raises SystemFailure when the kernel refuses, and before anything is
        changed when a service needs a strategy or method that is not of this data plane.
        """

    def observe(self) -> DataPlaneReport:
        """Read the kernel's own view: what is in place, and the counters."""

    def close(self) -> None:
        """Let go of handles. Forwarding goes on: only `enforce` with nothing desired stops it."""


@runtime_checkable
class CheckingDataPlane(DataPlane, Protocol):
    """A data plane that checks its backends itself (`Capabilities.checks`)."""

    def require(self, services: tuple[VirtualService, ...]) -> None:
        """Raises SystemFailure when `enforce` would refuse these services for what they ask for."""


def require_carryable(plane: DataPlane, services: tuple[VirtualService, ...]) -> None:
    """Raises SystemFailure when two services have the same key, or one needs what the data plane has not."""
    keys = [service.key for service in services]
    if len(set(keys)) < len(keys):
        doubled = next(key for key in keys if keys.count(key) > 1)
        raise SystemFailure(f"{doubled} is configured twice: remove one of the two services.")
    has = plane.capabilities
    for service in services:
        if service.key.address.version not in has.families:
            raise SystemFailure(f"The data plane {plane.name} carries no IPv6, which {service.key} is.")
        if service.strategy not in has.strategies:
            raise _lacks(plane, service, f"strategy {service.strategy}", has.strategies)
        for method in {backend.method for backend in service.backends} - has.methods:
            raise _lacks(plane, service, f"forwarding method {method}", has.methods)
        if service.persistence is not None and not has.persistence:
            raise SystemFailure(f"The data plane {plane.name} has no persistence, which {service.key} asks for.")
        if service.health_check is not None and service.health_check.rise > 1 and not has.rise:
            raise SystemFailure(
                f"The data plane {plane.name} lets an instance serve after one good check: leave healthcheck.rise of"
                f" {service.key} at 1."
            )


def _lacks(plane: DataPlane, service: VirtualService, what: str, has: Set[str]) -> SystemFailure:
    return SystemFailure(
        f"The data plane {plane.name} has no {what}, which {service.key} asks for: it has {', '.join(sorted(has))}."
    )
