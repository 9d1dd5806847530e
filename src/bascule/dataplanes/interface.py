"""The contract of a data plane. Calls block: the agent makes them from a thread of its own, never two at once."""

from __future__ import annotations

from collections.abc import Set
from ipaddress import IPv4Address
from typing import Protocol

from bascule.model.reports import DataPlaneReport
from bascule.model.strategies import Strategy
from bascule.model.virtual_services import VirtualService


class DataPlane(Protocol):
    """Forwards the packets of virtual services to their backends."""

    name: str
    strategies: frozenset[Strategy]

    def start(self) -> None:
        """Load and attach, or take over what an earlier process left running without a gap in forwarding.

        Raises SystemFailure with what is missing and how to get it.
        """

    def enforce(self, addresses: Set[IPv4Address], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """Compare the kernel with the desired state and repair what differs; cheap when nothing does.

        `addresses` are held even while no service uses them; what is not named is removed. A service without backends
        refuses its traffic. A change of backends moves no established connection of a backend that stays (weight 0
        included). Returns a sentence per repair; raises SystemFailure when the kernel refuses.
        """

    def observe(self) -> DataPlaneReport:
        """Read the kernel's own view: what is in place, and the counters."""

    def close(self) -> None:
        """Let go of handles. Forwarding goes on: only `enforce` with nothing desired stops it."""
