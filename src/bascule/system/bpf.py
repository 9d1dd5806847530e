"""Load BPF objects, reach their maps, attach their programs: over Debian's libbpf.so.1 (package libbpf1).

Covers what we need and no more: open, resize and pin maps, set read-only data, load, attach XDP and tc, look up and
update elements, map an array into memory, and run a program on a packet (BPF_PROG_TEST_RUN). Attaching works in the
calling thread's network namespace.
"""

from __future__ import annotations

import ctypes as c
import errno
import mmap
import os
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from bascule.model.errors import SystemFailure
from bascule.system.libbpf import RunOpts, TcHook, TcOpts, call, check

XDP_FLAGS_SKB_MODE = 2
XDP_FLAGS_DRV_MODE = 4
_TC_INGRESS, _TC_EGRESS = 1, 2
_PAGE = mmap.PAGESIZE


def possible_cpus() -> int:
    """How many values a per-CPU map returns for a key."""
    return int(call("libbpf_num_possible_cpus"))


@dataclass(frozen=True, slots=True)
class BpfMap:
    """A loaded map. Keys and values are bytes, laid out as the C structs are."""

    name: str
    fd: int
    key_size: int
    value_size: int
    max_entries: int

    def get(self, key: bytes) -> bytes | None:
        """Return the value, or None when the key is absent."""
        value = c.create_string_buffer(self.value_size)
        return None if call("bpf_map_lookup_elem", self.fd, key, value) else value.raw

    def get_per_cpu(self, key: bytes) -> list[bytes]:
        """Return the value of every possible CPU."""
        stride = (self.value_size + 7) & ~7
        values = c.create_string_buffer(stride * possible_cpus())
        check(call("bpf_map_lookup_elem", self.fd, key, values), f"look up in map {self.name}")
        return [values.raw[i * stride : i * stride + self.value_size] for i in range(possible_cpus())]

    def set(self, key: bytes, value: bytes) -> None:
        """Insert or replace. On an array map a reader sees the old or the new word of each aligned 8 bytes."""
        if len(key) != self.key_size or len(value) != self.value_size:
            raise ValueError(
                f"map {self.name} takes {self.key_size}/{self.value_size} bytes, not {len(key)}/{len(value)}"
            )
        check(call("bpf_map_update_elem", self.fd, key, value, 0), f"update map {self.name}")

    def set_per_cpu(self, key: bytes, value: bytes) -> None:
        """Write the same value for every CPU."""
        padded = value.ljust((self.value_size + 7) & ~7, b"\0") * possible_cpus()
        check(call("bpf_map_update_elem", self.fd, key, padded, 0), f"update map {self.name}")

    def delete(self, key: bytes) -> bool:
        """Delete; False when the key was absent."""
        return not call("bpf_map_delete_elem", self.fd, key)

    def keys(self) -> Iterator[bytes]:
        """All keys (a snapshot is not taken: keys inserted meanwhile may or may not come)."""
        key, following = None, c.create_string_buffer(self.key_size)
        while not call("bpf_map_get_next_key", self.fd, key, following):
            key = following.raw
            yield key

    def items(self) -> dict[bytes, bytes]:
        """All elements of a map that has one value per key (not per CPU)."""
        values = ((key, self.get(key)) for key in list(self.keys()))
        return {key: value for key, value in values if value is not None}

    def memory(self) -> mmap.mmap:
        """Map an array created with BPF_F_MMAPABLE into memory, writable."""
        stride = (self.value_size + 7) & ~7
        size = (stride * self.max_entries + _PAGE - 1) // _PAGE * _PAGE
        return mmap.mmap(self.fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


class BpfObject:
    """A loaded object file. Maps that are pinned already (by an earlier process) are taken over, with their content."""

    def __init__(
        self,
        path: Path,
        *,
        read_only_data: bytes | None = None,
        max_entries: Mapping[str, int] | None = None,
        pin_maps_under: Path | None = None,
        pinned: Set[str] | None = None,
    ) -> None:
        """Open and load. `pin_maps_under` must be on a bpf file system; names starting with a dot are not pinned.

        Only the maps named in `pinned` are, if it is given.

        Raises SystemFailure when the file, the verifier, or a pinned map of another shape refuses.
        """
        self._object = call("bpf_object__open_file", os.fsencode(path), None)
        if not self._object:
            raise SystemFailure(f"Cannot open {path}: {os.strerror(c.get_errno())}. Build it with `make native`.")
        try:
            for name, count in (max_entries or {}).items():
                handle = call("bpf_object__find_map_by_name", self._object, name.encode())
                check(call("bpf_map__set_max_entries", handle, count), f"resize map {name}")
            for handle, name in list(self._maps()):
                wanted = "." not in name and (pinned is None or name in pinned)
                if wanted and pin_maps_under is not None:
                    pin = os.fsencode(pin_maps_under / name)
                    check(call("bpf_map__set_pin_path", handle, pin), f"pin map {name}")
                if name.endswith(".rodata") and read_only_data is not None:
                    done = call("bpf_map__set_initial_value", handle, read_only_data, len(read_only_data))
                    check(done, f"set the read-only data of {path.name}")
            check(call("bpf_object__load", self._object), f"load {path.name} (kernel {os.uname().release})")
        except SystemFailure:
            self.close()
            raise

    def _maps(self) -> Iterator[tuple[int, str]]:
        handle = call("bpf_object__next_map", self._object, None)
        while handle:
            yield handle, call("bpf_map__name", handle).decode()
            handle = call("bpf_object__next_map", self._object, handle)

    def program(self, name: str) -> int:
        """The file descriptor of a program."""
        return check(
            call("bpf_program__fd", call("bpf_object__find_program_by_name", self._object, name.encode())),
            name,
        )

    def map(self, name: str) -> BpfMap:
        """A map by its name in C."""
        handle = call("bpf_object__find_map_by_name", self._object, name.encode())
        if not handle:
            raise SystemFailure(f"The object has no map {name}: rebuild it with `make native`.")
        return BpfMap(
            name,
            call("bpf_map__fd", handle),
            call("bpf_map__key_size", handle),
            call("bpf_map__value_size", handle),
            call("bpf_map__max_entries", handle),
        )

    def close(self) -> None:
        """Close every handle. Attached programs and pinned maps live on."""
        if self._object:
            call("bpf_object__close", self._object)
            self._object = None


def attach_xdp(ifindex: int, program: int, flags: int) -> None:
    """Attach to an interface, replacing whatever program of the same mode is there, atomically."""
    check(call("bpf_xdp_attach", ifindex, program, flags, None), f"attach XDP to interface {ifindex}")


def detach_xdp(ifindex: int, flags: int) -> None:
    """Detach whatever program of that mode is attached."""
    check(call("bpf_xdp_detach", ifindex, flags, None), f"detach XDP from interface {ifindex}")


def attached_xdp(ifindex: int, flags: int) -> int:
    """The id of the attached program of that mode, 0 for none."""
    found = c.c_uint32()
    check(call("bpf_xdp_query_id", ifindex, flags, c.byref(found)), f"query XDP of interface {ifindex}")
    return found.value


def _tc(ifindex: int, egress: bool) -> TcHook:
    return TcHook(c.sizeof(TcHook), ifindex, _TC_EGRESS if egress else _TC_INGRESS, 0)


def attach_tc(ifindex: int, program: int, *, egress: bool = False, priority: int = 1) -> None:
    """Attach a classifier (direct action) to an interface, replacing ours at the same priority, atomically."""
    hook = _tc(ifindex, egress)
    created = call("bpf_tc_hook_create", c.byref(hook))
    if created and created != -errno.EEXIST:
        check(created, f"create clsact on interface {ifindex}")
    replace = 1  # BPF_TC_F_REPLACE
    options = TcOpts(c.sizeof(TcOpts), program, replace, 0, 1, priority)
    check(call("bpf_tc_attach", c.byref(hook), c.byref(options)), f"attach tc to interface {ifindex}")


def attached_tc(ifindex: int, *, egress: bool = False, priority: int = 1) -> int:
    """The id of our classifier on that interface, 0 for none."""
    hook, options = _tc(ifindex, egress), TcOpts(c.sizeof(TcOpts), 0, 0, 0, 1, priority)
    found = call("bpf_tc_query", c.byref(hook), c.byref(options))
    return int(options.prog_id) if not found else 0


def detach_tc(ifindex: int, *, egress: bool = False, priority: int = 1) -> None:
    """Detach our classifier."""
    hook, options = _tc(ifindex, egress), TcOpts(c.sizeof(TcOpts), 0, 0, 0, 1, priority)
    check(call("bpf_tc_detach", c.byref(hook), c.byref(options)), f"detach tc from interface {ifindex}")


def test_run(program: int, packet: bytes, *, repeat: int = 1) -> tuple[int, bytes, int]:  # noqa: PT028  no test
    """Run a program on a packet: its verdict, the packet it leaves behind, and nanoseconds per run."""
    given, left = c.create_string_buffer(packet, len(packet)), c.create_string_buffer(len(packet) + 4096)
    options = RunOpts(
        sz=c.sizeof(RunOpts),
        data_in=c.cast(given, c.c_void_p),
        data_out=c.cast(left, c.c_void_p),
        data_size_in=len(packet),
        data_size_out=len(left),
        repeat=repeat,
    )
    check(call("bpf_prog_test_run_opts", program, c.byref(options)), "run a program on a packet")
    return int(options.retval), left.raw[: options.data_size_out], int(options.duration)


def program_id(program: int) -> int:
    """The kernel's id of a loaded program, to compare with `attached_tc` and `attached_xdp`; takes its descriptor."""
    for line in Path(f"/proc/self/fdinfo/{program}").read_text().splitlines():
        if line.startswith("prog_id:"):
            return int(line.split()[1])
    raise SystemFailure(f"File descriptor {program} is no BPF program: this is a defect, report it.")
