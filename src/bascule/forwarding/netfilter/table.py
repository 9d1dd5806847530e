"""What the driver wants of whatever translates for it: nftables, or iptables where the kernel has no nftables."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Protocol

from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What the kernel has: the rules, whether all else they need is whole, and packets by their fate."""

    rules: frozenset[ForwardingRule]
    whole: bool
    counters: Mapping[str, int]


class Table(Protocol):
    """The rules of one network namespace, that of the calling thread; those of others are left alone."""

    note: str
    """What an operator should know about this table; empty when nothing."""

    def start(self) -> None:
        """Try the rules in a namespace that nobody else sees. Raises SystemFailure when this kernel refuses them."""

    def enforce(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> tuple[str, ...]:
        """Bring the kernel to the rules; returns a sentence per repair.

        `instances` may have tunnels without any rule: what comes for them is dropped.
        """

    def observe(self) -> Observed:
        """Ask the kernel."""
