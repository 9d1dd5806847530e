"""One keepalived: started, told to read its configuration again, asked, stopped. It outlives this process.

It runs in the caller's network namespace, from where it checks instances, and writes IPVS in another. Stopped or
killed, it leaves IPVS as it is (`--dont-release-ipvs`): forwarding and connections go on.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from bascule.dataplanes.keepalived.render import Configuration
from bascule.dataplanes.keepalived.state import Running, parse
from bascule.model.errors import SystemFailure
from bascule.system.commands import run
from bascule.system.pid_files import PidFile

PATIENCE = 15.0  # seconds for an answer: a thousand instances take most of a second on a slow machine
_BEGIN = 5.0  # seconds after which one that was started is there
_QUESTION = 1.0  # seconds after which it is asked again
_TEST_MOST = 60.0  # seconds; ten thousand instances take three
_PAUSE = 0.01
_LOG_MOST = 1_000_000  # bytes; every question is a line
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


class Daemon:
    """The keepalived whose files are in one folder; no other may use it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "keepalived.conf"
        self._log = folder / "keepalived.log"
        self._parent = PidFile(folder / "keepalived.pid", str(self._file))
        self._checker = PidFile(folder / "checkers.pid", str(self._file))
        # keepalived writes its answer to its TMPDIR.
        self._answer = folder / "answers" / "keepalived_check.data"

    def keep(self, wanted: Configuration) -> tuple[tuple[str, ...], Running]:
        """See that it runs this configuration, and return what it says of itself, with a sentence per change.

        Raises SystemFailure when keepalived refuses the configuration; one that runs goes on with what it has.
        """
        notes = []
        known, runs = self._read() == wanted.text, self._parent.is_running()
        if not (known and runs):
            require_scripts(wanted)
        if not known:
            self._write(wanted.text)
        if not runs:
            self._start()
            notes.append(f"Started keepalived in {self._folder.name}.")
        running = self.ask()
        if running.name != wanted.name:
            self._parent.send(signal.SIGHUP)
            running = self.ask(lambda running: running.name == wanted.name)
            notes.append(f"Had keepalived in {self._folder.name} read its configuration.")
        self._shorten()
        return tuple(notes), running

    def ask(self, accept: Callable[[Running], bool] = lambda _: True) -> Running:
        """What it says of itself; asked again until the answer is accepted. Raises SystemFailure without an answer."""
        begun = time.monotonic()
        deadline = begun + PATIENCE
        while time.monotonic() < deadline:
            if time.monotonic() > begun + _BEGIN and not self._parent.is_running():
                raise SystemFailure(f"keepalived has ended: read {self._log}.")
            # A question that comes while it starts is lost.
            text = self._ask_once(min(deadline, time.monotonic() + _QUESTION))
            if text is not None and accept(running := parse(text)):
                return running
            time.sleep(_PAUSE)
        raise SystemFailure(f"keepalived does not answer within {PATIENCE:g} s: read {self._log}.")

    def stop(self) -> tuple[str, ...]:
        """End it; IPVS stays as it is. Returns a sentence if it ran."""
        found = [each for each in (self._parent, self._checker) if each.is_running()]
        for each in found:
            self._end(each)
        for file in (self._parent.path, self._checker.path, self._file):
            file.unlink(missing_ok=True)
        return (f"Stopped keepalived in {self._folder.name}.",) if found else ()

    def _start(self) -> None:
        # One whose parent was killed ends by itself, without touching IPVS; two would write the same table.
        self._end(self._checker)
        for file in (self._parent.path, self._checker.path):
            file.unlink(missing_ok=True)
        self._answer.parent.mkdir(parents=True, exist_ok=True)
        # In a session of its own, nobody's child. Debian's logs to syslog or to its output, which it would not flush.
        command = [
            "setsid",
            "--fork",
            "stdbuf",
            "--output=L",
            "keepalived",
            "--dont-fork",
            "--check",
            "--dont-release-ipvs",
        ]
        command += ["--use-file", str(self._file), "--pid", str(self._parent.path)]
        command += ["--checkers_pid", str(self._checker.path)]
        command += ["--log-console", "--log-detail", "--no-syslog"]
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

    def _read(self) -> str | None:
        try:
            return self._file.read_text()
        except (OSError, UnicodeDecodeError):
            return None

    def _write(self, text: str) -> None:
        """Put the file in place once keepalived itself finds no fault in it."""
        half = self._file.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            half.write_text(text)
            run(["keepalived", "--config-test", "--use-file", str(half)], timeout=_TEST_MOST)
            half.replace(self._file)
        except OSError as error:
            raise SystemFailure(f"Cannot write {half}: {error.strerror}. Is there space, are you root?") from error

    def _ask_once(self, deadline: float) -> str | None:
        self._answer.unlink(missing_ok=True)
        if not self._checker.send(signal.SIGUSR1):
            return None
        while time.monotonic() < deadline and self._checker.is_running():
            if self._answer.exists() and not self._is_writing():
                return self._answer.read_text()
            time.sleep(_PAUSE)
        return None

    def _is_writing(self) -> bool:
        with suppress(OSError, ValueError):
            handles = Path("/proc", self._checker.path.read_text().strip(), "fd")
            return any(_target(each) == str(self._answer) for each in handles.iterdir())
        return False

    def _end(self, file: PidFile) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            file.end(number, PATIENCE / 2)

    def _shorten(self) -> None:
        if self._log.stat().st_size > _LOG_MOST:
            os.truncate(self._log, 0)


def require_scripts(wanted: Configuration) -> None:
    """Raises SystemFailure for a script that is missing: keepalived would leave the check out, without a word."""
    for script in sorted(wanted.scripts):
        if not os.access(script, os.X_OK):
            raise SystemFailure(f"There is no script {script}: install it on every LB node.")


def _target(link: Path) -> str:
    with suppress(OSError):
        return str(link.readlink())
    return ""
