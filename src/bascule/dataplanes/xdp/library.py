"""The C functions of `bpf/maglev.c` and `bpf/history.c` (libbascule.so), by ctypes."""

from __future__ import annotations

import ctypes as c
from functools import cache

from bascule.model.errors import SystemFailure
from bascule.native import DIRECTORY

# Arrays indexed by a backend have an item for everything 16 bits can say, so that no stale word reads past their end.
ANY_BACKEND = 65536

_PROTOTYPES = {
    "bascule_maglev": (c.c_int, [c.c_uint32, c.c_uint32, *[c.c_void_p] * 5]),
    "bascule_merge": (c.c_uint32, [c.c_void_p, c.c_uint32, c.c_void_p, c.c_void_p]),
    "bascule_count_dirty": (c.c_uint32, [c.c_void_p, c.c_uint32]),
    "bascule_clean": (c.c_int64, [c.c_void_p, c.c_void_p, c.c_uint64, c.c_void_p, c.c_uint16, c.c_uint16]),
    "bascule_count_flows": (
        None,
        [c.c_void_p, c.c_uint64, *[c.c_void_p] * 2, c.c_uint64, c.c_void_p, c.c_uint16, c.c_uint16, c.c_void_p],
    ),
    "bascule_purge": (c.c_uint64, [c.c_void_p, c.c_uint64, c.c_void_p]),
}


@cache
def library() -> c.CDLL:
    """The library, loaded at first use. Raises SystemFailure when it was not built."""
    path = DIRECTORY / "libbascule.so"
    try:
        loaded = c.CDLL(str(path))
    except OSError as error:
        raise SystemFailure(f"Cannot load {path}: {error}. Build it with `make native`.") from error
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded
