"""Open the pinned tables of an LB node, as somebody at that machine could."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from bascule.dataplanes.xdp.layout import BACKEND_SIZE, BACKENDS_MAX, SERVICE_TABLE_SIZE
from bascule.system.bpf import BpfMap

_SHAPES = {"services": (SERVICE_TABLE_SIZE, 1), "backends": (BACKEND_SIZE, BACKENDS_MAX)}


def open_pinned(bpf_dir: Path, name: str) -> BpfMap:
    """Open a pinned table by its name in C."""
    [pin] = bpf_dir.glob(f"layout-*/{name}")
    handle = ctypes.CDLL("libbpf.so.1", use_errno=True).bpf_obj_get(os.fsencode(pin))
    assert handle >= 0, os.strerror(ctypes.get_errno())
    value_size, entries = _SHAPES[name]
    return BpfMap(name, handle, 4, value_size, entries)
