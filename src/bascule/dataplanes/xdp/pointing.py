"""Keeps the backends' entries pointed at the right next hop: at every event of the kernel, and a little beside."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from pyroute2.netlink.exceptions import NetlinkError

from bascule.dataplanes.xdp.backends import BackendTable
from bascule.system.neighbours import NextHops
from bascule.system.route_watch import RouteWatch

# Frames that XDP sends do not tell the kernel that a neighbour is in use: ask for it, or it is forgotten.
_PROBE_INTERVAL = 15.0
# Should an event ever be missed, the routes are read again after this many seconds.
_RESYNC_INTERVAL = 60.0


class Pointing:
    """`lock` guards the table of backends: events arrive in a thread of their own."""

    def __init__(self, backends: BackendTable, lock: threading.Lock) -> None:
        self._backends, self._lock = backends, lock
        self._hops = NextHops()
        self._receiving: tuple[int, ...] = ()
        self._probed_at = self._synced_at = time.monotonic()
        self._is_stale = False
        self._watch = RouteWatch(self._on_event)

    def refresh(self, *, routes: bool, receiving: Iterable[int]) -> None:
        """Resolve all backends and write what changed; with `routes`, ask for the routes again, too."""
        self._receiving = tuple(receiving)
        self._resolve(routes=routes)

    def look_after(self, *, receiving: Iterable[int]) -> None:
        """Called every second: ask for neighbours, and catch up with an event that could not be handled."""
        now = time.monotonic()
        if self._is_stale or tuple(receiving) != self._receiving or now - self._synced_at >= _RESYNC_INTERVAL:
            self.refresh(routes=True, receiving=receiving)
            self._is_stale, self._synced_at = False, now
        if self._backends.unresolved() or now - self._probed_at >= _PROBE_INTERVAL:
            self._hops.provoke()
            self._probed_at = now

    def close(self) -> None:
        """Stop listening."""
        self._watch.close()

    def _on_event(self, routes: bool) -> None:
        with self._lock:
            try:
                self._resolve(routes=routes)
            except (NetlinkError, OSError):
                self._is_stale = True

    def _resolve(self, *, routes: bool) -> None:
        if routes:
            self._hops.forget_routes()
        hops = self._hops.resolve(self._backends.addresses())
        self._backends.point(hops, self._receiving, self._hops.down)
