"""The contract of an announcer. Calls block: the agent makes them from a thread of its own, never two at once."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol, runtime_checkable

from bascule.model.addresses import IPAddress
from bascule.model.reports import AnnouncerReport


class Announcer(Protocol):
    """Draws the packets of addresses to this node."""

    name: str

    def start(self) -> None:
        """Start, or take over what an earlier process left running, without dropping a session.

        Raises SystemFailure with what is missing and how to get it.
        """

    def enforce(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
        """Announce exactly these addresses; returns a sentence per repair. Sessions stay up whatever changes."""

    def observe(self) -> AnnouncerReport:
        """Read what is announced and how the sessions are."""

    def heard(self) -> None:
        """The control plane spoke to this node just now. Called from any thread, and never blocks for long."""

    def close(self) -> None:
        """Let go of handles. Announcing goes on."""


@runtime_checkable
class GracefulAnnouncer(Announcer, Protocol):
    """An announcer that can ask routers to move an address's packets elsewhere before it is withdrawn.

    `grace` is how many seconds they are given for it; 0 when nobody shall wait.
    """

    grace: float

    def discourage(self, addresses: Set[IPAddress]) -> None:
        """From now on `enforce` announces these, of those that it names, as a last resort, and no others."""
