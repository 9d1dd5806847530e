"""Take away the bpf file systems that agents mounted below a lab's directory."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from bascule.model.errors import SystemFailure

_DETACH = 2  # MNT_DETACH: gone at once, even while somebody still looks at it
_libc = ctypes.CDLL(None, use_errno=True)


def mounts_below(directory: Path) -> list[Path]:
    """The mount points below a directory, the deepest first."""
    # proc(5): the fifth field of mountinfo is the mount point
    points = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return sorted((point for point in points if directory in point.parents), reverse=True)


def unmount_below(directory: Path) -> None:
    """Unmount everything below a directory. Raises SystemFailure when the kernel refuses."""
    for point in mounts_below(directory):
        if _libc.umount2(os.fsencode(point), _DETACH):
            raise SystemFailure(f"Cannot unmount {point}: {os.strerror(ctypes.get_errno())}. Are you root?")
