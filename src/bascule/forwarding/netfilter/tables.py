"""The tables of both versions of IP as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Set

from bascule.forwarding import tunnel_layout
from bascule.forwarding.netfilter.kernel import NatTable
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule


class NatTables:
    """A table for each version of IP whose tunnels are accepted, and none for the other."""

    def __init__(self, families: Set[int], tunnel_mtu: int) -> None:
        """`tunnel_mtu`: the largest inner packet of an IPv4 tunnel, in bytes."""
        self._tables = tuple(
            NatTable(version, tunnel_layout.largest_segment(tunnel_mtu, version), wanted=version in families)
            for version in (4, 6)
        )

    def start(self) -> None:
        """See `NatTable`, as for all of these. Raises SystemFailure when the kernel refuses one."""
        for table in self._tables:
            table.start()

    def enforce(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> tuple[str, ...]:
        """Bring the tables to the rules; returns a sentence per repair."""
        return tuple(repair for table in self._tables for repair in table.enforce(rules, instances))

    def rules(self) -> frozenset[ForwardingRule]:
        """The rules that the kernel has."""
        return frozenset[ForwardingRule]().union(*(table.read().rules for table in self._tables))

    def is_whole(self) -> bool:
        """Whether every chain is as it should be."""
        return all(table.is_whole() for table in self._tables)

    def counters(self) -> dict[str, int]:
        """Packets by their fate, of both versions."""
        total: Counter[str] = Counter()
        for table in self._tables:
            total.update(table.counters())
        return dict(total)
