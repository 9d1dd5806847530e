"""Forwarding by two tc programs (`bpf/tc_hypervisor.bpf.c`), which go on when this process ends.

What this host must allow: net.ipv4.ip_forward=1 (for IPv6, if BASCULE_TUNNEL_SOURCES names a prefix of it,
net.ipv6.conf.all.forwarding=1 as well), and no strict rp_filter (1) on the interfaces that lead to instances, because
replies leave with the VIP as source; IPv6 has no such filter. `enforce` says so when it is not the case; it changes no
sysctl. Strict rp_filter on an uplink costs only those clients that are instances of this very host.

A packet with two headers whose flow the first instance has not goes on to the second one's host, with an LB node's
source address (docs/decisions/0020-second-chance.md): a firewall on this host, and what keeps false source addresses
off the underlay, must let tunnels from BASCULE_TUNNEL_SOURCES pass from one hypervisor to another.

A stateful firewall on this host sees requests to the instance and replies from the VIP, never one connection: let
forwarded packets from the VIPs pass it before "ct state invalid drop".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from ipaddress import ip_address
from pathlib import Path

from bascule import native
from bascule.forwarding import interfaces, tunnel_layout
from bascule.forwarding.ebpf import layout, pins
from bascule.forwarding.ebpf.arrivals import Arrivals
from bascule.forwarding.words import matched_words, rule_words
from bascule.model.addresses import IPAddress, IPNetwork
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.reports import ForwardingReport
from bascule.system import bpf
from bascule.system.bpffs import ensure_bpffs

# Away from 1, which others take, and early, because a filter before ours could end the chain.
_PRIORITY = 11
_PROGRAMS = {layout.UPLINK: "hypervisor_uplink", layout.INSTANCE: "hypervisor_instance"}


class EbpfForwarding:
    """Keeps the kernel's maps and filters as the rules say. Nothing but the kernel is asked what is in place."""

    name = "ebpf"

    def __init__(
        self,
        *,
        uplinks: Sequence[str],
        tunnel_sources: Sequence[IPNetwork],
        tunnel_mtu: int,
        bpf_dir: Path,
        object_path: Path = native.DIRECTORY / "tc_hypervisor.bpf.o",
    ) -> None:
        """`tunnel_mtu`: the largest inner packet of an IPv4 tunnel, in bytes. Raises InvalidInput out of range."""
        self._uplinks = tuple(uplinks)
        self._families = tunnel_layout.families(tunnel_sources)
        self._settings = tunnel_layout.settings(tunnel_sources, tunnel_mtu)
        self._bpf_dir = bpf_dir
        self._object_path = object_path
        self._object: bpf.BpfObject | None = None
        self._news: tuple[str, ...] = ()
        self._missing: Mapping[IPAddress, str] = {}
        self._arrivals = Arrivals()

    def start(self) -> None:
        """Load the programs and take over the pinned maps. An earlier process's programs run until `enforce`."""
        for uplink in self._uplinks:
            interfaces.index_of(uplink)
        ensure_bpffs(self._bpf_dir)
        self._object, self._news = pins.load(self._object_path, self._settings, self._bpf_dir)

    def enforce(self, rules: Set[ForwardingRule]) -> tuple[str, ...]:
        """See the interface. Raises SystemFailure, after doing all else, when an interface or a sysctl is in the way.

        Replies are translated before requests are let in, and rules go before the filter that serves their replies.
        """
        uplinks = {interfaces.index_of(name): layout.UPLINK for name in self._uplinks}
        instances = {rule.instance for rule in rules}
        found, missing = interfaces.find(instances, uplinks.keys(), self._families)
        leading = dict.fromkeys(found.values(), layout.INSTANCE)
        repairs = [*self._take_news(), *self._tell_missing(missing)]
        attached, refusals = self._attach(leading)
        found = {instance: interface for instance, interface in found.items() if interface not in refusals}
        repairs += attached
        for version in layout.VERSIONS:
            reachable = [rule for rule in rules if rule.instance in found and rule.address.version == version]
            repairs += self._write_rules(version, reachable)
        repairs += self._detach_all_but(uplinks.keys() | leading.keys())
        for version in layout.VERSIONS:
            local = {instance: found.get(instance, 0) for instance in instances if instance.version == version}
            repairs += self._write_instances(version, local)
        attached, refused_uplinks = self._attach(uplinks)
        repairs += attached
        self._arrivals.enforce(rules, found.keys())
        repairs += pins.remove_others(self._bpf_dir)
        sentences = [
            *refusals.values(),
            *refused_uplinks.values(),
            *interfaces.obstacles(uplinks, found, self._families),
        ]
        if sentences:
            raise SystemFailure(" ".join(sentences))
        return tuple(repairs)

    def observe(self) -> ForwardingReport:
        """An instance is in place when it has a rule, its interface translates replies, and every uplink requests."""
        counters = self._map("counters")
        values = tunnel_layout.totals(layout.COUNTERS, counters.get_per_cpu)
        return ForwardingReport(instances=self._in_place(), counters=values)

    def close(self) -> None:
        """Close every handle; attached programs and pinned maps stay."""
        if self._object is not None:
            self._object.close()
            self._object = None

    def _loaded(self) -> bpf.BpfObject:
        if self._object is None:
            raise SystemFailure("The forwarding is not started: call start() first.")
        return self._object

    def _map(self, name: str, version: int = 4) -> bpf.BpfMap:
        return self._loaded().map(layout.map_of(name, version))

    def _is_attached(self, interface: int, role: int) -> bool:
        wanted = bpf.program_id(self._loaded().program(_PROGRAMS[role]))
        return bpf.attached_tc(interface, priority=_PRIORITY) == wanted

    def _is_uplink_attached(self, name: str) -> bool:
        try:
            return self._is_attached(interfaces.index_of(name), layout.UPLINK)
        except SystemFailure:
            return False  # there is no such interface now; `enforce` says so

    def _take_news(self) -> tuple[str, ...]:
        news, self._news = self._news, ()
        return news

    def _tell_missing(self, missing: Mapping[IPAddress, str]) -> list[str]:
        told, self._missing = self._missing, missing
        return [sentence for instance, sentence in missing.items() if told.get(instance) != sentence]

    def _attach(self, roles: Mapping[int, int]) -> tuple[list[str], dict[int, str]]:
        """Attach where needed; returns a sentence per repair, and one per interface that refused."""
        repairs: list[str] = []
        refusals: dict[int, str] = {}
        for interface, role in roles.items():
            if self._is_attached(interface, role):
                continue
            try:
                # Noted first: should this process die in between, the next one knows where to look.
                self._map("attachments").set(tunnel_layout.number(interface), tunnel_layout.number(role))
                bpf.attach_tc(interface, self._loaded().program(_PROGRAMS[role]), priority=_PRIORITY)
                repairs.append(f"Attached {_PROGRAMS[role]} to {interfaces.name_of(interface)}.")
            except SystemFailure as error:
                refusals[interface] = f"{interfaces.name_of(interface)} refused the program: {error.sentence}."
        return repairs, refusals

    def _detach_all_but(self, wanted: Set[int]) -> list[str]:
        repairs = []
        attachments = self._map("attachments")
        for key in list(attachments.keys()):
            interface = tunnel_layout.read_number(key)
            if interface in wanted:
                continue
            if bpf.attached_tc(interface, priority=_PRIORITY):
                bpf.detach_tc(interface, priority=_PRIORITY)
                repairs.append(f"Detached from {interfaces.name_of(interface)}, which leads to no instance any more.")
            attachments.delete(key)
        return repairs

    def _write_rules(self, version: int, rules: Sequence[ForwardingRule]) -> list[str]:
        kernel = self._map("rules", version)
        changes = layout.differences(layout.rules(sorted(rules)), kernel.items())
        _apply(kernel, changes)
        written = [f"Wrote {_rule_words(key, value)}." for key, value in changes.write.items()]
        return written + [f"Deleted {_rule_words(key, None)}." for key in sorted(changes.delete)]

    def _write_instances(self, version: int, instances: Mapping[IPAddress, int]) -> list[str]:
        kernel = self._map("instances", version)
        desired = {instance.packed: tunnel_layout.number(interface) for instance, interface in instances.items()}
        changes = layout.differences(desired, kernel.items())
        _apply(kernel, changes)
        written = [f"Registered instance {ip_address(key)}." for key in changes.write]
        return written + [f"Removed instance {ip_address(key)}." for key in sorted(changes.delete)]

    def _in_place(self) -> frozenset[IPAddress]:
        if not all(self._is_uplink_attached(name) for name in self._uplinks):
            return frozenset()
        ruled = {rule.instance for item in self._items("rules") if (rule := layout.rule(*item))}
        return frozenset(
            instance
            for key, value in self._items("instances")
            if (instance := ip_address(key)) in ruled
            and self._is_attached(tunnel_layout.read_number(value), layout.INSTANCE)
        )

    def _items(self, name: str) -> list[tuple[bytes, bytes]]:
        return [item for version in layout.VERSIONS for item in self._map(name, version).items().items()]


def _apply(kernel: bpf.BpfMap, changes: layout.Changes) -> None:
    for key, value in changes.write.items():
        kernel.set(key, value)
    for key in changes.delete:
        kernel.delete(key)


def _rule_words(key: bytes, value: bytes | None) -> str:
    rule = layout.rule(key, value or b"\0\0")
    if rule is None:
        return "a rule of unknown protocol"
    return rule_words(rule) if value else f"{matched_words(rule)} to {rule.instance}"
