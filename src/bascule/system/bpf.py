"""Load BPF objects and reach their maps: ctypes over Debian's libbpf.so.1 (package libbpf1).

Covers what we need and no more: open, resize and pin maps, set read-only data, load, attach XDP and tc, look up and
update elements, map an array into memory, and run a program on a packet (BPF_PROG_TEST_RUN). Attaching works in the
calling thread's network namespace.
"""

from __future__ import annotations

import ctypes as c
import errno
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bascule.model.errors import SystemFailure

XDP_FLAGS_SKB_MODE = 2
XDP_FLAGS_DRV_MODE = 4
_TC_INGRESS, _TC_EGRESS = 1, 2
_PAGE = mmap.PAGESIZE


class _TcHook(c.Structure):
    _fields_ = (
        ("sz", c.c_size_t),
        ("ifindex", c.c_int),
        ("attach_point", c.c_int),
        ("parent", c.c_uint32),
        ("padding", c.c_uint32),
    )


class _TcOpts(c.Structure):
    _fields_ = (
        ("sz", c.c_size_t),
        ("prog_fd", c.c_int),
        ("flags", c.c_uint32),
        ("prog_id", c.c_uint32),
        ("handle", c.c_uint32),
        ("priority", c.c_uint32),
        ("padding", c.c_uint32),
    )


class _RunOpts(c.Structure):
    _fields_ = (
        ("sz", c.c_size_t),
        ("data_in", c.c_void_p),
        ("data_out", c.c_void_p),
        ("data_size_in", c.c_uint32),
        ("data_size_out", c.c_uint32),
        ("ctx_in", c.c_void_p),
        ("ctx_out", c.c_void_p),
        ("ctx_size_in", c.c_uint32),
        ("ctx_size_out", c.c_uint32),
        ("retval", c.c_uint32),
        ("repeat", c.c_int),
        ("duration", c.c_uint32),
        ("flags", c.c_uint32),
        ("cpu", c.c_uint32),
        ("batch_size", c.c_uint32),
    )


_POINTER, _TEXT, _INT, _U32, _U64, _SIZE = c.c_void_p, c.c_char_p, c.c_int, c.c_uint32, c.c_uint64, c.c_size_t
# name: (result, arguments); see libbpf.h and bpf.h of libbpf 1.1
_PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "libbpf_set_print": (_POINTER, (_POINTER,)),
    "libbpf_num_possible_cpus": (_INT, ()),
    "bpf_object__open_file": (_POINTER, (_TEXT, _POINTER)),
    "bpf_object__load": (_INT, (_POINTER,)),
    "bpf_object__close": (None, (_POINTER,)),
    "bpf_object__find_program_by_name": (_POINTER, (_POINTER, _TEXT)),
    "bpf_program__fd": (_INT, (_POINTER,)),
    "bpf_object__find_map_by_name": (_POINTER, (_POINTER, _TEXT)),
    "bpf_object__next_map": (_POINTER, (_POINTER, _POINTER)),
    "bpf_map__name": (_TEXT, (_POINTER,)),
    "bpf_map__fd": (_INT, (_POINTER,)),
    "bpf_map__set_max_entries": (_INT, (_POINTER, _U32)),
    "bpf_map__max_entries": (_U32, (_POINTER,)),
    "bpf_map__key_size": (_U32, (_POINTER,)),
    "bpf_map__value_size": (_U32, (_POINTER,)),
    "bpf_map__set_pin_path": (_INT, (_POINTER, _TEXT)),
    "bpf_map__set_initial_value": (_INT, (_POINTER, _POINTER, _SIZE)),
    "bpf_map_update_elem": (_INT, (_INT, _POINTER, _POINTER, _U64)),
    "bpf_map_lookup_elem": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_map_delete_elem": (_INT, (_INT, _POINTER)),
    "bpf_map_get_next_key": (_INT, (_INT, _POINTER, _POINTER)),
    "bpf_xdp_attach": (_INT, (_INT, _INT, _U32, _POINTER)),
    "bpf_xdp_detach": (_INT, (_INT, _U32, _POINTER)),
    "bpf_xdp_query_id": (_INT, (_INT, _INT, _POINTER)),
    "bpf_tc_hook_create": (_INT, (_POINTER,)),
    "bpf_tc_attach": (_INT, (_POINTER, _POINTER)),
    "bpf_tc_detach": (_INT, (_POINTER, _POINTER)),
    "bpf_tc_query": (_INT, (_POINTER, _POINTER)),
    "bpf_prog_test_run_opts": (_INT, (_INT, _POINTER)),
}


