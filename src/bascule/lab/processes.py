"""Start the lab's processes, find them again, and end them: each by its namespace or its mark, never by its name.

Whatever a lab starts carries `BASCULE_LAB=<name>` in its environment, and so do its children. That, and the namespace a
process lives in, say whose it is even when whoever started it was killed before writing anything down.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bascule.lab.network import namespace, namespaces_of
from bascule.lab.roster import Program
from bascule.lab.state import Lab
from bascule.lab.waiting import wait_until
from bascule.model.errors import NotFound, SystemFailure
from bascule.system.namespaces import NAMESPACES, call_in

_MARK = "BASCULE_LAB"
_PROC = Path("/proc")
# Children that outlive this process on purpose; kept so that they can be reaped if they end before it does.
_started: list[subprocess.Popen[bytes]] = []


@dataclass(frozen=True, slots=True)
class Process:
    """A process and when it started: together they name it for good, because a pid alone is used again."""

    pid: int
    started: int


def start(lab: Lab, program: Program) -> Process:
    """Start a program of the lab in its namespace; its output goes to the lab's logs. It outlives the caller."""
    log = lab.directory / "logs" / f"{program.title}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    ours = {name: value for name, value in os.environ.items() if not name.startswith("BASCULE_")}
    environment = ours | program.environment | {_MARK: lab.name, "PYTHONUNBUFFERED": "1"}

    def launch() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                program.command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    # A child is born into the namespace of the thread that forks it: no launcher in between.
    child = call_in(namespace(lab.name, program.host), launch) if program.host else launch()
    _started.append(child)
    process = Process(child.pid, _start_time(child.pid) or 0)
    _record(lab, program.title).write_text(json.dumps({"pid": process.pid, "started": process.started}))
    return process


def find(lab: Lab, title: str) -> Process:
    """The process last started under that title. Raises NotFound when it does not run."""
    process = running(lab, title)
    if process is None:
        raise NotFound(f"{title} does not run in lab {lab.name}: `bascule lab status` shows what does.")
    return process


def running(lab: Lab, title: str) -> Process | None:
    """The process last started under that title, None when it has ended."""
    try:
        process = Process(**json.loads(_record(lab, title).read_text()))
    except (OSError, ValueError):
        return None
    _reap()
    return process if _start_time(process.pid) == process.started else None


def kill(process: Process) -> None:
    """Kill (9) and await the end. Ending it twice, or after its pid went to another process, does nothing."""
    end(process, signal.SIGKILL)


def end(process: Process, word: signal.Signals) -> None:
    """As `kill`, with another signal."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        # Holding the pidfd, the pid cannot pass to another process between this look and the signal.
        if _start_time(process.pid) == process.started:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, word)
            # A pidfd becomes readable when its process ends: pidfd_open(2).
            if not select.select([handle], [], [], 10.0)[0]:
                raise SystemFailure(f"Process {process.pid} did not end within 10 s of {word.name}: look at its state.")
    finally:
        os.close(handle)
    _reap()


def kill_all(name: str) -> int:
    """Kill every process of a lab, those it forgot included; returns how many."""
    killed = 0

    def none_left() -> bool:
        nonlocal killed
        found = list(processes_of(name))
        for process in found:
            kill(process)
        killed += len(found)
        return not found

    wait_until(none_left, what=f"The end of every process of lab {name}", timeout=15)
    return killed


def processes_of(name: str) -> Iterator[Process]:
    """Every process that lives in a namespace of the lab or carries its mark, this one excepted."""
    inodes = {(NAMESPACES / path).stat().st_ino for path in namespaces_of(name).values()}
    mark = f"{_MARK}={name}".encode()
    for pid in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
        with contextlib.suppress(OSError):
            folder = _PROC / str(pid)
            belongs = (folder / "ns/net").stat().st_ino in inodes or mark in (folder / "environ").read_bytes().split(
                b"\0"
            )
            started = _start_time(pid)
            if belongs and started is not None and pid != os.getpid():
                yield Process(pid, started)


def living_in(name: str) -> Iterator[Process]:
    """Every process whose network is that namespace, this one excepted."""
    inode = (NAMESPACES / name).stat().st_ino
    for pid in (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()):
        with contextlib.suppress(OSError):
            started = _start_time(pid)
            if (_PROC / str(pid) / "ns/net").stat().st_ino == inode and started is not None and pid != os.getpid():
                yield Process(pid, started)


def _record(lab: Lab, title: str) -> Path:
    folder = lab.directory / "processes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{title}.json"


def _start_time(pid: int) -> int | None:
    """Field 22 of /proc/<pid>/stat, in clock ticks since boot; None for a process that is no more or awaits burial."""
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (OSError, ValueError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def _reap() -> None:
    _started[:] = [child for child in _started if child.poll() is None]
