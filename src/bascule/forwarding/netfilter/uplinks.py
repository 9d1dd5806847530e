"""The tc programs on the uplinks: one takes packets out of tunnels and marks them, one stops what nobody translated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from pathlib import Path

from pyroute2 import IPRoute

from bascule.forwarding import interfaces, tunnel_layout
from bascule.forwarding.netfilter.render import mark
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.system import bpf
from bascule.system.bpffs import ensure_bpffs

# Raise the number whenever the meaning of the bytes of `clients` changes.
_PINS = "decapsulate-v1"
# The hooks of clsact (linux/pkt_sched.h)
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
# In the order of `enum counter` of bpf/decapsulate_maps.h
COUNTERS = (
    "decapsulated",
    "second_chance_kept",
    "second_chance_passed",
    "dropped_malformed",
    "dropped_fragment",
    "dropped_untranslated",
    "passed_foreign_tunnel",
    "passed_other",
)
# The map of each family's instances
_INSTANCES = {4: "instances", 6: "instances6"}
# By direction, in the order in which they must be attached: the guard before there is anything to guard.
_PROGRAMS = {_EGRESS: "hypervisor_guard", _INGRESS: "hypervisor_decapsulate"}
# The same as that of the forwarding `ebpf`: whoever changes from one to the other replaces its program without a gap.
_PRIORITY = 11
# The names under which both forwardings attach, cut off by the kernel.
_OUR_NAMES = "hypervisor_"


class Uplinks:
    """The loaded programs with their map. Attached, they go on when this process ends."""

    def __init__(self, names: Sequence[str], settings: bytes, object_path: Path, bpf_dir: Path) -> None:
        """Load; flows that an earlier process knew are found under `bpf_dir`.

        Raises SystemFailure when an interface is missing or the kernel refuses.
        """
        self._names = tuple(names)
        for name in names:
            interfaces.index_of(name)
        ensure_bpffs(bpf_dir)
        pins = bpf_dir / _PINS
        pins.mkdir(exist_ok=True)
        self._object = bpf.BpfObject(object_path, read_only_data=settings, pin_maps_under=pins, pinned={"clients"})
        self._cleaned = False

    def indexes(self) -> frozenset[int]:
        """The interfaces' indexes now. Raises SystemFailure when one is missing."""
        return frozenset(interfaces.index_of(name) for name in self._names)

    def forget_all_but(self, instances: Set[IPAddress]) -> None:
        """Leave the tunnels of all other instances alone from now on."""
        for version, name in _INSTANCES.items():
            _delete_all_but(self._object.map(name), {each.packed for each in instances if each.version == version})
        _delete_all_but(self._object.map("marks"), {tunnel_layout.number(mark(each)) for each in instances})

    def learn(self, instances: Set[IPAddress]) -> None:
        """Take packets out of these instances' tunnels, once the guard knows their marks."""
        for instance in instances:
            _set(self._object.map("marks"), tunnel_layout.number(mark(instance)), tunnel_layout.number(1))
        for instance in instances:
            kernel = self._object.map(_INSTANCES[instance.version])
            _set(kernel, instance.packed, tunnel_layout.number(mark(instance)))

    def attach(self) -> tuple[str, ...]:
        """Attach where a program is missing; once, take away what earlier processes left on other interfaces."""
        repairs = []
        for index in sorted(self.indexes()):
            for hook, name in _PROGRAMS.items():
                if not self._is_attached(index, hook):
                    program = self._object.program(name)
                    bpf.attach_tc(index, program, egress=hook == _EGRESS, priority=_PRIORITY)
                    repairs.append(f"Attached {name} to {interfaces.name_of(index)}.")
        if not self._cleaned:
            repairs += self._detach_elsewhere()
            self._cleaned = True
        return tuple(repairs)

    def are_attached(self) -> bool:
        """Whether every uplink has these very programs."""
        try:
            return all(self._is_attached(index, hook) for index in self.indexes() for hook in _PROGRAMS)
        except SystemFailure:
            return False  # an uplink is gone; `attach` says so

    def counters(self) -> dict[str, int]:
        """Packets by their fate, since this process loaded the program."""
        kernel = self._object.map("counters")
        return tunnel_layout.totals(COUNTERS, kernel.get_per_cpu)

    def close(self) -> None:
        """Close every handle; the attached programs stay."""
        self._object.close()

    def _is_attached(self, index: int, hook: int) -> bool:
        wanted = bpf.program_id(self._object.program(_PROGRAMS[hook]))
        return bpf.attached_tc(index, egress=hook == _EGRESS, priority=_PRIORITY) == wanted

    def _detach_elsewhere(self) -> Iterator[str]:
        uplinks = self.indexes()
        with IPRoute() as netlink:
            others = {link["index"] for link in netlink.get_links()} - uplinks
            left = [(index, hook) for index in sorted(others) for hook in _PROGRAMS if _has_ours(netlink, index, hook)]
        for index, hook in left:
            bpf.detach_tc(index, egress=hook == _EGRESS, priority=_PRIORITY)
            yield f"Detached what an earlier process left on {interfaces.name_of(index)}."


def _delete_all_but(kernel: bpf.BpfMap, wanted: Set[bytes]) -> None:
    for key in set(kernel.keys()) - wanted:
        kernel.delete(key)


def _set(kernel: bpf.BpfMap, key: bytes, value: bytes) -> None:
    if kernel.get(key) != value:
        kernel.set(key, value)


def _has_ours(netlink: IPRoute, index: int, hook: int) -> bool:
    for message in netlink.get_filters(index=index, parent=hook):
        options = message.get_attr("TCA_OPTIONS")
        name = options.get_attr("TCA_BPF_NAME") if options else None
        if name and name.startswith(_OUR_NAMES) and message["info"] >> 16 == _PRIORITY:
            return True
    return False
