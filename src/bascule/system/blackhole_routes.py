"""Blackhole routes of one routing table and a few owners (the kernel's `protocol` number), by netlink.

pyroute2's calls run an event loop of their own: call from a thread that runs none.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.model.addresses import IPAddress
from bascule.model.errors import SystemFailure

_ALREADY_GONE = 3  # ESRCH
_BLACKHOLE = 6  # RTN_BLACKHOLE
_WHOLE = {socket.AF_INET: 32, socket.AF_INET6: 128}


class BlackholeRoutes:
    """The `/32` and `/128` blackhole routes in `table` with our `owners` numbers. Others' routes are not touched."""

    def __init__(self, *, table: int, owners: tuple[int, ...]) -> None:
        self._table = table
        self._owners = owners

    def present(self) -> Mapping[IPAddress, int]:
        """The addresses the kernel has such a route for, each with its owner."""
        with _netlink("list routes") as netlink:
            return {
                ip_address(route.get_attr("RTA_DST")): route["proto"]
                for family, whole in _WHOLE.items()
                for route in netlink.get_routes(family=family, table=self._table)
                # A kernel without IPv6 answers for every family that it has.
                if (route["family"], route["dst_len"], route["type"]) == (family, whole, _BLACKHOLE)
                and route["proto"] in self._owners
            }

    def put(self, addresses: Mapping[IPAddress, int]) -> None:
        """Add, each with its owner, replacing whatever route of that destination is in the table."""
        with _netlink("add a blackhole route") as netlink:
            for address, owner in addresses.items():
                netlink.route("replace", **self._route(address, owner))

    def remove(self, addresses: Mapping[IPAddress, int]) -> None:
        """Remove, each of its owner; what is gone already is fine."""
        with _netlink("remove a blackhole route") as netlink:
            for address, owner in addresses.items():
                try:
                    netlink.route("del", **self._route(address, owner))
                except NetlinkError as error:
                    if error.code != _ALREADY_GONE:
                        raise

    def _route(self, address: IPAddress, owner: int) -> dict[str, object]:
        return {
            "dst": f"{address}/{address.max_prefixlen}",
            "table": self._table,
            "proto": owner,
            "type": "blackhole",
        }


@contextmanager
def _netlink(purpose: str) -> Iterator[Any]:
    try:
        with IPRoute(strict_check=True) as netlink:
            yield netlink
    except (NetlinkError, OSError) as error:
        raise SystemFailure(f"The kernel refused to {purpose}: {error}. Is this process root?") from error
