"""One process of a kind at a time: an exclusive lock on a file, which the kernel drops when the process ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bascule.model.errors import SystemFailure


@contextmanager
def sole_process(lock: Path) -> Iterator[None]:
    """Hold the lock. Raises SystemFailure that names the process holding it already."""
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SystemFailure(f"Cannot open {lock}: {error.strerror}. Make its folder writable.") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(handle, 32, 0).decode(errors="replace").strip() or "unknown"
            raise SystemFailure(f"Another process (pid {holder}) holds {lock}: stop it first.") from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(handle)
