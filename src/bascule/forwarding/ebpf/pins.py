"""Load the program with its maps pinned, so that the next process finds what this one knew.

A folder per layout: maps of another layout cannot be read, and are left to the programs that still use them until the
new programs have taken their place.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from bascule.forwarding.ebpf.layout import LAYOUT_VERSION
from bascule.model.errors import SystemFailure
from bascule.system.bpf import BpfObject

_PREFIX = "hypervisor-v"


def folder(bpf_dir: Path) -> Path:
    """Where the maps of this version are pinned."""
    return bpf_dir / f"{_PREFIX}{LAYOUT_VERSION}"


def load(object_path: Path, read_only_data: bytes, bpf_dir: Path) -> tuple[BpfObject, tuple[str, ...]]:
    """Load the object with the maps that are pinned, or new ones when those have another shape; says which.

    Raises SystemFailure when the object is missing or the kernel refuses it.
    """
    pins = folder(bpf_dir)
    pins.mkdir(parents=True, exist_ok=True)
    try:
        return BpfObject(object_path, read_only_data=read_only_data, pin_maps_under=pins), ()
    except SystemFailure:
        # Without pins it loads only if they were to blame; any other refusal must leave them alone.
        BpfObject(object_path, read_only_data=read_only_data).close()
    for pin in pins.iterdir():
        pin.unlink()
    loaded = BpfObject(object_path, read_only_data=read_only_data, pin_maps_under=pins)
    return loaded, (f"The maps pinned under {pins} had another layout: started over, known connections are forgotten.",)


def remove_others(bpf_dir: Path) -> tuple[str, ...]:
    """Remove the pins of other layouts; returns a sentence per folder."""
    others = [path for path in bpf_dir.glob(f"{_PREFIX}*") if path != folder(bpf_dir)]
    for path in others:
        shutil.rmtree(path)
    return tuple(
        f"Removed the maps of another layout ({path.name}): known connections are forgotten." for path in others
    )
