"""The addresses on the interface, in the calling thread's network namespace, and how long the kernel keeps them.

The kernel takes an address away by itself when its valid lifetime ends, of IPv4 too (ip-address(8), valid_lft). So an
address whose keepalived and whose agent are both gone does not stay.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Set
from contextlib import contextmanager, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure

_GONE = {errno.EADDRNOTAVAIL, errno.ENODEV}
_NO_DETECTION = 0x2  # IFA_F_NODAD
_ONLY_HERE = "1"


class HeldAddresses:
    """The /32 and /128 addresses of one interface; others are never looked at."""

    def __init__(self, interface: str) -> None:
        self._interface = interface

    def present(self) -> frozenset[IPAddress]:
        """Those that are there now. Raises SystemFailure."""
        with self._netlink() as (netlink, index):
            found = netlink.get_addr(index=index)
            return frozenset(
                ip_address(each.get("local") or each.get("address"))
                for each in found
                if each["prefixlen"] == (32 if each["family"] == 2 else 128)
            )

    def renew(self, addresses: Set[IPAddress], lifetime: int) -> None:
        """Give them so many seconds from now. Raises SystemFailure."""
        if not addresses:
            return
        with self._netlink() as (netlink, index):
            for address in addresses:
                with _unless_gone():
                    netlink.addr("replace", index=index, **_described(address, lifetime))

    def remove(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
        """Take them away. Raises SystemFailure. Returns a sentence for each that was there."""
        there = sorted(addresses & self.present(), key=address_order)
        if there:
            with self._netlink() as (netlink, index):
                for address in there:
                    with _unless_gone():
                        whole = address.max_prefixlen
                        netlink.addr("del", index=index, address=str(address), prefixlen=whole)
        return tuple(f"Took {address} off {self._interface}." for address in there)

    def answer_only_here(self) -> tuple[str, ...]:
        """Have the interface answer ARP for its own addresses alone.

        Data planes have the VIP on another interface, of a backup too, and Linux answers for those as well. Neighbour
        discovery does not.
        """
        file = Path("/proc/sys/net/ipv4/conf", self._interface, "arp_ignore")
        try:
            if file.read_text().strip() not in {"0"}:
                return ()
            file.write_text(_ONLY_HERE)
        except OSError as error:
            raise SystemFailure(
                f"Cannot set {file}: {error.strerror}. Is there an interface {self._interface}, are you root?"
            ) from error
        return (f"Set arp_ignore of {self._interface} to {_ONLY_HERE}.",)

    @contextmanager
    def _netlink(self) -> Iterator[tuple[Any, int]]:
        try:
            with IPRoute() as netlink:
                found = netlink.link_lookup(ifname=self._interface)
                if not found:
                    raise SystemFailure(f"There is no interface {self._interface}: set BASCULE_VRRP_INTERFACE.")
                yield netlink, found[0]
        except (NetlinkError, OSError) as error:
            raise SystemFailure(f"The kernel refused a netlink request: {error}. Is this process root?") from error


def _described(address: IPAddress, lifetime: int) -> dict[str, object]:
    settings: dict[str, object] = {"address": str(address), "valid_lft": lifetime}
    if address.version == 4:
        return {**settings, "prefixlen": 32, "preferred_lft": lifetime}
    # As keepalived adds it: not asked for on the link first, and not to be a source of the node's own packets.
    return {**settings, "prefixlen": 128, "preferred_lft": 0, "flags": _NO_DETECTION}


@contextmanager
def _unless_gone() -> Iterator[None]:
    with suppress(_Gone):
        try:
            yield
        except NetlinkError as error:
            raise (_Gone if error.code in _GONE else error) from error


class _Gone(Exception):
    """Somebody else was faster."""
