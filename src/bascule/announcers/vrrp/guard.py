"""Sees to it that this node answers for an address only while its keepalived lives and says that it is master.

A keepalived that is killed or frozen says nothing more, so a peer takes over; but its addresses stay on the interface,
and two nodes answer. The guard looks ten times a second, which is sooner than any peer takes over.
"""

from __future__ import annotations

import threading
import time

import structlog

from bascule.announcers.vrrp.daemon import VrrpDaemon
from bascule.announcers.vrrp.deadlines import Heartbeat
from bascule.announcers.vrrp.held import HeldAddresses
from bascule.announcers.vrrp.state import State, Told
from bascule.model.errors import BasculeError

LOOK = 0.1  # seconds between two looks
_RENEW = 1.0  # seconds between two renewals of lifetimes

log = structlog.stdlib.get_logger(__name__)


class Guard:
    """Runs in a thread, in the network namespace of whoever starts it. `lock` is held while it looks."""

    def __init__(
        self, daemon: VrrpDaemon, held: HeldAddresses, heartbeat: Heartbeat, *, hold: int, pass_most: float
    ) -> None:
        """`hold` is seconds: so long the kernel keeps an address that nobody renews; keepalived half as long.

        An agent from which no pass came for `pass_most` seconds counts as dead, although its guard lives.
        """
        self._daemon, self._held, self._heartbeat = daemon, held, heartbeat
        self._hold, self._pass_most = hold, pass_most
        self.lock = threading.RLock()
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None
        self._renewed = float("-inf")
        self._passed = time.monotonic()
        self._said: str | None = None
        self._fenced: list[str] = []

    def start(self) -> None:
        """Begin to look, unless it does."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="vrrp-guard", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Look no more. What is there is there for `hold` seconds, if nobody comes and looks again."""
        self._ending.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def passed(self) -> tuple[str, ...]:
        """A pass of the agent came by. Returns what was done since the last one, a sentence each."""
        self._passed = time.monotonic()
        done, self._fenced = tuple(self._fenced), []
        return done

    def beat(self) -> None:
        """Tell keepalived that an agent is here."""
        self._heartbeat.beat(self._hold / 2)

    def look(self) -> None:
        """One look. Raises BasculeError when the machine refuses."""
        with self.lock:
            if self._daemon.text() is None:
                return
            if self._daemon.is_stopped():
                self.fence("keepalived was frozen")
            elif not self._daemon.is_running():
                self.fence("keepalived was dead")
            elif time.monotonic() - self._passed < self._pass_most and time.monotonic() - self._renewed >= _RENEW:
                self._renewed = time.monotonic()
                self.beat()
                if not self.renew():
                    self.renew()

    def fence(self, why: str) -> None:
        """Kill what is left of keepalived and take its addresses away; the agent's next pass starts another."""
        self._daemon.kill()
        for sentence in self._held.remove(self._daemon.configured()):
            self._fenced.append(f"{sentence[:-1]}: {why}.")
            log.warning("fenced", reason=self._fenced[-1])

    def renew(self) -> bool:
        """Give the addresses of a master their time, and take away those of none. False: look again at once.

        keepalived may give one up between our question and our renewal, which would bring it back: hence the second
        question. One that nobody was master of before or after is nobody's.
        """
        before = self._daemon.ask()
        if before is None:
            self.fence("keepalived did not answer")
            return True
        present = self._held.present() & self._daemon.configured()
        masters = {address for address in present if _is_master(before.get(address))}
        self._held.renew(masters, self._hold)
        after = self._daemon.ask() if present else before
        if after is None:
            return False
        for address in sorted(present - masters, key=str):
            if not _is_master(after.get(address)) and before.get(address) == after.get(address):
                self._fenced += self._held.remove({address})
        return all(_is_master(after.get(address)) for address in masters)

    def _run(self) -> None:
        while not self._ending.wait(LOOK):
            try:
                self.look()
                self._say(None)
            except BasculeError as error:
                self._say(error.sentence)
            except Exception as error:  # noqa: BLE001  a guard that ends guards nothing
                self._say(f"{type(error).__name__}: {error}")

    def _say(self, problem: str | None) -> None:
        if problem not in (None, self._said):
            log.error("cannot guard addresses", reason=problem)
        self._said = problem


def _is_master(told: Told | None) -> bool:
    return told is not None and told.state is State.MASTER
