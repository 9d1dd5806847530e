"""Processes that outlive us and are known by a file with their number."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PAUSE = 0.01
_STOPPED = {"T", "t"}  # proc(5)


class PidFile:
    """The process that a file names, as long as it is still the one: its command line has a certain word."""

    def __init__(self, path: Path, word: str) -> None:
        self.path = path
        self._word = word.encode()

    @contextmanager
    def opened(self) -> Iterator[int | None]:
        """A handle of the process (pidfd_open(2)); None when it is gone."""
        process = None
        with suppress(OSError, ValueError):
            number = int(self.path.read_text())
            process = os.pidfd_open(number)
            words = Path("/proc", str(number), "cmdline").read_bytes().split(b"\0")
            if self._word not in words:
                os.close(process)
                process = None
        try:
            yield process
        finally:
            if process is not None:
                os.close(process)

    def is_running(self) -> bool:
        """Whether it is there, frozen or not."""
        with self.opened() as process:
            return process is not None

    def is_stopped(self) -> bool:
        """Whether it is there and does nothing, because of SIGSTOP or a debugger."""
        with suppress(OSError, ValueError, IndexError):
            if self.is_running():
                # The name, in parentheses, may hold anything.
                status = Path("/proc", self.path.read_text().strip(), "stat").read_text()
                return status.rpartition(")")[2].split()[0] in _STOPPED
        return False

    def send(self, number: int) -> bool:
        """Send it; whether there was a process."""
        with self.opened() as process, suppress(ProcessLookupError):
            if process is not None:
                signal.pidfd_send_signal(process, number)
                return True
        return False

    def end(self, number: int, patience: float) -> bool:
        """Send it, and wait until the process is gone, for so many seconds at the most; whether it is."""
        deadline = time.monotonic() + patience
        self.send(number)
        while self.is_running() and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return not self.is_running()
