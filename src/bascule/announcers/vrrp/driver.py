"""Announce by VRRP: keep a keepalived running with our configuration, and its addresses where it says they are."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Mapping, Set
from pathlib import Path

from bascule.announcers.vrrp.daemon import VrrpDaemon
from bascule.announcers.vrrp.deadlines import Heartbeat, Lease
from bascule.announcers.vrrp.guard import Guard
from bascule.announcers.vrrp.held import HeldAddresses
from bascule.announcers.vrrp.plan import Instance, Plan, plan, sources
from bascule.announcers.vrrp.render import VrrpOptions, render
from bascule.announcers.vrrp.state import State, Told
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure
from bascule.model.reports import AnnouncerReport, VrrpReport

PASS_MOST = 60.0  # seconds; a data plane that waits for another process may take some
_RELOADED = 2.0  # seconds after which a keepalived that was told to read has read


class VrrpAnnouncer:
    """keepalived runs as a daemon of its own, so that addresses outlive this process, for a while."""

    name = "vrrp"

    def __init__(
        self,
        options: VrrpOptions,
        run_dir: Path,
        *,
        own_addresses: Callable[[], frozenset[IPAddress]],
        lease: Lease,
        hold: int = 20,
        pass_most: float = PASS_MOST,
    ) -> None:
        """`run_dir` is this driver's alone, and root's. Without an agent, keepalived gives the addresses up after half
        of `hold` seconds, and the kernel after all of them; and so when no pass of the agent came for `pass_most`
        seconds. `own_addresses` tells the machine's.
        """
        self._options, self._own_addresses, self._lease = options, own_addresses, lease
        self._heartbeat = Heartbeat(run_dir)
        self._daemon = VrrpDaemon(run_dir)
        self._held = HeldAddresses(options.interface)
        self._guard = Guard(self._daemon, self._held, self._heartbeat, hold=hold, pass_most=pass_most)
        self._own: Mapping[int, IPAddress] = {}
        # Whether what runs has read what is on disk: a process before us may have died in between.
        self._in_force = False

    def start(self) -> None:
        """See that it can run here, and guard what an earlier process left."""
        if shutil.which("keepalived") is None:
            raise SystemFailure("keepalived is not installed: install the package keepalived (`make setup` does).")
        if self._options.notify is not None:
            require_script(self._options.notify)
        self._own = sources(self._options, self._own_addresses())
        self._guard.start()

    def enforce(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
        """Take part in VRRP for exactly these; who is master is keepalived's to say.

        Raises SystemFailure, after all else is done, for what cannot be announced; and when there is no lease, in which
        case nothing is.
        """
        lapsed = self._lease.has_lapsed()
        wanted = plan(self._options, self._own, frozenset() if lapsed else addresses)
        with self._guard.lock:
            notes = [*self._guard.passed(), *self._held.answer_only_here()]
            notes += self._stop() if not wanted.instances else self._run(wanted)
            self._daemon.shorten_log()
        if lapsed and addresses:
            raise SystemFailure(
                f"The control plane has not spoken for {self._lease.seconds:g} s (BASCULE_LEASE): this node gave its"
                " VRRP addresses up. See that the orchestrator runs and reaches this agent."
            )
        if wanted.refusals:
            raise SystemFailure(" ".join(wanted.refusals))
        return tuple(notes)

    def observe(self) -> AnnouncerReport:
        """What keepalived tells of itself and what is on the interface: both must agree."""
        with self._guard.lock:
            configured = self._daemon.configured()
            told = (self._daemon.ask() if configured else None) or {}
            present = self._held.present() & configured
        return AnnouncerReport(
            announced=frozenset(each for each in configured if each in present or _waits(told.get(each))),
            vrrp=tuple(
                VrrpReport(address=address, router_id=each.router_id, state=each.state.name)
                for address, each in sorted(told.items(), key=lambda item: address_order(item[0]))
            ),
        )

    def heard(self) -> None:
        """The lease begins anew."""
        self._lease.renew()

    def close(self) -> None:
        """Guard no more. keepalived goes on, until its time is up."""
        self._guard.close()

    def _stop(self) -> list[str]:
        gone = self._daemon.configured()
        notes = ["stopped keepalived"] if self._daemon.stop() else []
        return [*notes, *self._held.remove(gone), *_withdrawn(gone)]

    def _run(self, wanted: Plan) -> list[str]:
        instances = {each.address: each for each in wanted.instances}
        before = self._daemon.configured()
        notes: list[str] = []
        text = render(self._options, wanted.instances, self._heartbeat.script)
        runs = self._daemon.is_running() and not self._daemon.is_stopped()
        if not runs:
            self._guard.fence("keepalived did not run")
        if self._daemon.text() != text:
            self._in_force = False
            self._guard.beat()  # writes the script that the text names
            self._daemon.write(text)
            notes += ["wrote keepalived's configuration"] if before == instances.keys() else []
        gone = before - instances.keys()
        try:
            if runs:
                self._reload(instances)
            else:
                notes += self._start()
        finally:
            # The file names them no more: nobody else would ever look for them.
            self._held.remove(gone)
        self._in_force = True
        return [*notes, *_withdrawn(gone), *_announced(instances.keys() - before)]

    def _start(self) -> list[str]:
        # Its script would fail at once, and it would begin as if there were no agent.
        self._guard.beat()
        self._daemon.start()
        if self._daemon.ask() is None:
            raise SystemFailure(f"keepalived does not answer: read {self._daemon.folder}/keepalived.log.")
        return ["started keepalived"]

    def _reload(self, instances: Mapping[IPAddress, Instance]) -> None:
        """Have the running one do what the file says; one that does not is ended, and the next pass starts another."""
        if not self._in_force:
            self._daemon.reload()
        if self._daemon.ask(instances.keys(), _RELOADED) is not None:
            return
        self._daemon.reload()  # the first may have come while it was reading
        if self._daemon.ask(instances.keys(), _RELOADED) is None:
            self._guard.fence("keepalived did not read its configuration")
            raise SystemFailure(
                f"keepalived did not read its configuration: read {self._daemon.folder}/keepalived.log."
            )


def require_script(path: Path) -> None:
    """Raises SystemFailure unless root alone can change what keepalived is to run as root."""
    try:
        found = path.stat()
    except OSError as error:
        raise SystemFailure(f"There is no script {path} ({error.strerror}): BASCULE_VRRP_NOTIFY names it.") from None
    others = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    if found.st_uid != 0 or others or not stat.S_ISREG(found.st_mode) or not os.access(path, os.X_OK):
        raise SystemFailure(
            f"{path} runs as root: it must be root's, executable, and nobody else's to write (chown root, chmod 755)."
        )


def _waits(told: Told | None) -> bool:
    """Whether it is ready to take over."""
    return told is not None and told.state in (State.INIT, State.BACKUP)


def _announced(addresses: Set[IPAddress]) -> list[str]:
    return [f"announced {address}" for address in sorted(addresses, key=address_order)]


def _withdrawn(addresses: Set[IPAddress]) -> list[str]:
    return [f"withdrew {address}" for address in sorted(addresses, key=address_order)]
