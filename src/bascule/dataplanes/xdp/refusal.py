"""Lets the kernel refuse what no backend serves: the VIPs on `lo`, and a table of nftables rules for them."""

from __future__ import annotations

import socket
from collections.abc import Set
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from bascule.dataplanes.xdp.render import FAMILY, TABLE, remove, render
from bascule.model.addresses import IPAddress, address_order
from bascule.model.errors import SystemFailure
from bascule.model.virtual_services import ServiceKey
from bascule.system.commands import run
from bascule.system.nftables import generation

# These mark the addresses that are ours, across restarts: others were put there by somebody else. IPv6 has no labels;
# a protocol (of our own choice) is what newer kernels have instead, from 5.18 on.
_LABEL = "lo:bascule"
_PROTOCOL = 0xBA
_FOREVER = 0xFFFFFFFF
_IFA_F_NODAD = 0x02
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
    ours: set[IPAddress] = set()
    others: set[IPAddress] = set()
    with IPRoute() as netlink:
        for message in netlink.get_addr(index=_LOOPBACK, family=socket.AF_INET):
            mine = message.get("label") == _LABEL
            (ours if mine else others).add(IPv4Address(message.get("local") or message.get("address")))
        for message in netlink.get_addr(index=_LOOPBACK, family=socket.AF_INET6):
            mine = message.get("proto") == _PROTOCOL
            (ours if mine else others).add(IPv6Address(message.get("address")))
    return frozenset(ours), frozenset(others)


def _change(command: Literal["add", "del"], addresses: Set[IPAddress]) -> tuple[str, ...]:
    if not addresses:
        return ()
    with IPRoute() as netlink:
        for address in sorted(addresses, key=address_order):
            try:
                netlink.addr(command, index=_LOOPBACK, address=str(address), **_marks(address))
            except NetlinkError as error:
                raise SystemFailure(f"Cannot {command} address {address} on lo: {error}. {_hint(address)}") from error
    words = "Added address {} to lo." if command == "add" else "Removed address {} from lo."
    return tuple(words.format(address) for address in sorted(addresses, key=address_order))


def _marks(address: IPAddress) -> dict[str, Any]:
    if isinstance(address, IPv4Address):
        return {"prefixlen": 32, "label": _LABEL}
    # Deprecated from the start: the node never chooses a VIP as the source of what it sends by itself. And of use at
    # once: nobody is asked whether another one has it, too.
    lifetimes = {"preferred_lft": 0, "valid_lft": _FOREVER}
    return {"prefixlen": 128, "proto": _PROTOCOL, "flags": _IFA_F_NODAD, **lifetimes}


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