class _LibBpf:
    """The library, loaded at first use: importing this module needs no libbpf."""

    def __init__(self) -> None:
        self._library: c.CDLL | None = None

    def call(self, name: str, *arguments: Any) -> Any:
        if self._library is None:
            self._library = self._open()
        return getattr(self._library, name)(*arguments)

    def _open(self) -> c.CDLL:
        try:
            library = c.CDLL("libbpf.so.1", use_errno=True)
        except OSError as error:
            raise SystemFailure("libbpf.so.1 is missing: install Debian's package libbpf1.") from error
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        # va_list arguments cannot be formatted from here; the format strings alone would only be noise.
        self._silence = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)(lambda _level, _format, _arguments: 0)
        library.libbpf_set_print(c.cast(self._silence, c.c_void_p))
        return library


_lib = _LibBpf()


def _check(result: int | None, what: str) -> int:
    """Return the result, or raise SystemFailure naming what was attempted and the kernel's errno."""
    if result is None or result < 0:
        number = c.get_errno() if result in (None, -1) else -(result or 0)
        raise SystemFailure(f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")
    return result


def possible_cpus() -> int:
    """How many values a per-CPU map returns for a key."""
    return int(_lib.call("libbpf_num_possible_cpus"))


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
        return None if _lib.call("bpf_map_lookup_elem", self.fd, key, value) else value.raw

    def get_per_cpu(self, key: bytes) -> list[bytes]:
        """Return the value of every possible CPU."""
        stride = (self.value_size + 7) & ~7
        values = c.create_string_buffer(stride * possible_cpus())
        _check(_lib.call("bpf_map_lookup_elem", self.fd, key, values), f"look up in map {self.name}")
        return [values.raw[i * stride : i * stride + self.value_size] for i in range(possible_cpus())]

    def set(self, key: bytes, value: bytes) -> None:
        """Insert or replace. On an array map a reader sees the old or the new word of each aligned 8 bytes."""
        if len(key) != self.key_size or len(value) != self.value_size:
            raise ValueError(
                f"map {self.name} takes {self.key_size}/{self.value_size} bytes, not {len(key)}/{len(value)}"
            )
        _check(_lib.call("bpf_map_update_elem", self.fd, key, value, 0), f"update map {self.name}")

    def set_per_cpu(self, key: bytes, value: bytes) -> None:
        """Write the same value for every CPU."""
        padded = value.ljust((self.value_size + 7) & ~7, b"\0") * possible_cpus()
        _check(_lib.call("bpf_map_update_elem", self.fd, key, padded, 0), f"update map {self.name}")

    def delete(self, key: bytes) -> bool:
        """Delete; False when the key was absent."""
        return not _lib.call("bpf_map_delete_elem", self.fd, key)

    def keys(self) -> Iterator[bytes]:
        """All keys (a snapshot is not taken: keys inserted meanwhile may or may not come)."""
        key, following = None, c.create_string_buffer(self.key_size)
        while not _lib.call("bpf_map_get_next_key", self.fd, key, following):
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
    ) -> None:
        """Open and load. `pin_maps_under` must be on a bpf file system; names starting with a dot are not pinned.

        Raises SystemFailure when the file, the verifier, or a pinned map of another shape refuses.
        """
        self._object = _lib.call("bpf_object__open_file", os.fsencode(path), None)
        if not self._object:
            raise SystemFailure(f"Cannot open {path}: {os.strerror(c.get_errno())}. Build it with `make native`.")
        try:
            for name, count in (max_entries or {}).items():
                handle = _lib.call("bpf_object__find_map_by_name", self._object, name.encode())
                _check(_lib.call("bpf_map__set_max_entries", handle, count), f"resize map {name}")
            for handle, name in list(self._maps()):
                if "." not in name and pin_maps_under is not None:
                    pin = os.fsencode(pin_maps_under / name)
                    _check(_lib.call("bpf_map__set_pin_path", handle, pin), f"pin map {name}")
                if name.endswith(".rodata") and read_only_data is not None:
                    done = _lib.call("bpf_map__set_initial_value", handle, read_only_data, len(read_only_data))
                    _check(done, f"set the read-only data of {path.name}")
            _check(_lib.call("bpf_object__load", self._object), f"load {path.name} (kernel {os.uname().release})")
        except SystemFailure:
            self.close()
            raise

    def _maps(self) -> Iterator[tuple[int, str]]:
        handle = _lib.call("bpf_object__next_map", self._object, None)
        while handle:
            yield handle, _lib.call("bpf_map__name", handle).decode()
            handle = _lib.call("bpf_object__next_map", self._object, handle)

    def program(self, name: str) -> int:
        """The file descriptor of a program."""
        return _check(
            _lib.call("bpf_program__fd", _lib.call("bpf_object__find_program_by_name", self._object, name.encode())),
            name,
        )

    def map(self, name: str) -> BpfMap:
        """A map by its name in C."""
        handle = _lib.call("bpf_object__find_map_by_name", self._object, name.encode())
        if not handle:
            raise SystemFailure(f"The object has no map {name}: rebuild it with `make native`.")
        return BpfMap(
            name,
            _lib.call("bpf_map__fd", handle),
            _lib.call("bpf_map__key_size", handle),
            _lib.call("bpf_map__value_size", handle),
            _lib.call("bpf_map__max_entries", handle),
        )

    def close(self) -> None:
        """Close every handle. Attached programs and pinned maps live on."""
        if self._object:
            _lib.call("bpf_object__close", self._object)
            self._object = None


