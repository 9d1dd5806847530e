"""The contract of a hypervisor's forwarding. Calls block: the agent makes them from a thread, never two at once."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from bascule.model.configurations import ForwardingRule
from bascule.model.reports import ForwardingReport


class Forwarding(Protocol):
    """Delivers tunnelled packets to instances and sends their replies straight to the client."""

    name: str

    def start(self) -> None:
        """Load and attach, or take over what an earlier process left running without a gap in forwarding.

        Raises SystemFailure with what is missing and how to get it.
        """

    def enforce(self, rules: Set[ForwardingRule]) -> tuple[str, ...]:
        """Compare the kernel with the rules and repair what differs; returns a sentence per repair.

        What is not named is removed. Established connections of rules that stay are not disturbed, and connections
        made directly to an instance are left alone. Raises SystemFailure when the kernel refuses.
        """

    def observe(self) -> ForwardingReport:
        """Read the kernel's own view."""

    def close(self) -> None:
        """Let go of handles. Forwarding goes on."""
