"""What the XDP program costs a packet: `python -m benchmarks.bench_xdp [file.json]`, as root.

Figures are nanoseconds per packet, the best of several runs on one CPU; the harness and the cheapest program (XDP_PASS)
are subtracted. They are comparable within one run only: compare ratios.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
from dataclasses import asdict, dataclass
from ipaddress import IPv4Address
from pathlib import Path

from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import VirtualService
from bascule.system import bpf
from bascule.system.commands import run
from tests.bpf import packets
from tests.bpf.balancer_bench import CLIENT, V4, V6, VIP, Bench, Family, reason_to_skip
from tests.bpf.packets import ACK, SYN, Ends

PACKETS_A_RUN = 32
RUNS = 1000
REPETITIONS = 40
FLOWS = 1 << 16
XDP_PASS, XDP_TX, XDP_REDIRECT = 2, 3, 4
SOURCE = Path(__file__).with_name("xdp_harness.bpf.c")


@dataclass(frozen=True)
class Case:
    """What is sent, in how many flows, and the verdict that shows that it is what we mean to measure."""

    name: str
    packet: bytes
    flows: int
    verdict: int


@dataclass(frozen=True)
class Figure:
    """Nanoseconds per packet, above XDP_PASS."""

    case: str
    nanoseconds: float


def to(port: int, flags: int = ACK) -> bytes:
    """A TCP packet for a port of the VIP."""
    return packets.tcp(Ends(CLIENT, 1, VIP, port), flags)


CLEAN, DIRTY, TURNS, DNS = 80, 81, 82, 53
CASES = (
    Case("not for a VIP", packets.tcp(Ends(CLIENT, 1, IPv4Address("192.0.2.1"), 80)), FLOWS, XDP_PASS),
    Case("SYN, clean slot", to(CLEAN, SYN), FLOWS, XDP_REDIRECT),
    Case("established, 1 flow, clean slot", to(CLEAN), 1, XDP_REDIRECT),
    Case("established, 64k flows, clean slots", to(CLEAN), FLOWS, XDP_REDIRECT),
    Case("UDP, 64k flows, clean slots", packets.udp(Ends(CLIENT, 1, VIP, DNS), payload=bytes(18)), FLOWS, XDP_REDIRECT),
    Case("SYN, dirty slots", to(DIRTY, SYN), FLOWS, XDP_REDIRECT),
    Case("established, 1 flow, dirty slot", to(DIRTY), 1, XDP_REDIRECT),
    Case("established, 64k flows, dirty slots", to(DIRTY), FLOWS, XDP_REDIRECT),
    Case("round robin, established, 64k flows", to(TURNS), FLOWS, XDP_REDIRECT),
    Case("IPv6, not for a VIP", packets.tcp(V6.to_vip().reversed()), FLOWS, XDP_PASS),
    Case("IPv6, SYN, clean slot", V6.tcp(CLEAN, flags=SYN), FLOWS, XDP_REDIRECT),
    Case("IPv6, established, 1 flow, clean slot", V6.tcp(CLEAN), 1, XDP_REDIRECT),
    Case("IPv6, established, 64k flows, clean slots", V6.tcp(CLEAN), FLOWS, XDP_REDIRECT),
    Case("IPv6, established, 64k flows, dirty slots", V6.tcp(DIRTY), FLOWS, XDP_REDIRECT),
)


def services(family: Family, *, moved: bool) -> tuple[VirtualService, ...]:
    """Ten backends each; of the dirty one all slots have moved from the first ten to the next ten."""
    ten = [family.backend(last) for last in range(1, 11)]
    drained = [family.backend(last, 0) for last in range(1, 11)] + [family.backend(last) for last in range(11, 21)]
    return (
        family.service(*ten, port=CLEAN),
        family.service(*(drained if moved else ten), port=DIRTY),
        family.service(*ten, port=TURNS, strategy=Strategy.ROUND_ROBIN),
        family.service(*ten, port=DNS, protocol=Protocol.UDP),
    )


def measure(harness: bpf.BpfObject, target: int, case: Case) -> float:
    """Nanoseconds per packet, harness included."""
    harness.map("target").set(bytes(4), target.to_bytes(4, "little"))
    harness.map("plans").set(bytes(4), struct.pack("<III", case.flows - 1, 0, case.packet[0] >> 4 == 6))
    frame = packets.frame(case.packet).ljust(60, b"\0")

    def once() -> float:
        verdict, _, nanoseconds = bpf.test_run(harness.program("harness"), frame, repeat=RUNS)
        assert verdict in (case.verdict, XDP_PASS, XDP_TX), f"{case.name}: verdict {verdict}"
        return nanoseconds / PACKETS_A_RUN

    once()
    return min(once() for _ in range(REPETITIONS))


def measure_all(directory: Path) -> list[Figure]:
    """Every case, each against a baseline taken just before it."""
    compiled = directory / "harness.o"
    headers = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    run(["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", headers, "-c", str(SOURCE), "-o", str(compiled)])
    with Bench(directory) as bench:
        driver = bench.driver(flow_buckets=131072)
        for moved in (False, True):
            bench.enforce(driver, *services(V4, moved=moved), *services(V6, moved=moved))
        harness = bpf.BpfObject(compiled)

        def work() -> list[Figure]:
            figures = []
            for case in CASES:
                baseline = measure(harness, harness.program("pass"), case)
                figures.append(Figure(case.name, measure(harness, driver.program(), case) - baseline))
            room = measure(harness, harness.program("make_room"), CASES[0])
            figures.append(Figure("(of which making room for the outer header)", room - baseline))
            return figures

        try:
            return bench.inside(work)
        finally:
            harness.close()


def main() -> None:
    """Print the table; with an argument, write JSON there."""
    if reason := reason_to_skip():
        sys.exit(f"bench_xdp {reason}")
    with tempfile.TemporaryDirectory() as directory:
        figures = measure_all(Path(directory))
    print(f"{'XDP balancer, above XDP_PASS':46}  ns per packet")
    for figure in figures:
        print(f"{figure.case:46}  {figure.nanoseconds:13.0f}")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps([asdict(figure) for figure in figures], indent=2))


if __name__ == "__main__":
    main()
