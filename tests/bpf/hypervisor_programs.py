"""Load the hypervisor's programs and run them on packets (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
import struct
import time
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network

import pytest

from bascule import native
from bascule.forwarding import tunnel_layout
from bascule.forwarding.ebpf import layout
from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol
from bascule.system import bpf
from tests.bpf.packets import ETHERNET, Ends, Packet, frame, read, tunnelled

OBJECT = native.DIRECTORY / "tc_hypervisor.bpf.o"
# As in bpf/hypervisor_age.h
_AGE_TICK_LOG2_NS, _AGE_REST = 33, 0x7FFF
DROPPED, LET_THROUGH = 2, 0xFFFFFFFF  # TC_ACT_SHOT, TC_ACT_UNSPEC
TUNNEL_SOURCES = tuple(
    map(ip_network, ("10.98.0.0/24", "10.99.0.0/16", "2001:db8:98::/120", "2001:db8:99::/48", "fd00:99::/33"))
)


@dataclass(frozen=True)
class Family:
    """Who takes part, of one family, and what they say."""

    client: IPAddress
    router: IPAddress
    vip: IPAddress
    instance: IPAddress
    neighbour: IPAddress

    @property
    def version(self) -> int:
        """4 or 6."""
        return self.vip.version

    @property
    def header(self) -> int:
        """Bytes of an IP header without options."""
        return 20 if self.version == 4 else 40

    @property
    def tunnel(self) -> int:
        """The protocol of a packet of this family in another one."""
        return 4 if self.version == 4 else 41

    @property
    def tunnel_sources(self) -> tuple[str, ...]:
        """One of each prefix that tunnels may come from."""
        if self.version == 4:
            return ("10.98.0.255", "10.99.255.255")
        return ("2001:db8:98::ff", "2001:db8:99:ffff::1", "fd00:99:0:0:7fff::")

    @property
    def foreign_source(self) -> str:
        """One of none of them."""
        return "10.98.1.1" if self.version == 4 else "2001:db8:98::100"

    @property
    def icmp_errors(self) -> tuple[int, ...]:
        """The types of ICMP errors, "unreachable" first (RFC 792, RFC 4443)."""
        return (3, 11, 12, 3) if self.version == 4 else (1, 2, 3, 4)

    @property
    def pong(self) -> int:
        """The type of ICMP's echo reply."""
        return 0 if self.version == 4 else 129

    @property
    def mss(self) -> int:
        """What fits two tunnels, 1500 bytes outside."""
        return 1420 if self.version == 4 else 1360

    @property
    def rules(self) -> tuple[ForwardingRule, ...]:
        """Two services with one target, and one of UDP."""
        return (
            ForwardingRule(self.vip, Protocol.TCP, 80, self.instance, 8080),
            ForwardingRule(self.vip, Protocol.TCP, 8000, self.instance, 8080),
            ForwardingRule(self.vip, Protocol.UDP, 53, self.instance, 5353),
        )

    @property
    def to_web(self) -> Ends:
        """A client's way to the web, before translation."""
        return Ends(self.client, 40000, self.vip, 80)

    @property
    def at_web(self) -> Ends:
        """The same as the instance sees it."""
        return Ends(self.client, 40000, self.instance, 8080)

    @property
    def to_dns(self) -> Ends:
        """A client's way to the DNS server, before translation."""
        return Ends(self.client, 40001, self.vip, 53)

    @property
    def at_dns(self) -> Ends:
        """The same as the instance sees it."""
        return Ends(self.client, 40001, self.instance, 5353)


def _family(*addresses: str) -> Family:
    return Family(*map(ip_address, addresses))


IPV4 = _family("198.51.100.2", "192.0.2.1", "203.0.113.10", "10.128.0.11", "10.128.0.12")
IPV6 = _family("2001:db8:51::2", "2001:db8:2::1", "2001:db8:113::10", "2001:db8:128::11", "2001:db8:128::12")
FAMILIES = {"IPv4": IPV4, "IPv6": IPV6}

# For `pytestmark`
NEEDS = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for BPF"),
    pytest.mark.skipif(not OBJECT.exists(), reason="needs tc_hypervisor.bpf.o: run `make native`"),
]


class Programs:
    """Both programs with the rules of both families, and the changes each run makes to the counters."""

    def __init__(self) -> None:
        self._object = bpf.BpfObject(OBJECT, read_only_data=tunnel_layout.settings(TUNNEL_SOURCES, 1480))
        for family in FAMILIES.values():
            for key, value in layout.rules(family.rules).items():
                self._map("rules", family).set(key, value)
            self._map("instances", family).set(family.instance.packed, tunnel_layout.number(9))

    def close(self) -> None:
        self._object.close()

    def _map(self, name: str, family: Family) -> bpf.BpfMap:
        return self._object.map(layout.map_of(name, family.version))

    def flows(self) -> int:
        """How many flows are known."""
        return sum(len(self._map("flows", family).items()) for family in FAMILIES.values())

    def let_pass(self, family: Family, seconds: float) -> None:
        """As if all flows of the family, none of them over, had been silent for so long; if negative, nobody knows."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) >> _AGE_TICK_LOG2_NS
        flows = self._map("flows", family)
        for key, value in flows.items().items():
            seen = now - (int(seconds * 1e9) >> _AGE_TICK_LOG2_NS) & _AGE_REST if seconds >= 0 else 0
            flows.set(key, value[:-2] + struct.pack("=H", seen))

    def add_instance(self, family: Family, address: IPAddress) -> None:
        """The neighbour is an instance here, with the same rules."""
        for rule in family.rules:
            for key, value in layout.rules([replace(rule, instance=address)]).items():
                self._map("rules", family).set(key, value)
        self._map("instances", family).set(address.packed, tunnel_layout.number(9))

    def counters(self) -> dict[str, int]:
        counters = self._object.map("counters")
        return tunnel_layout.totals(layout.COUNTERS, counters.get_per_cpu)

    def run(self, name: str, data: bytes) -> tuple[int, bytes, set[str]]:
        """The verdict, the frame that is left, and the names of the counters that moved."""
        before = self.counters()
        verdict, left, _ = bpf.test_run(self._object.program(name), data)
        moved = {key for key, value in self.counters().items() if value != before[key]}
        return verdict, left, moved

    def uplink(self, packet: bytes) -> tuple[int, bytes, set[str]]:
        return self.run("hypervisor_uplink", frame(packet))

    def instance(self, packet: bytes) -> tuple[int, bytes, set[str]]:
        return self.run("hypervisor_instance", frame(packet))

    def deliver(self, packet: bytes) -> Packet:
        """What the stack gets of a packet that comes through its family's tunnel to the instance."""
        family = IPV6 if packet[0] >> 4 == 6 else IPV4
        verdict, left, _ = self.uplink(tunnelled(family.instance, packet))
        assert verdict == LET_THROUGH
        return read(left[len(ETHERNET) :])

    def reply(self, packet: bytes) -> Packet:
        """What the stack gets of a packet that the instance sends."""
        verdict, left, _ = self.instance(packet)
        assert verdict == LET_THROUGH
        return read(left[len(ETHERNET) :])
