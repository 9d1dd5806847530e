"""Keeps the nftables table as desired, by comparing what the kernel lists. Works in the calling thread's namespace."""

from __future__ import annotations

from collections.abc import Set

from bascule.forwarding.netfilter import listing, render
from bascule.forwarding.netfilter.table import Observed
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.system.commands import run
from bascule.system.namespaces import call_apart
from bascule.system.nftables import generation

_NAME = [render.FAMILY, render.TABLE]
# A listing of ten thousand rules takes its time.
_TIMEOUT = 30.0  # seconds


class NatTable:
    """The table of one network namespace; every other table is left alone."""

    note = ""

    def __init__(self, largest_segment: int) -> None:
        """`largest_segment` is the MSS, in bytes, that instances may offer."""
        self._script = render.table(largest_segment)
        self._shape: tuple[str, ...] = ()
        self._generation = -1
        self._contents = listing.Contents()

    def start(self) -> None:
        """Learn how this kernel and this nft list the table, from one that nobody else sees.

        Raises SystemFailure when they refuse it.
        """
        try:
            self._shape = listing.read(call_apart(self._try)).shape
        except SystemFailure as error:
            raise SystemFailure(
                f"This kernel's nftables refuses our rules: {error.sentence}. `bascule doctor` knows what they need."
            ) from error

    def read(self) -> listing.Contents:
        """What the kernel has now; asked again only when somebody changed some rule of this namespace."""
        now = generation()
        if now != self._generation:
            self._contents = listing.read(_list())
            # The older number: a change between the two calls is then seen next time.
            self._generation = now
        return self._contents

    def enforce(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> tuple[str, ...]:
        """Bring the table to the rules in one transaction; returns a sentence per repair."""
        actual, wanted = self.read(), listing.desired(rules, instances, self._shape)
        if actual == wanted:
            return ()
        anew = "" if actual.shape == wanted.shape else render.remove() + self._script
        run(["nft", "-f", "-"], stdin=anew + render.fill(rules, instances), timeout=_TIMEOUT)
        return listing.differences(actual, wanted)

    def is_whole(self) -> bool:
        """Whether every chain is as it should be."""
        return self.read().shape == self._shape

    def counters(self) -> dict[str, int]:
        """Packets by their fate; none while the table is missing."""
        try:
            return listing.counters(run(["nft", "-j", "list", "counters", "table", *_NAME]))
        except SystemFailure:
            return {}

    def observe(self) -> Observed:
        """Ask the kernel."""
        return Observed(rules=self.read().rules, whole=self.is_whole(), counters=self.counters())

    def _try(self) -> str:
        run(["nft", "-f", "-"], stdin=self._script)
        return _list()


def _list() -> str:
    """The table in JSON; empty when there is none."""
    if f"table {' '.join(_NAME)}" not in run(["nft", "list", "tables", render.FAMILY]).splitlines():
        return ""
    return run(["nft", "-j", "list", "table", *_NAME], timeout=_TIMEOUT)
