"""Load the hypervisor's programs and run them on packets (BPF_PROG_TEST_RUN)."""

from __future__ import annotations

import os
from ipaddress import IPv4Address, IPv4Network

import pytest

from bascule import native
from bascule.forwarding import tunnel_layout
from bascule.forwarding.ebpf import layout
from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol
from bascule.system import bpf
from tests.bpf.hypervisor_packets import ETHERNET, Ends, Packet, frame, read, tunnelled

OBJECT = native.DIRECTORY / "tc_hypervisor.bpf.o"
DROPPED, LET_THROUGH = 2, 0xFFFFFFFF  # TC_ACT_SHOT, TC_ACT_UNSPEC
CLIENT, ROUTER = IPv4Address("198.51.100.2"), IPv4Address("192.0.2.1")
VIP = IPv4Address("203.0.113.10")
INSTANCE, NEIGHBOUR = IPv4Address("10.128.0.11"), IPv4Address("10.128.0.12")
WEB = ForwardingRule(VIP, Protocol.TCP, 80, INSTANCE, 8080)
WEB_TOO = ForwardingRule(VIP, Protocol.TCP, 8000, INSTANCE, 8080)
DNS = ForwardingRule(VIP, Protocol.UDP, 53, INSTANCE, 5353)
TO_WEB, AT_WEB = Ends(CLIENT, 40000, VIP, 80), Ends(CLIENT, 40000, INSTANCE, 8080)
TO_DNS, AT_DNS = Ends(CLIENT, 40001, VIP, 53), Ends(CLIENT, 40001, INSTANCE, 5353)

# For `pytestmark`
NEEDS = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for BPF"),
    pytest.mark.skipif(not OBJECT.exists(), reason="needs tc_hypervisor.bpf.o: run `make native`"),
]


class Programs:
    """Both programs with the rules above, and the changes each run makes to the counters."""

    def __init__(self) -> None:
        settings = tunnel_layout.settings([IPv4Network("10.98.0.0/24"), IPv4Network("10.99.0.0/16")], 1480)
        self._object = bpf.BpfObject(OBJECT, read_only_data=settings)
        for key, value in layout.rules([WEB, WEB_TOO, DNS]).items():
            self._object.map("rules").set(key, value)
        self._object.map("instances").set(INSTANCE.packed, tunnel_layout.number(9))

    def close(self) -> None:
        self._object.close()

    def flows(self) -> int:
        """How many flows are known."""
        return len(self._object.map("flows").items())

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
        """What the stack gets of a packet that comes through the tunnel."""
        verdict, left, _ = self.uplink(tunnelled(INSTANCE, packet))
        assert verdict == LET_THROUGH
        return read(left[len(ETHERNET) :])

    def reply(self, packet: bytes) -> Packet:
        """What the stack gets of a packet that the instance sends."""
        verdict, left, _ = self.instance(packet)
        assert verdict == LET_THROUGH
        return read(left[len(ETHERNET) :])
