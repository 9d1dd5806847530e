"""Run a command as root under a kernel of its own: User-Mode Linux, booted on this machine's files in three seconds.

    python tools/user_mode_linux.py [--output FOLDER] [--timeout SECONDS] [--memory SIZE] [--modules NAMES] -- COMMAND…

The guest sees all files of this machine, but may write none of them: its root is read-only. It writes to `/run` (its
own, gone at the end) and to `/run/out`, which is FOLDER on this machine (a temporary one unless named). Its network is
its own and empty, its environment too: say `env NAME=value COMMAND` if the command needs any. Modules come from the
package's own tree; `/lib/modules` is neither read nor touched, and what the kernel asks for by itself (schedulers,
matches) is loaded.

The exit status is that of the command, whose output appears as it comes. FOLDER keeps `stdout`, `stderr`, `console`
(the kernel's words) and whatever the command wrote there, such as a junit file. Four endings are not the command's own:

    121  User-Mode Linux is not installed
    122  a module could not be loaded
    124  the command took longer than the time-out
    125  the guest died without a status (a panic, out of memory, somebody killed it)

Why each option of the kernel's command line is there is said where it is given; more in Linux's Documentation/virt/uml.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

NOT_INSTALLED, NO_MODULE, TOO_SLOW, DIED = 121, 122, 124, 125
KERNEL = Path("/usr/bin/linux.uml")
MODULES = Path("/usr/lib/uml/modules")
INIT = Path(__file__).with_name("guest_init").resolve()
# Loaded at boot in one go: one call is four times as fast as one each, and autoloading forks once per module.
LOADED = (
    "veth dummy bridge ipip sit ip6_tunnel ip_vs ip_vs_rr ip_vs_wrr ip_vs_sh ip_vs_mh nf_conntrack nf_nat iptable_nat"
    " iptable_mangle iptable_filter iptable_raw ip6table_nat ip6table_filter xt_nat xt_tcpudp xt_conntrack xt_mark"
)
# What the guest may take beyond its command's time-out, to boot and to halt.
MARGIN = 60.0
CONSOLE_LINES = 40


@dataclass(frozen=True, kw_only=True)
class Guest:
    """What to boot, and for how many seconds its command may run."""

    kernel: Path = KERNEL
    memory: str = "1G"
    timeout: int = 300
    modules: str = LOADED


def run(guest: Guest, command: Sequence[str], output: Path) -> int:
    """Boot, run the command in this process's working directory, copy its output as it comes, return its status."""
    if not guest.kernel.exists():
        _say(f"{guest.kernel} is missing: install it with `apt-get install user-mode-linux` (Debian, amd64 only).")
        return NOT_INSTALLED
    _prepare(output, command)
    console = output / "console"
    with tempfile.TemporaryDirectory(prefix="uml-") as directory, console.open("wb") as words:
        process = subprocess.Popen(
            [str(guest.kernel), *_options(guest, output, directory)],
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=subprocess.STDOUT,
            env={"PATH": os.environ.get("PATH", os.defpath), "TMPDIR": _fast_folder()},
            start_new_session=True,
        )
        try:
            _follow(process, output, time.monotonic() + guest.timeout + MARGIN)
        finally:
            _end(process)
    return _judge(guest, output, console)


def _options(guest: Guest, output: Path, directory: str) -> list[str]:
    return [
        f"mem={guest.memory}",
        f"uml_dir={directory}",
        "rootfstype=hostfs",
        "rootflags=/",
        "ro",  # guest root would otherwise write this machine's disk, as root if we are
        f"init={INIT}",
        "con=null",
        "con0=fd:0,fd:1",  # the kernel's words to our standard output, no xterm for the others
        "ssl=null",
        "quiet",
        "panic=-1",  # a panic ends the process instead of waiting for a key
        f"GUEST_OUTPUT={output}",
        f"GUEST_MODULES={MODULES}",
        f"GUEST_TIMEOUT={guest.timeout}",
        f'GUEST_LOAD="{guest.modules}"',
    ]


def _prepare(output: Path, command: Sequence[str]) -> None:
    for name in ("stdout", "stderr", "modules", "ending", "late"):
        (output / name).unlink(missing_ok=True)
    (output / "command").write_text(f"cd {shlex.quote(str(Path.cwd()))}\nexec {shlex.join(command)}\n")


def _fast_folder() -> str:
    """Where the guest's memory is kept: a file, for which a tmpfs is far faster than a disk."""
    memory = Path("/dev/shm")  # noqa: S108  the kernel unlinks its file as soon as it is open
    return str(memory) if os.access(memory, os.W_OK) else tempfile.gettempdir()


def _follow(process: subprocess.Popen[bytes], output: Path, deadline: float) -> None:
    """Copy what the command says until the guest is gone, or the deadline."""
    with ExitStack() as stack:
        copies: dict[str, tuple[BinaryIO, BinaryIO]] = {}
        running = True
        while running and time.monotonic() < deadline:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.2)
                running = False
            for name, to in (("stdout", sys.stdout.buffer), ("stderr", sys.stderr.buffer)):
                if name not in copies and (output / name).exists():
                    copies[name] = stack.enter_context((output / name).open("rb")), to
            for source, to in copies.values():
                to.write(source.read())
                to.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    """A guest is several processes, all of the session that we began."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _judge(guest: Guest, output: Path, console: Path) -> int:
    ending = output / "ending"
    words = ending.read_text().split() if ending.exists() else []
    if words == ["modules"]:
        _say(f"The guest cannot load its modules: {(output / 'modules').read_text().strip()}")
        return NO_MODULE
    if len(words) != 2:
        tail = "\n".join(console.read_text(errors="replace").splitlines()[-CONSOLE_LINES:])
        _say(f"The guest died without a status; its last words:\n{tail}")
        return DIED
    if (output / "late").exists():
        _say(f"The command was ended after {guest.timeout} s: give it longer with --timeout.")
        return TOO_SLOW
    return int(words[1])


def _say(sentence: str) -> None:
    sys.stderr.write(f"user_mode_linux: {sentence}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the command line; see the module's words."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, usage="%(prog)s [options] -- COMMAND"
    )
    parser.add_argument("--output", type=Path)
    parser.add_argument("--timeout", type=int, default=Guest.timeout)
    parser.add_argument("--memory", default=Guest.memory)
    parser.add_argument("--modules", default=Guest.modules)
    parser.add_argument("--kernel", type=Path, default=KERNEL)
    parser.add_argument("command", nargs="+")
    given = parser.parse_args(arguments)
    guest = Guest(kernel=given.kernel, memory=given.memory, timeout=given.timeout, modules=given.modules)
    with ExitStack() as stack:
        output = given.output or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="guest-")))
        output.mkdir(parents=True, exist_ok=True)
        return run(guest, given.command, output.resolve())


if __name__ == "__main__":
    sys.exit(main())
