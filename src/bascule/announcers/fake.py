"""An announcer that only remembers, for tests and for agents on a machine without a router."""

from __future__ import annotations

from collections.abc import Set

from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure
from bascule.model.reports import AnnouncerReport


class FakeAnnouncer:
    """`announced` stands for the outside world: a test may change it, as an operator's hand would.

    While `broken` holds a sentence, start and enforce fail with it.
    """

    name = "fake"

    def __init__(self) -> None:
        self.announced: set[IPAddress] = set()
        self.broken: str | None = None
        self.started = False
        self.grace = 0.0
        self.discouraged: Set[IPAddress] = frozenset()
        self.words = 0  # of the control plane

    def start(self) -> None:
        """Succeed unless broken."""
        self._fail_if_broken()
        self.started = True

    def discourage(self, addresses: Set[IPAddress]) -> None:
        """Remember it; what is told of it is `announced & discouraged`."""
        self.discouraged = addresses

    def enforce(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
        """Announce exactly these."""
        self._fail_if_broken()
        repairs = [f"withdrew {address}" for address in sorted(self.announced - addresses, key=address_order)]
        repairs += [f"announced {address}" for address in sorted(addresses - self.announced, key=address_order)]
        self.announced = set(addresses)
        return tuple(repairs)

    def observe(self) -> AnnouncerReport:
        """What is announced; there are no sessions."""
        return AnnouncerReport(announced=frozenset(self.announced))

    def heard(self) -> None:
        """It needs no lease; it counts."""
        self.words += 1

    def close(self) -> None:
        """Announcing goes on, as the interface says."""
        self.started = False

    def _fail_if_broken(self) -> None:
        if self.broken is not None:
            raise SystemFailure(self.broken)
