"""Which way packets of either family pass the router: counted there by small tc programs, as all of them cross it.

`replies_from_lb_nodes` counts packets that come from an LB node and carry a VIP as their source. Replies are the only
packets that carry it, so with direct replies that count stays 0.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path

from bascule import native
from bascule.lab.network import namespace
from bascule.lab.state import Lab
from bascule.lab.topology import VIPS, Role
from bascule.system.bpf import BpfObject, attach_tc, attached_tc, detach_tc
from bascule.system.bpffs import ensure_bpffs
from bascule.system.namespaces import call_in

_BLOCK = 2  # after the counters
_OBJECT = native.DIRECTORY / "lab_passage.bpf.o"
_PROGRAMS = {Role.CLIENT: "from_client", Role.LB_NODE: "from_lb_node", Role.HYPERVISOR: "from_hypervisor"}
# In the order of `enum counter` of bpf/lab_passage.bpf.c
_COUNTERS = (
    "requests_to_lb_nodes",
    "tunnelled_from_lb_nodes",
    "replies_from_lb_nodes",
    "replies_from_hypervisors",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """Packets and bytes that passed the router since it was built."""

    requests_to_lb_nodes: tuple[int, int] = (0, 0)
    tunnelled_from_lb_nodes: tuple[int, int] = (0, 0)
    replies_from_lb_nodes: tuple[int, int] = (0, 0)
    replies_from_hypervisors: tuple[int, int] = (0, 0)

    def since(self, before: Passage) -> Passage:
        """What passed since then."""
        return Passage(
            requests_to_lb_nodes=_less(self.requests_to_lb_nodes, before.requests_to_lb_nodes),
            tunnelled_from_lb_nodes=_less(self.tunnelled_from_lb_nodes, before.tunnelled_from_lb_nodes),
            replies_from_lb_nodes=_less(self.replies_from_lb_nodes, before.replies_from_lb_nodes),
            replies_from_hypervisors=_less(self.replies_from_hypervisors, before.replies_from_hypervisors),
        )

    @property
    def direct(self) -> bool:
        """Whether every reply came straight from a hypervisor, and there was at least one."""
        return self.replies_from_hypervisors[0] > 0 and self.replies_from_lb_nodes[0] == 0


def start_counting(lab: Lab) -> None:
    """Put the counters in place. Raises SystemFailure when the kernel refuses the programs."""
    pins = _pins(lab)
    ensure_bpffs(pins)
    programs = BpfObject(_OBJECT, read_only_data=_vips(), pin_maps_under=pins)
    try:
        call_in(namespace(lab.name, "router"), partial(_attach, lab, programs))
    finally:
        programs.close()


def read(lab: Lab) -> Passage:
    """Read the counters."""
    programs = BpfObject(_OBJECT, pin_maps_under=_pins(lab))
    try:
        kernel = programs.map("passage")
        amounts = [total(kernel.get_per_cpu(struct.pack("=I", index))) for index in range(len(_COUNTERS))]
    finally:
        programs.close()
    return Passage(**dict(zip(_COUNTERS, amounts, strict=True)))


def block(lab: Lab, node: str) -> None:
    """Let nothing pass between the router and a node any more, while its link stays up."""
    programs = BpfObject(_OBJECT, read_only_data=_vips(), pin_maps_under=_pins(lab))

    def attach() -> None:
        for egress in (False, True):
            attach_tc(socket.if_nametoindex(node), programs.program("nothing_passes"), egress=egress, priority=_BLOCK)

    try:
        call_in(namespace(lab.name, "router"), attach)
    finally:
        programs.close()


def unblock(lab: Lab, node: str) -> None:
    """Let packets pass again; fine when they do."""

    def detach() -> None:
        index = socket.if_nametoindex(node)
        for egress in (False, True):
            if attached_tc(index, egress=egress, priority=_BLOCK):
                detach_tc(index, egress=egress, priority=_BLOCK)

    call_in(namespace(lab.name, "router"), detach)


def total(values: Sequence[bytes]) -> tuple[int, int]:
    """Packets and bytes over all CPUs, each with its own `struct amount`."""
    packets, lengths = zip(*(struct.unpack("=QQ", value) for value in values), strict=True)
    return sum(packets), sum(lengths)


def _vips() -> bytes:
    """As `struct` vips of bpf/lab_passage.bpf.c: network and mask of each family."""
    parts = ((VIPS[family].network_address, VIPS[family].netmask) for family in (4, 6))
    return b"".join(address.packed for address in chain.from_iterable(parts))


def _pins(lab: Lab) -> Path:
    return lab.folder("router") / "bpf"


def _attach(lab: Lab, programs: BpfObject) -> None:
    """The router's interfaces are named after what is plugged into them."""
    for role, name in _PROGRAMS.items():
        for host in lab.topology.of_role(role):
            attach_tc(socket.if_nametoindex(host.name), programs.program(name))


def _less(now: tuple[int, int], before: tuple[int, int]) -> tuple[int, int]:
    return now[0] - before[0], now[1] - before[1]
