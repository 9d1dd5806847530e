"""Announce by BGP: keep BIRD running with our configuration, and keep the routes it announces."""

from __future__ import annotations

import shutil
from collections.abc import Set
from ipaddress import ip_address
from pathlib import Path

from bascule.announcers.bgp.render import BgpOptions, render
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure
from bascule.model.reports import AnnouncerReport, SessionReport
from bascule.system.bird import BirdProtocol, BirdSocket
from bascule.system.blackhole_routes import BlackholeRoutes
from bascule.system.commands import run

_LAST = " as a last resort"


def _session(protocol: BirdProtocol, watched: Set[IPAddress]) -> SessionReport:
    state = protocol.details.get("BGP state", protocol.info)
    neighbor = ip_address(protocol.details["Neighbor address"])
    return SessionReport(neighbor=neighbor, state=state, up=state == "Established", bfd=neighbor in watched)


def _ordered(addresses: Set[IPAddress]) -> list[IPAddress]:
    return sorted(addresses, key=address_order)


class BgpAnnouncer:
    """BIRD runs as a daemon of its own, so sessions and announcements outlive this process."""

    name = "bgp"

    def __init__(self, options: BgpOptions, run_dir: Path, grace: float = 0.0) -> None:
        """`run_dir` holds this node's configuration, socket, pid file and log; no other BIRD may use it.

        `grace` is seconds, see the contract.
        """
        self._options = options
        self._run_dir = run_dir
        self._file = run_dir / "bird.conf"
        self._text = render(options, run_dir / "bird.log")
        self._socket = BirdSocket(run_dir / "bird.ctl")
        self._unread = False
        self._routes = BlackholeRoutes(table=options.table, owners=(options.owner, options.leaving))
        self._discouraged: Set[IPAddress] = frozenset()
        self.grace = grace

    def start(self) -> None:
        """Start BIRD, or find it running; the routes an earlier process left go on being announced."""
        if shutil.which("bird") is None:
            raise SystemFailure("BIRD is not installed: install the package bird2 (`make setup` does).")
        self._keep_bird()

    def discourage(self, addresses: Set[IPAddress]) -> None:
        """See the contract."""
        self._discouraged = addresses

    def enforce(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
        """Compare the routes the kernel has with `addresses`, and see that BIRD runs with our configuration.

        Raises SystemFailure, after all else is done, when there is no neighbor of an address's family: nobody would
        hear of it, so it gets no route and is not reported as announced.
        """
        unheard = {address for address in addresses if address.version not in self._options.families}
        # Routes first: a BIRD that is about to start must find the right ones.
        repairs = (*self._keep_routes(addresses - unheard), *self._keep_bird())
        if unheard:
            first = min(unheard, key=address_order)
            raise SystemFailure(
                f"{first} cannot be announced: no BGP neighbor is of IPv{first.version}. Add one to"
                " BASCULE_BGP_NEIGHBORS."
            )
        return repairs

    def _keep_routes(self, addresses: Set[IPAddress]) -> list[str]:
        present = self._routes.present()
        leaving, owner = self._options.leaving, self._options.owner
        wanted = {address: leaving if address in self._discouraged else owner for address in _ordered(addresses)}
        unwanted = {address: present[address] for address in _ordered(present.keys() - addresses)}
        differing = {address: owner for address, owner in wanted.items() if present.get(address) != owner}
        if unwanted:
            self._routes.remove(unwanted)
        if differing:
            self._routes.put(differing)
        return [
            *(f"withdrew {address}" for address in unwanted),
            *(f"announced {address}{_LAST if owner == leaving else ''}" for address, owner in differing.items()),
        ]

    def _keep_bird(self) -> list[str]:
        repairs = []
        if self._read() != self._text:
            self._write()
            self._unread = True
            repairs.append(f"wrote {self._file}")
        if not self._socket.alive():
            pid = self._run_dir / "bird.pid"
            run(["bird", "-c", str(self._file), "-s", str(self._run_dir / "bird.ctl"), "-P", str(pid)])
            repairs.append("started BIRD")
        elif self._unread:
            self._socket.ask("configure")
            repairs.append("had BIRD read its configuration")
        self._unread = False
        return repairs

    def _read(self) -> str | None:
        try:
            return self._file.read_text()
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError):
            return ""

    def _write(self) -> None:
        try:
            self._run_dir.mkdir(parents=True, exist_ok=True)
            half = self._file.with_suffix(".new")
            half.unlink(missing_ok=True)
            # It may hold a password.
            half.touch(mode=0o600)
            half.write_text(self._text)
            half.replace(self._file)
        except OSError as error:
            raise SystemFailure(
                f"Cannot write {self._file}: {error.strerror}. Is there space, are you root?"
            ) from error

    def observe(self) -> AnnouncerReport:
        """The routes really in the kernel, and the sessions as BIRD tells them; all are down while it is silent."""
        try:
            protocols, watched = self._socket.protocols(), self._socket.bfd_neighbors()
        except SystemFailure:
            protocols, watched = (), frozenset()
        sessions = tuple(_session(protocol, watched) for protocol in protocols if protocol.kind == "BGP")
        missing = {neighbor.address for neighbor in self._options.neighbors} - {each.neighbor for each in sessions}
        down = tuple(
            SessionReport(neighbor=address, state="BIRD does not answer", up=False, bfd=False)
            for address in sorted(missing, key=address_order)
        )
        return AnnouncerReport(announced=frozenset(self._routes.present()), sessions=sessions + down)

    def heard(self) -> None:
        """No lease is needed: any number of nodes may announce an address, and BFD withdraws one that is gone."""

    def close(self) -> None:
        """Nothing is held. BIRD goes on."""
