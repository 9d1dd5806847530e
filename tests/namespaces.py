"""Network namespaces of a test's own."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Self, TypeVar

from bascule.system.bpffs import is_bpffs
from bascule.system.commands import run
from bascule.system.namespaces import call_in

T = TypeVar("T")


class Hosts:
    """Namespaces that come with `with` and go away together, whatever happened. Their names are nobody else's."""

    def __init__(self, *names: str) -> None:
        self._prefix = f"t{uuid.uuid4().hex[:8]}-"
        self.names = names

    def __enter__(self) -> Self:
        try:
            run(["ip", "-batch", "-"], stdin=self._each("netns add"))
            for name in self.names:
                self.ip(name, "link set lo up")
            self.build()
        except BaseException:
            self.__exit__()
            raise
        return self

    def build(self) -> None:
        """Put things into the namespaces, which are there, each with its `lo` up."""

    def __exit__(self, *_: object) -> None:
        words = ["ip", "-force", "-batch", "-"]
        subprocess.run(words, input=self._each("netns del"), text=True, capture_output=True, check=False)

    def _each(self, words: str) -> str:
        return "".join(f"{words} {self.of(name)}\n" for name in self.names)

    def of(self, name: str) -> str:
        """The full name of a host's namespace."""
        return self._prefix + name

    def inside(self, name: str, function: Callable[[], T]) -> T:
        """Call a function on a host."""
        return call_in(self.of(name), function)

    def ip(self, name: str, *commands: str) -> str:
        """`ip …` commands on a host, in one process. `@host` in them is that host's namespace."""
        script = "\n".join(commands).replace("@", self._prefix)
        return run(["ip", "-n", self.of(name), "-batch", "-"], stdin=script + "\n")

    def do(self, name: str, command: str, stdin: str | None = None) -> str:
        """Run a program on a host."""
        return self.inside(name, lambda: run(command.split(), stdin=stdin))

    def sysctl(self, name: str, **values: int) -> None:
        """Set values below /proc/sys/net on a host; `__` stands for a slash."""

        def write() -> None:
            for key, value in values.items():
                Path("/proc/sys/net", *key.split("__")).write_text(str(value))

        self.inside(name, write)


def unmount(bpf_dir: Path) -> None:
    """Unmount the BPF file system that a driver mounted there, if it did: with it goes what it pinned."""
    if bpf_dir.exists() and is_bpffs(bpf_dir):
        run(["umount", str(bpf_dir)])
