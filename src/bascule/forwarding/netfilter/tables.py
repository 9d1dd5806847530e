"""The tables of both versions of IP as one, each by the first means that this kernel takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence, Set
from typing import TypeAlias

from bascule.forwarding import tunnel_layout
from bascule.forwarding.netfilter.kernel import NatTable
from bascule.forwarding.netfilter.legacy.kernel import LegacyTable
from bascule.forwarding.netfilter.table import Observed, Table
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure

# Makes a table of a version of IP for the MSS, in bytes, that instances may offer.
Kind: TypeAlias = Callable[[int, int], Table]
KINDS: tuple[Kind, ...] = (NatTable, LegacyTable)


class NatTables:
    """A table for each version of IP whose tunnels are accepted, and no nftables table of ours for the other."""

    def __init__(self, families: Set[int], tunnel_mtu: int, kinds: Sequence[Kind] = KINDS) -> None:
        """`tunnel_mtu`: the largest inner packet of an IPv4 tunnel, in bytes. The first of `kinds` to start is used."""
        segments = {version: tunnel_layout.largest_segment(tunnel_mtu, version) for version in (4, 6)}
        self._kinds = [[kind(version, segments[version]) for kind in kinds] for version in sorted(families)]
        self._unwanted = [NatTable(version, segments[version], wanted=False) for version in {4, 6} - families]
        self._tables: tuple[Table, ...] = ()

    def start(self) -> None:
        """Choose for each version of IP. Raises SystemFailure with what every kind lacks when none starts."""
        chosen = (_first_that_starts(kinds) for kinds in self._kinds)
        self._tables = (*chosen, *(table for table in self._unwanted if table.is_known()))

    @property
    def notes(self) -> tuple[str, ...]:
        """What an operator should know about what was chosen."""
        return tuple(dict.fromkeys(table.note for table in self._tables if table.note))

    def enforce(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> tuple[str, ...]:
        """Bring the tables to the rules; returns a sentence per repair."""
        return tuple(repair for table in self._tables for repair in table.enforce(rules, instances))

    def observe(self) -> Observed:
        """What the kernel has of all of them."""
        seen = [table.observe() for table in self._tables]
        counters: Counter[str] = Counter()
        for each in seen:
            counters.update(each.counters)
        return Observed(
            rules=frozenset(rule for each in seen for rule in each.rules),
            whole=all(each.whole for each in seen),
            counters=counters,
        )


def _first_that_starts(tables: Sequence[Table]) -> Table:
    refusals = []
    for table in tables:
        try:
            table.start()
        except SystemFailure as error:
            refusals.append(error.sentence)
        else:
            return table
    raise SystemFailure(" ".join(refusals))
