"""Blackhole routes of one routing table and one owner (the kernel's `protocol` number), by netlink.

pyroute2's calls run an event loop of their own: call from a thread that runs none.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure

_ALREADY_GONE = 3  # ESRCH


class BlackholeRoutes:
    """The `/32` blackhole routes in `table` that carry our `owner` number. Others' routes are not touched."""

    def __init__(self, *, table: int, owner: int) -> None:
        self._table = table
        self._owner = owner

    def present(self) -> frozenset[IPAddress]:
        """The addresses the kernel has such a route for."""
        with _netlink("list routes") as netlink:
            return frozenset(
                IPv4Address(route.get_attr("RTA_DST"))
                for route in netlink.get_routes(family=2, table=self._table, proto=self._owner)
                if route["dst_len"] == 32 and route["type"] == 6  # RTN_BLACKHOLE
            )

    def add(self, addresses: Iterable[IPAddress]) -> None:
        """Add, replacing whatever route of that destination is in the table."""
        with _netlink("add a blackhole route") as netlink:
            for address in addresses:
                netlink.route("replace", **self._route(address))

    def remove(self, addresses: Iterable[IPAddress]) -> None:
        """Remove; what is gone already is fine."""
        with _netlink("remove a blackhole route") as netlink:
            for address in addresses:
                try:
                    netlink.route("del", **self._route(address))
                except NetlinkError as error:
                    if error.code != _ALREADY_GONE:
                        raise

    def _route(self, address: IPAddress) -> dict[str, object]:
        return {"dst": f"{address}/32", "table": self._table, "proto": self._owner, "type": "blackhole"}


@contextmanager
def _netlink(purpose: str) -> Iterator[Any]:
    try:
        with IPRoute(strict_check=True) as netlink:
            yield netlink
    except (NetlinkError, OSError) as error:
        raise SystemFailure(f"The kernel refused to {purpose}: {error}. Is this process root?") from error
