"""The VIPs on an interface of the node: IPVS sees only what the kernel takes for its own."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager
from typing import Any, Literal

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure
from bascule.system.marked_addresses import Mark

# The addresses that are ours: the interface may be one that others use too. The number is that of our routes as well.
_MARK = Mark("bascule-vip", 79)
_ALREADY_GONE = 99  # EADDRNOTAVAIL
_UP = 1  # IFF_UP


class Addresses:
    """Those on the named interface, in the calling thread's network namespace. Missing, it becomes a dummy link."""

    def __init__(self, interface: str) -> None:
        self._interface = interface

    def present(self) -> frozenset[IPAddress]:
        """The addresses on the interface that are ours; none while it is down."""
        with _netlink("list addresses") as netlink:
            link = self._find(netlink)
            if link is None or not link["flags"] & _UP:
                return frozenset()
            return _ours(netlink, link["index"])

    def prepare(self) -> tuple[str, ...]:
        """See that the interface is there and up. Returns a sentence per change."""
        sentences: list[str] = []
        with _netlink(f"create the dummy link {self._interface}") as netlink:
            if self._find(netlink) is None:
                netlink.link("add", ifname=self._interface, kind="dummy")
                sentences.append(f"Created the dummy link {self._interface}.")
            link = self._find(netlink)
            if link is not None and not link["flags"] & _UP:
                netlink.link("set", index=link["index"], state="up")
                sentences.append(f"Set {self._interface} up.")
        return tuple(sentences)

    def add(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
        """Add what is missing."""
        return self._change("add", addresses)

    def remove(self, keep: Set[IPAddress]) -> tuple[str, ...]:
        """Remove all of ours but these."""
        return self._change("del", keep)

    def _change(self, command: Literal["add", "del"], addresses: Set[IPAddress]) -> tuple[str, ...]:
        with _netlink(f"{command} an address on {self._interface}") as netlink:
            link = self._find(netlink)
            if link is None:
                raise SystemFailure(f"The interface {self._interface} has just gone: who removes it?")
            index = link["index"]
            ours = _ours(netlink, index)
            changing = sorted(addresses - ours if command == "add" else ours - addresses, key=address_order)
            for address in changing:
                _one(netlink, command, index, address)
            if command == "add" and changing and (strangers := addresses - _ours(netlink, index)):
                raise SystemFailure(
                    f"The kernel does not remember that {min(strangers, key=address_order)} is ours: IPv6 addresses"
                    " need Linux 5.18 or later; and nobody else may hold them on this node."
                )
        words = "Added address {} to {}." if command == "add" else "Removed address {} from {}."
        return tuple(words.format(address, self._interface) for address in changing)

    def _find(self, netlink: Any) -> Any:
        indexes = netlink.link_lookup(ifname=self._interface)
        return netlink.get_links(indexes[0])[0] if indexes else None


def _ours(netlink: Any, index: int) -> frozenset[IPAddress]:
    ours, _ = _MARK.read(netlink, index)
    return ours


def _one(netlink: Any, command: str, index: int, address: IPAddress) -> None:
    try:
        _MARK.change(netlink, command, index, address)
    except NetlinkError as error:
        if not (command == "del" and error.code == _ALREADY_GONE):
            raise


@contextmanager
def _netlink(purpose: str) -> Iterator[Any]:
    try:
        with IPRoute() as netlink:
            yield netlink
    except (NetlinkError, OSError) as error:
        raise SystemFailure(f"The kernel refused to {purpose}: {error}. Is this process root?") from error
