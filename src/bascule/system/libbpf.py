"""libbpf.so.1 by ctypes: the structs, the prototypes of the functions we call, and its errors as SystemFailure."""

from __future__ import annotations

import ctypes as c
import errno
import os
from functools import cache
from typing import Any

from bascule.model.errors import SystemFailure


class TcHook(c.Structure):
    """struct bpf_tc_hook."""

    _fields_ = (
        ("sz", c.c_size_t),
        ("ifindex", c.c_int),
        ("attach_point", c.c_int),
        ("parent", c.c_uint32),
        ("padding", c.c_uint32),
    )


class TcOpts(c.Structure):
    """struct bpf_tc_opts."""

    _fields_ = (
        ("sz", c.c_size_t),
        ("prog_fd", c.c_int),
        ("flags", c.c_uint32),
        ("prog_id", c.c_uint32),
        ("handle", c.c_uint32),
        ("priority", c.c_uint32),
        ("padding", c.c_uint32),
    )


class RunOpts(c.Structure):
    """struct bpf_test_run_opts."""

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
    "libbpf_probe_bpf_prog_type": (_INT, (_INT, _POINTER)),
}


# va_list arguments cannot be formatted from here; the format strings alone would only be noise.
_SILENCE = c.CFUNCTYPE(c.c_int, c.c_int, c.c_char_p, c.c_void_p)(lambda _level, _format, _arguments: 0)


@cache
def _library() -> c.CDLL:
    """The library, loaded at first use: importing this module needs no libbpf."""
    try:
        library = c.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise SystemFailure("libbpf.so.1 is missing: install Debian's package libbpf1.") from error
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    library.libbpf_set_print(c.cast(_SILENCE, c.c_void_p))
    return library


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the library."""
    return getattr(_library(), name)(*arguments)


def check(result: int | None, what: str) -> int:
    """Return the result, or raise SystemFailure naming what was attempted and the kernel's errno."""
    if result is None or result < 0:
        number = c.get_errno() if result in (None, -1) else -(result or 0)
        raise SystemFailure(f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")
    return result


# linux/bpf.h
PROG_TYPE_SCHED_CLS = 3
PROG_TYPE_XDP = 6


def is_installed() -> bool:
    """Whether the library can be loaded."""
    try:
        _library()
    except SystemFailure:
        return False
    return True


def has_program_type(kind: int) -> bool:
    """Whether the kernel takes programs of this type from us."""
    return bool(call("libbpf_probe_bpf_prog_type", kind, None) == 1)
