"""Keeps our iptables chains as desired, by comparing what the kernel lists. Works in the calling thread's namespace."""

from __future__ import annotations

from collections.abc import Iterable, Set
from ipaddress import IPv4Address, IPv6Address

from bascule.forwarding.netfilter.legacy import listing, render
from bascule.forwarding.netfilter.table import Observed
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol
from bascule.system.commands import run
from bascule.system.namespaces import call_apart

_PROGRAMS = {4: "iptables-legacy", 6: "ip6tables-legacy"}
# Others may hold the lock that all iptables of a machine share: wait so many seconds.
_RESTORE = ("--noflush", "--wait", "5")
_TIMEOUT = 30.0  # seconds
_SAMPLES = {
    4: ForwardingRule(IPv4Address("192.0.2.1"), Protocol.TCP, 80, IPv4Address("192.0.2.2"), 8080),
    6: ForwardingRule(IPv6Address("2001:db8::1"), Protocol.TCP, 80, IPv6Address("2001:db8::2"), 8080),
}


class LegacyTable:
    """Our chains of one version of IP in one network namespace; others are left alone, but for a rule to ours."""

    def __init__(self, version: int, largest_segment: int) -> None:
        """`largest_segment` is the MSS, in bytes, that instances may offer."""
        self._version, self._program = version, _PROGRAMS[version]
        self.note = ""
        self._fixed = render.fixed(largest_segment)
        self._zones = True

    def start(self) -> None:
        """See the protocol. Does without conntrack's zones on a kernel that has none."""
        self.note = f"{self._program} translates here, because this kernel's nftables cannot."
        try:
            self._zones = True
            call_apart(self._try)
        except SystemFailure:
            self._zones = False
            call_apart(self._try)
            self.note += " Without conntrack's zones a connection that moves to another instance of this host does not."

    def enforce(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> tuple[str, ...]:
        """Bring the chains to the rules: only those that differ are written, table by table."""
        actual = self._read()
        chains = {
            chain: lines for chain, lines in self._wanted(rules, instances).items() if not actual.holds(chain, lines)
        }
        missing = [jump for jump in self._jumps() if not actual.leads(jump)]
        if not chains and not missing:
            return ()
        self._write(chains, missing)
        sentences = listing.differences(actual.rules(), render.of_version(rules, self._version))
        if missing or not sentences:
            names = sorted({*(chain.name for chain in chains), *(jump.chain.name for jump in missing)})
            sentences = (f"Wrote the {self._program} chains {', '.join(names)}.", *sentences)
        return sentences

    def observe(self) -> Observed:
        """Ask the kernel, once."""
        found = self._read()
        whole = all(found.holds(chain, lines) for chain, lines in self._fixed.items())
        whole = whole and all(found.leads(jump) for jump in self._jumps())
        return Observed(rules=found.guarded(), whole=whole, counters=found.counters())

    def _wanted(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> render.Chains:
        return {**self._fixed, **render.variable(self._version, rules, instances, zones=self._zones)}

    def _jumps(self) -> tuple[render.Jump, ...]:
        return render.jumps(zones=self._zones)

    def _read(self) -> listing.Listing:
        return listing.read(run([f"{self._program}-save", "--counters"], timeout=_TIMEOUT))

    def _write(self, chains: render.Chains, jumps: Iterable[render.Jump]) -> None:
        run([f"{self._program}-restore", *_RESTORE], stdin=render.script(chains, jumps), timeout=_TIMEOUT)

    def _try(self) -> None:
        """Write the chains, and see that they are listed as we wrote them: else every pass would write them again."""
        sample = _SAMPLES[self._version]
        chains, jumps = self._wanted({sample}, {sample.instance}), self._jumps()
        self._write(chains, jumps)
        found = self._read()
        odd = [chain.name for chain, lines in chains.items() if not found.holds(chain, lines)]
        odd += [jump.chain.name for jump in jumps if not found.leads(jump)]
        if odd:
            raise SystemFailure(
                f"{self._program} lists {', '.join(odd)} in other words than ours: install iptables 1.8.9 or report it."
            )
