"""A forwarding that only remembers, for tests, simulations and agents on a machine without the right kernel."""

from __future__ import annotations

from collections.abc import Set

from bascule.model.addresses import IPAddress, address_order
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.reports import ForwardingReport


class FakeForwarding:
    """`rules` stands for the kernel, which outlives a process: a test may change it, as a foreign hand would.

    `unreachable` are instances without an interface. While `broken` holds a sentence, start and enforce fail with it.
    """

    name = "fake"

    def __init__(self) -> None:
        self.rules: set[ForwardingRule] = set()
        self.unreachable: set[IPAddress] = set()
        self.broken: str | None = None
        self.started = False
        self._told: set[IPAddress] = set()

    def start(self) -> None:
        """Succeed unless broken."""
        self._fail_if_broken()
        self.started = True

    def enforce(self, rules: Set[ForwardingRule]) -> tuple[str, ...]:
        """Hold exactly the rules of the instances that can be reached."""
        if not self.started:
            raise SystemFailure("The forwarding is not started: call start() first.")
        self._fail_if_broken()
        missing = {rule.instance for rule in rules} & self.unreachable
        desired = {rule for rule in rules if rule.instance not in missing}
        repairs = [
            f"Instance {instance} cannot be reached." for instance in sorted(missing - self._told, key=address_order)
        ]
        repairs += [f"Wrote {rule}." for rule in sorted(desired - self.rules)]
        repairs += [f"Deleted {rule}." for rule in sorted(self.rules - desired)]
        self.rules, self._told = desired, missing
        return tuple(repairs)

    def observe(self) -> ForwardingReport:
        """The instances of the rules; no packet was ever counted."""
        return ForwardingReport(instances=frozenset(rule.instance for rule in self.rules))

    def close(self) -> None:
        """Forwarding goes on, as the interface says."""
        self.started = False

    def _fail_if_broken(self) -> None:
        if self.broken is not None:
            raise SystemFailure(self.broken)
