"""The tc program that takes packets out of tunnels on the uplinks, and marks them with their instance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from ipaddress import IPv4Address
from pathlib import Path

from pyroute2 import IPRoute

from bascule.forwarding.ebpf import interfaces, layout
from bascule.forwarding.netfilter.render import mark
from bascule.model.errors import SystemFailure
from bascule.system import bpf

# In the order of `enum counter` of bpf/decapsulate_maps.h
COUNTERS = ("decapsulated", "dropped_malformed", "dropped_fragment", "passed_foreign_tunnel", "passed_other")
_PROGRAM = "hypervisor_decapsulate"
# The same as that of the forwarding `ebpf`: whoever changes from one to the other replaces its program without a gap.
_PRIORITY = 11
# The names under which both forwardings attach, cut off by the kernel.
_OUR_NAMES = "hypervisor_"
_CLSACT_INGRESS = 0xFFFFFFF2


class Uplinks:
    """The loaded program with its map. Attached, it goes on when this process ends."""

    def __init__(self, names: Sequence[str], settings: bytes, object_path: Path) -> None:
        """Load. Raises SystemFailure when an interface is missing or the kernel refuses."""
        self._names = tuple(names)
        for name in names:
            interfaces.index_of(name)
        self._object = bpf.BpfObject(object_path, read_only_data=settings)
        self._cleaned = False

    def indexes(self) -> frozenset[int]:
        """The interfaces' indexes now. Raises SystemFailure when one is missing."""
        return frozenset(interfaces.index_of(name) for name in self._names)

    def forget_all_but(self, instances: Set[IPv4Address]) -> None:
        """Leave the tunnels of all other instances alone from now on."""
        kernel = self._object.map("instances")
        wanted = {instance.packed for instance in instances}
        for key in [key for key in kernel.keys() if key not in wanted]:  # noqa: SIM118  not a dict
            kernel.delete(key)

    def learn(self, instances: Set[IPv4Address]) -> None:
        """Take packets out of these instances' tunnels."""
        kernel = self._object.map("instances")
        known = kernel.items()
        for instance in instances:
            value = layout.number(mark(instance))
            if known.get(instance.packed) != value:
                kernel.set(instance.packed, value)

    def attach(self) -> tuple[str, ...]:
        """Attach where the program is missing; once, take away what earlier processes left on other interfaces."""
        repairs = []
        for index in sorted(self.indexes()):
            if not self._is_attached(index):
                bpf.attach_tc(index, self._object.program(_PROGRAM), priority=_PRIORITY)
                repairs.append(f"Attached {_PROGRAM} to {interfaces.name_of(index)}.")
        if not self._cleaned:
            repairs += self._detach_elsewhere()
            self._cleaned = True
        return tuple(repairs)

    def are_attached(self) -> bool:
        """Whether every uplink has this very program."""
        try:
            return all(self._is_attached(index) for index in self.indexes())
        except SystemFailure:
            return False  # an uplink is gone; `attach` says so

    def counters(self) -> dict[str, int]:
        """Packets by their fate, since this process loaded the program."""
        kernel = self._object.map("counters")
        return {name: layout.total(kernel.get_per_cpu(layout.number(index))) for index, name in enumerate(COUNTERS)}

    def close(self) -> None:
        """Close every handle; the attached program stays."""
        self._object.close()

    def _is_attached(self, index: int) -> bool:
        return bpf.attached_tc(index, priority=_PRIORITY) == bpf.program_id(self._object.program(_PROGRAM))

    def _detach_elsewhere(self) -> Iterator[str]:
        uplinks = self.indexes()
        with IPRoute() as netlink:
            others = {link["index"] for link in netlink.get_links()} - uplinks
            left = [index for index in sorted(others) if _has_ours(netlink, index)]
        for index in left:
            bpf.detach_tc(index, priority=_PRIORITY)
            yield f"Detached what an earlier process left on {interfaces.name_of(index)}."


def _has_ours(netlink: IPRoute, index: int) -> bool:
    for message in netlink.get_filters(index=index, parent=_CLSACT_INGRESS):
        options = message.get_attr("TCA_OPTIONS")
        name = options.get_attr("TCA_BPF_NAME") if options else None
        if name and name.startswith(_OUR_NAMES) and message["info"] >> 16 == _PRIORITY:
            return True
    return False