def attach_xdp(ifindex: int, program: int, flags: int) -> None:
    """Attach to an interface, replacing whatever program of the same mode is there, atomically."""
    _check(_lib.call("bpf_xdp_attach", ifindex, program, flags, None), f"attach XDP to interface {ifindex}")


def detach_xdp(ifindex: int, flags: int) -> None:
    """Detach whatever program of that mode is attached."""
    _check(_lib.call("bpf_xdp_detach", ifindex, flags, None), f"detach XDP from interface {ifindex}")


def attached_xdp(ifindex: int, flags: int) -> int:
    """The id of the attached program of that mode, 0 for none."""
    found = c.c_uint32()
    _check(_lib.call("bpf_xdp_query_id", ifindex, flags, c.byref(found)), f"query XDP of interface {ifindex}")
    return found.value


def _tc(ifindex: int, egress: bool) -> _TcHook:
    return _TcHook(c.sizeof(_TcHook), ifindex, _TC_EGRESS if egress else _TC_INGRESS, 0)


def attach_tc(ifindex: int, program: int, *, egress: bool = False, priority: int = 1) -> None:
    """Attach a classifier (direct action) to an interface, replacing ours at the same priority, atomically."""
    hook = _tc(ifindex, egress)
    created = _lib.call("bpf_tc_hook_create", c.byref(hook))
    if created and created != -errno.EEXIST:
        _check(created, f"create clsact on interface {ifindex}")
    replace = 1  # BPF_TC_F_REPLACE
    options = _TcOpts(c.sizeof(_TcOpts), program, replace, 0, 1, priority)
    _check(_lib.call("bpf_tc_attach", c.byref(hook), c.byref(options)), f"attach tc to interface {ifindex}")


def attached_tc(ifindex: int, *, egress: bool = False, priority: int = 1) -> int:
    """The id of our classifier on that interface, 0 for none."""
    hook, options = _tc(ifindex, egress), _TcOpts(c.sizeof(_TcOpts), 0, 0, 0, 1, priority)
    found = _lib.call("bpf_tc_query", c.byref(hook), c.byref(options))
    return int(options.prog_id) if not found else 0


def detach_tc(ifindex: int, *, egress: bool = False, priority: int = 1) -> None:
    """Detach our classifier."""
    hook, options = _tc(ifindex, egress), _TcOpts(c.sizeof(_TcOpts), 0, 0, 0, 1, priority)
    _check(_lib.call("bpf_tc_detach", c.byref(hook), c.byref(options)), f"detach tc from interface {ifindex}")


def test_run(program: int, packet: bytes, *, repeat: int = 1) -> tuple[int, bytes, int]:
    """Run a program on a packet: its verdict, the packet it leaves behind, and nanoseconds per run."""
    given, left = c.create_string_buffer(packet, len(packet)), c.create_string_buffer(len(packet) + 4096)
    options = _RunOpts(
        c.sizeof(_RunOpts),
        c.cast(given, _POINTER),
        c.cast(left, _POINTER),
        len(packet),
        len(left),
        None,
        None,
        0,
        0,
        0,
        repeat,
    )
    _check(_lib.call("bpf_prog_test_run_opts", program, c.byref(options)), "run a program on a packet")
    return int(options.retval), left.raw[: options.data_size_out], int(options.duration)


def program_id(program: int) -> int:
    """The kernel's id of a loaded program, to compare with `attached_tc` and `attached_xdp`; takes its descriptor."""
    for line in Path(f"/proc/self/fdinfo/{program}").read_text().splitlines():
        if line.startswith("prog_id:"):
            return int(line.split()[1])
    raise SystemFailure(f"File descriptor {program} is no BPF program: this is a defect, report it.")
