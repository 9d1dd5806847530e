"""What the hypervisor's tc programs cost a packet: `python -m benchmarks.bench_hypervisor [file.json]`, as root.

Figures are nanoseconds per packet, the best of several runs on one CPU; the harness and a program that does nothing are
subtracted. Putting an outer header back is the harness's work, but cannot be told from the rest: it is given beside.
Figures are comparable within one run only: compare ratios.
"""

from __future__ import annotations

import json
import os
import struct
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from bascule import native
from bascule.forwarding import tunnel_layout
from bascule.forwarding.ebpf import layout
from bascule.system import bpf
from bascule.system.commands import run
from tests.bpf import packets
from tests.bpf.hypervisor_network import reason_to_skip
from tests.bpf.hypervisor_programs import FAMILIES, TUNNEL_SOURCES, Family

PACKETS_A_RUN = 32
RUNS = 1000
REPETITIONS = 40
FLOWS = 1 << 14
LONGEST = 192
LET_THROUGH = 0xFFFFFFFF
SOURCE = Path(__file__).with_name("tc_harness.bpf.c")
OBJECT = native.DIRECTORY / "tc_hypervisor.bpf.o"


@dataclass(frozen=True)
class Case:
    """What is sent to which program, in how many flows; `port_offset` is that of the client's port in the frame."""

    name: str
    program: str
    packet: bytes
    port_offset: int
    flows: int = 1


@dataclass(frozen=True)
class Figure:
    """Nanoseconds per packet, above a program that does nothing."""

    case: str
    nanoseconds: float


def cases(name: str, family: Family) -> Iterator[Case]:
    """The same for each family."""
    port, outer = 14 + family.header, family.header
    request, reply = packets.tcp(family.to_web), packets.tcp(family.at_web.reversed())
    through = packets.tunnelled(family.instance, request)
    direct = packets.tcp(packets.Ends(family.client, 1, family.instance, 22))
    other = packets.tcp(packets.Ends(family.client, 1, family.router, 80))
    yield Case(f"{name}: not for an instance", "hypervisor_uplink", other, port)
    yield Case(f"{name}: directly to an instance", "hypervisor_uplink", direct, port)
    yield Case(f"{name}: through the tunnel, 1 flow", "hypervisor_uplink", through, port + outer)
    yield Case(f"{name}: through the tunnel, 16k flows", "hypervisor_uplink", through, port + outer, FLOWS)
    yield Case(f"{name}: reply, 1 flow", "hypervisor_instance", reply, port + 2)
    yield Case(f"{name}: reply, 16k flows", "hypervisor_instance", reply, port + 2, FLOWS)
    yield Case(f"{name}: not a reply", "hypervisor_instance", direct, port)


def measure(harness: bpf.BpfObject, program: int, case: Case, header: int) -> float:
    """Nanoseconds per packet, harness included. `header` is the length of the family's IP header, in bytes."""
    frame = packets.frame(case.packet)
    plan = struct.pack("=IIIII", len(frame), case.port_offset, case.flows - 1, 1, header) + frame.ljust(LONGEST, b"\0")
    harness.map("target").set(bytes(4), program.to_bytes(4, "little"))
    harness.map("plans").set(bytes(4), plan)

    def once() -> float:
        verdict, _, nanoseconds = bpf.test_run(harness.program("harness"), frame, repeat=RUNS)
        assert verdict == LET_THROUGH, f"{case.name}: verdict {verdict}"
        return nanoseconds / PACKETS_A_RUN

    once()
    return min(once() for _ in range(REPETITIONS))


def load(path: Path, settings: bytes) -> bpf.BpfObject:
    """The programs with the rules of both families, as far as they know them."""
    loaded = bpf.BpfObject(path, read_only_data=settings)
    for family in FAMILIES.values():
        for key, value in layout.rules(family.rules).items():
            loaded.map(layout.map_of("rules", family.version)).set(key, value)
        registered = loaded.map(layout.map_of("instances", family.version))
        registered.set(family.instance.packed, tunnel_layout.number(9))
    return loaded


def compile_harness(directory: Path) -> bpf.BpfObject:
    """Compile and load what calls the programs."""
    compiled = directory / "harness.o"
    headers = f"-I/usr/include/{os.uname().machine}-linux-gnu"
    run(["clang", "-O2", "-g", "-target", "bpf", "-mcpu=v3", headers, "-c", str(SOURCE), "-o", str(compiled)])
    return bpf.BpfObject(compiled)


def measure_all(harness: bpf.BpfObject, programs: bpf.BpfObject) -> Iterator[Figure]:
    """Every case, each against a baseline taken just before it."""
    for name, family in FAMILIES.items():
        for case in cases(name, family):
            baseline = measure(harness, harness.program("pass"), case, family.header)
            cost = measure(harness, programs.program(case.program), case, family.header) - baseline
            yield Figure(case.name, cost)
            if "tunnel" in case.name and case.flows == 1:
                room = measure(harness, harness.program("take_off"), case, family.header) - baseline
                yield Figure("  (of which the outer header, off and on again)", room)


def main() -> None:
    """Print the table; with an argument, write JSON there."""
    if reason := reason_to_skip():
        sys.exit(f"bench_hypervisor {reason}")
    with tempfile.TemporaryDirectory() as directory:
        harness = compile_harness(Path(directory))
    programs = load(OBJECT, tunnel_layout.settings(TUNNEL_SOURCES, 1480))
    print(f"{'hypervisor, above a program that does nothing':50}  ns per packet")
    figures = []
    for figure in measure_all(harness, programs):
        figures.append(figure)
        print(f"{figure.case:50}  {figure.nanoseconds:13.0f}")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps([asdict(figure) for figure in figures], indent=2))


if __name__ == "__main__":
    main()
