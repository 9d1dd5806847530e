"""Forwarding by the kernel's NAT: what the seeds' two rules per machine and service do, with one map for all of them.

What this host must allow: net.ipv4.ip_forward=1 (for IPv6, if BASCULE_TUNNEL_SOURCES names a prefix of it,
net.ipv6.conf.all.forwarding=1 as well), conntrack, and an underlay on which LB nodes' tunnels arrive. Strict
rp_filter on the instances' interfaces does no harm, because replies are translated after it has seen them. Connections
to a rule that goes are not cut: they end by themselves, or with their conntrack entries.

A client that speaks to an instance directly and through the VIP from one and the same port keeps its address, but the
instance sees the second connection come from another port: the kernel must tell their replies apart.

Rules of others that write marks in prerouting before `dstnat - 10` (priority -110) must spare packets that carry one.

Where the kernel's nftables has no family `ip`, iptables-legacy translates: `start` tries what there is, in turn.

A packet with two headers whose flow the first instance has not goes on to the second one's host, with an LB node's
source address (docs/decisions/0020-second-chance.md): a firewall on this host, and what keeps false source addresses
off the underlay, must let tunnels from BASCULE_TUNNEL_SOURCES pass from one hypervisor to another.

Should somebody flush nftables, new connections are dropped on their way back to the LB nodes until the next `enforce`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from pathlib import Path

from bascule import native
from bascule.forwarding import interfaces, tunnel_layout
from bascule.forwarding.netfilter.render import collisions
from bascule.forwarding.netfilter.tables import KINDS, Kind, NatTables
from bascule.forwarding.netfilter.uplinks import Uplinks
from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.reports import ForwardingReport


class NetfilterForwarding:
    """Keeps the NAT table and the decapsulation as the rules say. Only the kernel is asked what is in place."""

    name = "netfilter"

    def __init__(
        self,
        *,
        uplinks: Sequence[str],
        tunnel_sources: Sequence[IPNetwork],
        tunnel_mtu: int,
        bpf_dir: Path,
        object_path: Path = native.DIRECTORY / "tc_decapsulate.bpf.o",
        kinds: Sequence[Kind] = KINDS,
    ) -> None:
        """`tunnel_mtu`: the largest inner packet of an IPv4 tunnel, in bytes. Raises InvalidInput out of range.

        `bpf_dir` is where the clients' flows are pinned; a bpf file system is mounted there unless it is on one.
        """
        self._names = tuple(uplinks)
        self._settings = tunnel_layout.settings(tunnel_sources, tunnel_mtu)
        self._object_path, self._bpf_dir = object_path, bpf_dir
        self._families = tunnel_layout.families(tunnel_sources)
        self._table = NatTables(self._families, tunnel_mtu, kinds)
        self._notes: tuple[str, ...] = ()
        self._uplinks: Uplinks | None = None
        self._missing: Mapping[IPAddress, str] = {}

    def start(self) -> None:
        """Try the rules out of sight and load the programs. What an earlier process attached runs until `enforce`."""
        self._table.start()
        self._notes = self._table.notes
        self._uplinks = Uplinks(self._names, self._settings, self._object_path, self._bpf_dir)

    def enforce(self, rules: Set[ForwardingRule]) -> tuple[str, ...]:
        """See the interface. Raises SystemFailure, after doing all else, when this host does not forward.

        An instance's tunnel opens after its rules and the guard are in place, and closes before they go.
        """
        uplinks = self._started()
        instances, unclear = _telling_apart({rule.instance for rule in rules})
        found, missing = interfaces.find(instances, uplinks.indexes(), self._families)
        missing |= unclear
        repairs, self._notes = [*self._notes, *self._tell_missing(missing)], ()
        uplinks.forget_all_but(instances)
        repairs += self._table.enforce({rule for rule in rules if rule.instance in found}, instances)
        uplinks.learn(instances)
        repairs += uplinks.attach()
        if sentences := interfaces.cannot_forward(uplinks.indexes(), found, self._families):
            raise SystemFailure(" ".join(sentences))
        return tuple(repairs)

    def observe(self) -> ForwardingReport:
        """An instance is in place when it has a rule, the table is whole, and every uplink decapsulates."""
        uplinks = self._started()
        seen = self._table.observe()
        whole = seen.whole and uplinks.are_attached()
        instances = {rule.instance for rule in seen.rules} if whole else ()
        return ForwardingReport(instances=frozenset(instances), counters={**uplinks.counters(), **seen.counters})

    def close(self) -> None:
        """Close every handle; table and programs stay."""
        if self._uplinks is not None:
            self._uplinks.close()
            self._uplinks = None

    def _started(self) -> Uplinks:
        if self._uplinks is None:
            raise SystemFailure("The forwarding is not started: call start() first.")
        return self._uplinks

    def _tell_missing(self, missing: Mapping[IPAddress, str]) -> list[str]:
        told, self._missing = self._missing, missing
        return [sentence for instance, sentence in missing.items() if told.get(instance) != sentence]


def _telling_apart(instances: Set[IPAddress]) -> tuple[Set[IPAddress], dict[IPAddress, str]]:
    """The instances that marks can tell apart, and a sentence for each of the others."""
    others = {
        instance: f"Instance {instance} has the same mark as {other}: give one of them another address."
        for instance, other in collisions(instances).items()
    }
    return instances - others.keys(), others
