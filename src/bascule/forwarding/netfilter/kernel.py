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

# A listing of ten thousand rules takes its time.
_TIMEOUT = 30.0  # seconds


class NatTable:
    """The table of one version of IP in one network namespace; every other table is left alone."""

    note = ""

    def __init__(self, version: int, largest_segment: int, *, wanted: bool = True) -> None:
        """`largest_segment` is the MSS, in bytes, that instances may offer. Not `wanted`: there must be no table."""
        self._version, self._wanted = version, wanted
        self._name = render.where(version)
        self._script = render.table(version, largest_segment)
        self._shape: tuple[str, ...] = ()
        self._generation = -1
        self._contents = listing.Contents()

    def is_known(self) -> bool:
        """Whether this machine has an nftables that could hold such a table."""
        try:
            self.read()
        except SystemFailure:
            return False
        return True

    def start(self) -> None:
        """Learn how this kernel and this nft list the table, from one that nobody else sees.

        Raises SystemFailure when they refuse it.
        """
        if not self._wanted:
            return  # This kernel may know nothing of that version.
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
            self._contents = listing.read(self._list())
            # The older number: a change between the two calls is then seen next time.
            self._generation = now
        return self._contents

    def enforce(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> tuple[str, ...]:
        """Bring the table to those rules and instances that are of its version, in one transaction.

        Returns a sentence per repair.
        """
        rules = {rule for rule in rules if rule.address.version == self._version}
        instances = {instance for instance in instances if instance.version == self._version}
        actual = self.read()
        wanted = listing.desired(rules, instances, self._shape) if self._wanted else listing.Contents()
        if actual == wanted:
            return ()
        script = "" if actual.shape == wanted.shape else render.remove(self._version)
        if self._wanted:
            script += (self._script if script else "") + render.fill(self._version, rules, instances)
        run(["nft", "-f", "-"], stdin=script, timeout=_TIMEOUT)
        return listing.differences(self._name, actual, wanted)

    def is_whole(self) -> bool:
        """Whether every chain is as it should be."""
        return self.read().shape == self._shape

    def counters(self) -> dict[str, int]:
        """Packets by their fate; none while the table is missing."""
        try:
            return listing.counters(run(["nft", "-j", "list", "counters", "table", *self._name.split()]))
        except SystemFailure:
            return {}

    def observe(self) -> Observed:
        """Ask the kernel."""
        return Observed(rules=self.read().rules, whole=self.is_whole(), counters=self.counters())

    def _try(self) -> str:
        run(["nft", "-f", "-"], stdin=self._script)
        return self._list()

    def _list(self) -> str:
        """The table in JSON; empty when there is none."""
        tables = run(["nft", "list", "tables"]).splitlines()
        if f"table {self._name}" not in tables:
            return ""
        return run(["nft", "-j", "list", "table", *self._name.split()], timeout=_TIMEOUT)
