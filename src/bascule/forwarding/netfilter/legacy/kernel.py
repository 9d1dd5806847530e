"""Keeps our iptables chains as desired, by comparing what the kernel lists. Works in the calling thread's namespace."""

from __future__ import annotations

from collections.abc import Set
from functools import partial
from ipaddress import IPv4Address

from bascule.forwarding.netfilter.legacy import listing, render
from bascule.forwarding.netfilter.table import Observed
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol
from bascule.system.commands import run
from bascule.system.namespaces import call_apart

_SAVE = ["iptables-legacy-save", "--counters"]
# Others may hold the lock that all iptables of a machine share: wait so many seconds.
_RESTORE = ["iptables-legacy-restore", "--noflush", "--wait", "5"]
_TIMEOUT = 30.0  # seconds
_SAMPLE = ForwardingRule(IPv4Address("192.0.2.1"), Protocol.TCP, 80, IPv4Address("192.0.2.2"), 8080)


class LegacyTable:
    """Our chains in one network namespace; every other chain is left alone, but for a rule that leads to ours."""

    def __init__(self, largest_segment: int) -> None:
        """`largest_segment` is the MSS, in bytes, that instances may offer."""
        self.note = ""
        self._fixed = render.fixed(largest_segment)
        self._zones = True

    def start(self) -> None:
        """See the protocol. Does without conntrack's zones on a kernel that has none."""
        self.note = "iptables-legacy translates here, because this kernel's nftables cannot."
        try:
            self._zones = True
            call_apart(partial(_try, self._wanted({_SAMPLE}, {_SAMPLE.instance}), self._jumps()))
        except SystemFailure:
            self._zones = False
            call_apart(partial(_try, self._wanted({_SAMPLE}, {_SAMPLE.instance}), self._jumps()))
            self.note += " Without conntrack's zones a connection that moves to another instance of this host does not."

    def enforce(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> tuple[str, ...]:
        """Bring the chains to the rules: only those that differ are written, table by table."""
        actual = _read()
        chains = {
            chain: lines for chain, lines in self._wanted(rules, instances).items() if not actual.holds(chain, lines)
        }
        missing = [jump for jump in self._jumps() if not actual.leads(jump)]
        if not chains and not missing:
            return ()
        run(_RESTORE, stdin=render.script(chains, missing), timeout=_TIMEOUT)
        sentences = listing.differences(actual.rules(), frozenset(rules))
        if missing or not sentences:
            names = sorted({*(chain.name for chain in chains), *(jump.chain.name for jump in missing)})
            sentences = (f"Wrote the iptables chains {', '.join(names)}.", *sentences)
        return sentences

    def observe(self) -> Observed:
        """Ask the kernel, once."""
        found = _read()
        whole = all(found.holds(chain, lines) for chain, lines in self._fixed.items())
        whole = whole and all(found.leads(jump) for jump in self._jumps())
        return Observed(rules=found.guarded(), whole=whole, counters=found.counters())

    def _wanted(self, rules: Set[ForwardingRule], instances: Set[IPAddress]) -> render.Chains:
        return {**self._fixed, **render.variable(rules, instances, zones=self._zones)}

    def _jumps(self) -> tuple[render.Jump, ...]:
        return render.jumps(zones=self._zones)


def _read() -> listing.Listing:
    return listing.read(run(_SAVE, timeout=_TIMEOUT))


def _try(chains: render.Chains, jumps: tuple[render.Jump, ...]) -> None:
    """Write them, and see that they are listed as we wrote them: else every pass would write them again."""
    run(_RESTORE, stdin=render.script(chains, jumps))
    found = _read()
    odd = [chain.name for chain, lines in chains.items() if not found.holds(chain, lines)]
    odd += [jump.chain.name for jump in jumps if not found.leads(jump)]
    if odd:
        raise SystemFailure(
            f"iptables-legacy lists {', '.join(odd)} in other words than ours: install iptables 1.8.9, or report this."
        )
