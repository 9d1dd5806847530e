"""Runs what the operator installed: scripts that check instances, and one that is told of changes.

Whoever may write a script, or put another in its place, is root on this machine: so the folder and the script must be
root's, and nobody else's to write (keepalived's `enable_script_security`). A tenant can name a script, never a path.
"""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
from collections.abc import Sequence
from pathlib import Path

from bascule.model.errors import SystemFailure
from bascule.model.health_check_rules import is_script_name

FOLDER = Path("/etc/bascule/checks")
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
REAP_MOST = 1.0  # seconds
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class ScriptFolder:
    """The folder with the operator's scripts. Use it from one event loop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ending: set[asyncio.Task[int]] = set()

    def find(self, name: str) -> Path:
        """The script of this name. Raises SystemFailure when it is not there, or not root's alone to write."""
        if not is_script_name(name):
            raise SystemFailure(f"{name!r} is no name of a script: it is letters, digits, '.', '_' and '-'.")
        path = self.folder / name
        # Both the way as it is written and, behind links, the way as it is.
        for each in (*reversed(path.absolute().parents), *reversed((self.folder.resolve() / name).parents)):
            self._check(each, is_script=False)
        self._check(path, is_script=True)
        return path

    def _folders(self) -> tuple[Path, Path]:
        return self.folder.absolute(), self.folder.resolve()

    def _check(self, path: Path, *, is_script: bool) -> None:
        try:
            found = path.lstat() if is_script else path.stat()
        except OSError as error:
            raise SystemFailure(
                f"There is no script {path} ({error.strerror}): install it on every LB node."
            ) from error
        if found.st_uid != 0:
            raise SystemFailure(f"{path} is not root's: `chown root {path}`.")
        # In a directory with the sticky bit, above the folder, nobody can replace what is root's.
        sticky = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX and path not in self._folders()
        if found.st_mode & _OTHERS_WRITE and not sticky:
            raise SystemFailure(f"{path} can be written by others than root: `chmod go-w {path}`.")
        if is_script and not (stat.S_ISREG(found.st_mode) and found.st_mode & stat.S_IXUSR):
            raise SystemFailure(f"{path} is no executable file: install it with `install -m 755`.")

    async def run(self, name: str, arguments: Sequence[str]) -> int:
        """Run it to its end; returns the exit status, or a signal's number below 0. Raises SystemFailure.

        No shell, no input, no output, no environment of ours. Whatever is left of its process group is killed when the
        script ends or the caller is cancelled; a descendant that leaves the group (setsid) is not followed.
        """
        command = [str(self.find(name)), *arguments]
        try:
            process = subprocess.Popen(  # noqa: ASYNC220  returns when the kernel has the program, milliseconds
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=ENVIRONMENT,
                cwd="/",
                start_new_session=True,
            )
        except OSError as error:
            raise SystemFailure(f"{command[0]} cannot be run ({error.strerror}): look at its first line.") from error
        try:
            await _ended(process.pid)
        finally:
            # The leader is not waited for yet, so its number is still the group's and nobody else's.
            os.killpg(process.pid, signal.SIGKILL)
            reaped = asyncio.create_task(asyncio.to_thread(process.wait))
            self._ending.add(reaped)
            reaped.add_done_callback(self._ending.discard)
            # Killed, it is gone at once, unless the kernel itself is stuck: that must not hold up the check.
            await asyncio.wait({reaped}, timeout=REAP_MOST)
        return await reaped


async def _ended(pid: int) -> None:
    """Wait until the process has ended, and leave it as a zombie."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    handle = os.pidfd_open(pid)
    loop.add_reader(handle, ended.set)
    try:
        await ended.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)
