"""The keepalived that speaks VRRP: started, told to read its configuration again, asked, killed. It outlives us."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Set
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

from bascule.announcers.vrrp.render import addresses_in
from bascule.announcers.vrrp.state import Told, parse
from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure
from bascule.system.commands import run
from bascule.system.pid_files import PidFile

PATIENCE = 5.0  # seconds for an answer; it takes milliseconds, and seconds only on a machine that cannot breathe
_QUESTION = 0.5  # seconds after which it is asked again: a question that comes while it reads is lost
_STOPPING = 3.0  # seconds for one that is told to end: it tells its peers, and takes its addresses away
_PAUSE = 0.005
_LOG_MOST = 1_000_000  # bytes; every question is a line
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class VrrpDaemon:
    """The keepalived whose files are in one folder; no other may use it. Runs in the caller's network namespace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / "keepalived.conf"
        self._log = folder / "keepalived.log"
        self._parent = PidFile(folder / "keepalived.pid", str(self._file))
        self._child = PidFile(folder / "vrrp.pid", str(self._file))
        # keepalived writes its answer to its TMPDIR.
        self._answer = folder / "answers" / "keepalived.json"
        self._number = 0

    def text(self) -> str | None:
        """The configuration on disk; None when there is none."""
        try:
            return self._file.read_text()
        except (OSError, UnicodeDecodeError):
            return None

    def configured(self) -> frozenset[IPAddress]:
        """The addresses of the configuration on disk, whoever's it was."""
        return frozenset(map(ip_address, addresses_in(self.text() or "")))

    def is_running(self) -> bool:
        """Whether both its processes are there."""
        return self._parent.is_running() and self._child.is_running()

    def is_stopped(self) -> bool:
        """Whether one of them is frozen: its addresses stay, its adverts do not."""
        return self._parent.is_stopped() or self._child.is_stopped()

    def ask(
        self, expected: Set[IPAddress] | None = None, patience: float = PATIENCE
    ) -> Mapping[IPAddress, Told] | None:
        """Its instances; asked again until they are the expected ones. None when it is dead, frozen or silent."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and self.is_running() and not self.is_stopped():
            told = self._ask_once(min(deadline, time.monotonic() + _QUESTION))
            if told is not None and expected in (None, told.keys()):
                return told
            time.sleep(_PAUSE)
        return None

    def write(self, text: str) -> None:
        """Put the configuration in place, once keepalived itself finds no fault in it. Raises SystemFailure."""
        half = self._file.with_suffix(".new")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            half.write_text(text)
            run(["keepalived", "--config-test", "--use-file", str(half)], timeout=PATIENCE * 2)
            half.replace(self._file)
        except OSError as error:
            raise SystemFailure(f"Cannot write {half}: {error.strerror}. Is there space, are you root?") from error

    def reload(self) -> None:
        """Have it read its configuration; instances that stay the same do not move."""
        self._parent.send(signal.SIGHUP)

    def start(self) -> None:
        """Start one; there must be none. Raises SystemFailure when it does not start."""
        self._forget()
        self._answer.parent.mkdir(parents=True, exist_ok=True)
        # In a session of its own, nobody's child. One whose child died ends: the agent must take its addresses away.
        command = ["setsid", "--fork", "stdbuf", "--output=L", "keepalived", "--dont-fork", "--vrrp", "--dont-respawn"]
        command += ["--use-file", str(self._file), "--pid", str(self._parent.path)]
        command += ["--vrrp_pid", str(self._child.path), "--log-console", "--no-syslog"]
        try:
            with self._log.open("ab") as log:
                subprocess.run(
                    command,
                    check=True,
                    timeout=PATIENCE,
                    env={**_ENVIRONMENT, "TMPDIR": str(self._answer.parent)},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
        except (OSError, subprocess.SubprocessError) as error:
            raise SystemFailure(f"keepalived does not start ({error}): read {self._log}.") from error
        self._await_files()

    def stop(self) -> bool:
        """End it in order: it tells its peers, who take over at once. Whether there was one."""
        ran = self._parent.is_running() or self._child.is_running()
        if ran and not self.is_stopped():
            self._parent.end(signal.SIGTERM, _STOPPING)
            self._child.end(signal.SIGTERM, _STOPPING)
        self.kill()
        self._file.unlink(missing_ok=True)
        return ran

    def kill(self) -> None:
        """End it at once, frozen or not. Its addresses stay where they are."""
        # The child first: it would otherwise end by itself, and what it takes away meanwhile could be somebody else's.
        for each in (self._child, self._parent):
            each.end(signal.SIGKILL, _STOPPING)
        self._forget()

    def shorten_log(self) -> None:
        """Keep its log from filling the disk."""
        with suppress(OSError):
            if self._log.stat().st_size > _LOG_MOST:
                os.truncate(self._log, 0)

    def _forget(self) -> None:
        for each in (self._parent, self._child):
            each.path.unlink(missing_ok=True)

    def _await_files(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.is_running():
            if time.monotonic() > deadline:
                raise SystemFailure(f"keepalived has ended as soon as it began: read {self._log}.")
            time.sleep(_PAUSE)

    def _ask_once(self, deadline: float) -> Mapping[IPAddress, Told] | None:
        self._answer.unlink(missing_ok=True)
        if not self._child.send(self._signal_number()):
            return None
        while time.monotonic() < deadline and not self.is_stopped():
            with suppress(OSError):
                if (told := parse(self._answer.read_text())) is not None:
                    return told
            time.sleep(_PAUSE)
        return None

    def _signal_number(self) -> int:
        """The signal that asks for JSON: a realtime one, whose number differs between builds."""
        if not self._number:
            self._number = int(run(["keepalived", "--signum=JSON"]))
        return self._number
