"""Lets the kernel refuse what no backend serves: the VIPs on `lo`, and a table of nftables rules for them."""

from __future__ import annotations

from collections.abc import Set
from ipaddress import IPv4Address
from typing import Literal

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.dataplanes.xdp.render import FAMILY, TABLE, remove, render
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure
from bascule.model.virtual_services import ServiceKey
from bascule.system.commands import run
from bascule.system.marked_addresses import Mark
from bascule.system.nftables import generation

# The addresses that are ours: others were put there by somebody else.
_MARK = Mark("lo:bascule", 0xBA)
_LOOPBACK = 1


class Refusal:
    """Keeps the addresses and the rules in the calling thread's network namespace."""

    def __init__(self) -> None:
        self._script = ""
        self._listing = ""
        self._generation = -1

    def enforce(self, addresses: Set[IPAddress], served: Set[ServiceKey]) -> tuple[str, ...]:
        """Make exactly these addresses ours, refusing what is not served. Returns a sentence per change."""
        ours, others = addresses_on_loopback()
        # In this order the node's own daemons are never within reach on a VIP.
        removed = _change("del", ours - addresses)
        rules = self._enforce_rules(render(addresses, served) if addresses else remove())
        return (*removed, *rules, *_change("add", addresses - ours - others))

    def _enforce_rules(self, script: str) -> tuple[str, ...]:
        if script == self._script and generation() == self._generation:
            return ()
        before = _listing()
        if script != self._script or before != self._listing:
            run(["nft", "-f", "-"], stdin=script)
        # In this order: a change between the two calls is then seen next time.
        self._generation = generation()
        self._script, self._listing = script, _listing()
        return (f"Wrote the nftables table {FAMILY} {TABLE}.",) if self._listing != before else ()


def addresses_on_loopback() -> tuple[frozenset[IPAddress], frozenset[IPAddress]]:
    """The addresses on `lo` that are ours, and those of others."""
    with IPRoute() as netlink:
        return _MARK.read(netlink, _LOOPBACK)


def _change(command: Literal["add", "del"], addresses: Set[IPAddress]) -> tuple[str, ...]:
    if not addresses:
        return ()
    with IPRoute() as netlink:
        for address in sorted(addresses, key=address_order):
            try:
                _MARK.change(netlink, command, _LOOPBACK, address)
            except NetlinkError as error:
                raise SystemFailure(f"Cannot {command} address {address} on lo: {error}. {_hint(address)}") from error
    words = "Added address {} to lo." if command == "add" else "Removed address {} from lo."
    return tuple(words.format(address) for address in sorted(addresses, key=address_order))


def _hint(address: IPAddress) -> str:
    if isinstance(address, IPv4Address):
        return "Run as root."
    return "Run as root, and with net.ipv6.conf.lo.disable_ipv6 = 0."


def _listing() -> str:
    """The table as the kernel has it, without counters; empty when it is gone."""
    try:
        return run(["nft", "--stateless", "list", "table", FAMILY, TABLE])
    except SystemFailure:
        return ""
