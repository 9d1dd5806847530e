"""The files that set sysctls at boot (sysctl.d(5)): which lines count in the end. `parse` and `merge` are pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from bascule.doctor.facts import Assignment

# In the order of precedence: a file hides those of the same name in later folders.
_FOLDERS = ("etc/sysctl.d", "run/sysctl.d", "usr/local/lib/sysctl.d", "usr/lib/sysctl.d", "lib/sysctl.d")
_LAST = "etc/sysctl.conf"


def read(root: Path = Path("/")) -> tuple[Assignment, ...]:
    """The line that wins for each key, over the files below `root`."""
    by_name: dict[str, Path] = {}
    for folder in _FOLDERS:
        for file in (root / folder).glob("*.conf"):
            by_name.setdefault(file.name, file)
    files = [by_name[name] for name in sorted(by_name)]
    return merge(
        line for file in [*files, root / _LAST] if file.exists() for line in parse(str(file), file.read_text())
    )


def parse(file: str, text: str) -> Iterator[Assignment]:
    """The assignments of one file. A leading `-` only forgives errors; after a first `/`, `/` and `.` change places."""
    for line in text.splitlines():
        key, equals, value = line.strip().lstrip("-").partition("=")
        if equals and not key.startswith(("#", ";")):
            yield Assignment(file=file, key=_dotted(key.strip()), value=value.strip())


def merge(lines: Iterable[Assignment]) -> tuple[Assignment, ...]:
    """The last line of each key."""
    return tuple({line.key: line for line in lines}.values())


def _dotted(key: str) -> str:
    slash, dot = key.find("/"), key.find(".")
    if slash >= 0 and (dot < 0 or slash < dot):
        return key.replace(".", "\0").replace("/", ".").replace("\0", "/")
    return key
