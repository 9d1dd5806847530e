"""Moments after which something no longer holds, in files that survive this process but no reboot.

Times are of CLOCK_BOOTTIME, which nobody sets back, and which goes on while the machine sleeps.
"""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from bascule.model.errors import SystemFailure

# Run by keepalived once a second. Without another program, so that a full process table or disk does not matter.
_SCRIPT = """\
#!/bin/sh
read now rest </proc/uptime && read until <{file} && [ "${{now%.*}}" -lt "$until" ]
"""


def now() -> float:
    """Seconds since the machine booted."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Heartbeat:
    """Tells keepalived until when it may go on: it gives its addresses up once nobody writes this any more."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "agent-until"
        self.script = folder / "agent-is-here"

    def beat(self, seconds: float) -> None:
        """It may go on for so long from now. Raises SystemFailure when the disk refuses."""
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            wanted = _SCRIPT.format(file=self._file)
            if not self.script.exists() or self.script.read_text() != wanted:
                self.script.write_text(wanted)
                self.script.chmod(0o755)
            _put(self._file, f"{int(now() + seconds)}\n")
        except OSError as error:
            raise SystemFailure(f"Cannot write {self._file}: {error.strerror}. Is there space?") from error


class Lease:
    """How long this node may hold addresses without a word of the control plane: `seconds`, and 0 is for ever."""

    def __init__(self, file: Path, seconds: float) -> None:
        self._file = file
        self.seconds = seconds
        self._told = self._read()

    def renew(self) -> None:
        """The control plane spoke. A disk that refuses is no reason not to listen."""
        if not self.seconds or 0 <= now() - self._told < 1:
            return
        self._told = now()
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            _put(self._file, f"{self._told}\n")

    def has_lapsed(self) -> bool:
        """Whether it is over. A machine that boots begins without one."""
        # A file of before a reboot may lie in the future.
        return bool(self.seconds) and not 0 <= now() - self._told < self.seconds

    def _read(self) -> float:
        with suppress(OSError, ValueError):
            return float(self._file.read_text())
        return float("-inf")


def _put(file: Path, text: str) -> None:
    """Never half a file: somebody else reads it at any moment."""
    half = file.with_suffix(".new")
    half.write_text(text)
    half.replace(file)
