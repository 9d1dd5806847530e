"""Make sure that a directory lies on a bpf file system: pinned maps and programs can live nowhere else.

Calls mount(2) and statfs(2) of libc, because Python has neither, and `mount` the program may be missing in a container.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path

from bascule.model.errors import SystemFailure

# linux/magic.h
_BPF_FS_MAGIC = 0xCAFE4A11
_SYSTEM_MOUNT = Path("/sys/fs/bpf")
# larger than struct statfs of every architecture; only its first word is read
_STATFS_SIZE = 512
_libc = ctypes.CDLL(None, use_errno=True)


def ensure_bpffs(path: Path) -> None:
    """Create the directory, and mount a bpf file system there unless it lies on one already.

    Below /sys/fs/bpf, which itself cannot be written to, the mount goes to /sys/fs/bpf as systemd would do it.
    Raises SystemFailure when the kernel refuses (no root, or a kernel without BPF).
    """
    mount_point = _SYSTEM_MOUNT if _SYSTEM_MOUNT in (path, *path.parents) else path
    try:
        if mount_point is path:
            path.mkdir(parents=True, exist_ok=True)
        _mount_once(mount_point)
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemFailure(
            f"Cannot keep BPF objects under {path}: {error.strerror}. Run as root on a kernel with BPF."
        ) from error


def is_bpffs(path: Path) -> bool:
    """Whether the existing path lies on a bpf file system. Raises OSError when it does not exist."""
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if _libc.statfs(os.fsencode(path), buffer):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF == _BPF_FS_MAGIC


def _mount_once(mount_point: Path) -> None:
    # Two agents that start at once must not mount one file system over the other's: it would hide its pins.
    handle = os.open(mount_point.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not is_bpffs(mount_point) and _libc.mount(b"bpf", os.fsencode(mount_point), b"bpf", 0, b"mode=0700"):
            number = ctypes.get_errno()
            raise OSError(number, f"mount -t bpf: {os.strerror(number)} ({errno.errorcode.get(number, number)})")
    finally:
        os.close(handle)
