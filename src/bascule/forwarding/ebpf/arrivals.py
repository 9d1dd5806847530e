"""Instances that are about to come are kept from speaking before their replies can be translated.

An instance that moves here may speak first: it sends again what it said last. Until a program is on its interface, and
until the first packet of a connection came through the tunnel, that would leave with the instance's own address, and
the client would reset the connection. So packets of its services' ports that begin no connection are dropped, and TCP
sends them again: all of them while the instance is *awaited*, until the program is on its interface; then, while it is
*settling*, those whose receiver was not heard of since. Who is heard of by the tunnel teaches the program its
connection, whose replies carry the VIP; who is heard of directly is answered directly. Who was heard of before the
program was there would be answered by no VIP.

The kernel forgets each entry by itself, so a process that dies leaves nothing behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Set

from bascule.model.addresses import IPAddress
from bascule.model.configurations import ForwardingRule
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol
from bascule.system.commands import run

# Seconds. A client that sends again waits twice as long each time: after a second's silence at most another.
SETTLING = 3.0
_KEPT = 10.0
_REFRESH = 3.0
_TABLE = "inet bascule-arrivals"
_FAMILY = """\
add set {table} awaited{version} {{ type {kind} . inet_service; flags timeout; }}
add set {table} settling{version} {{ type {kind} . inet_service; flags timeout; }}
add set {table} heard{version} {{ type {kind} . inet_service . {kind} . inet_service; \
flags dynamic,timeout; timeout 10s; size 65535; }}
flush set {table} awaited{version}
flush set {table} settling{version}
add rule {table} forward {ip} daddr . tcp dport @settling{version} \
update @heard{version} {{ {ip} saddr . tcp sport . {ip} daddr . tcp dport }}
add rule {table} forward tcp flags & syn == 0 {ip} saddr . tcp sport @awaited{version} drop
add rule {table} forward tcp flags & syn == 0 {ip} saddr . tcp sport @settling{version} \
{ip} daddr . tcp dport . {ip} saddr . tcp sport != @heard{version} drop
"""
_FRAME = f"""\
add table {_TABLE}
add chain {_TABLE} forward {{ type filter hook forward priority -310; policy accept; }}
flush chain {_TABLE} forward
""" + "".join(
    _FAMILY.format(table=_TABLE, version=version, kind=kind, ip=ip)
    for version, kind, ip in ((4, "ipv4_addr", "ip"), (6, "ipv6_addr", "ip6"))
)
Place = tuple[IPAddress, int]


class Arrivals:
    """What is held back. `tell` hands nftables a script, `now` is a clock in seconds that never jumps."""

    def __init__(self, tell: Callable[[str], None] | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._tell, self._now = tell or _tell_nftables, now
        self._awaited: frozenset[Place] = frozenset()
        self._settling: dict[Place, float] = {}
        self._written: tuple[Set[Place], Set[Place]] = (frozenset(), frozenset())
        self._written_at = 0.0

    def enforce(self, rules: Iterable[ForwardingRule], here: Set[IPAddress]) -> None:
        """Hold back whoever has rules and is not `here`, and a moment longer who has just come.

        Where nftables is missing nobody is held back: it is a courtesy, not a condition.
        """
        now = self._now()
        places = {(rule.instance, rule.target_port) for rule in rules if rule.protocol is Protocol.TCP}
        awaited = frozenset(place for place in places if place[0] not in here)
        self._settling |= dict.fromkeys((self._awaited & places) - awaited, now + SETTLING)
        self._settling = {place: end for place, end in self._settling.items() if end > now and place not in awaited}
        self._awaited = awaited
        wanted = (awaited, frozenset(self._settling))
        if wanted != self._written or (awaited and now - self._written_at > _REFRESH):
            settling = {place: end - now for place, end in self._settling.items()}
            if self._write(dict.fromkeys(awaited, _KEPT), settling):
                self._written, self._written_at = wanted, now

    def _write(self, awaited: Mapping[Place, float], settling: Mapping[Place, float]) -> bool:
        try:
            self._tell(script(awaited, settling))
        except SystemFailure:
            return False
        return True


def script(awaited: Mapping[Place, float], settling: Mapping[Place, float]) -> str:
    """Whom nftables shall hold back, each for so many seconds, in one transaction. Nothing at all when it is nobody."""
    if not awaited and not settling:
        return f"add table {_TABLE}\ndelete table {_TABLE}\n"
    return _FRAME + _elements("awaited", awaited) + _elements("settling", settling)


def _elements(name: str, held: Mapping[Place, float]) -> str:
    milliseconds = {place: max(1, round(left * 1000)) for place, left in held.items()}
    return "".join(
        f"add element {_TABLE} {name}{address.version} {{ {address} . {port} timeout {left}ms }}\n"
        for (address, port), left in milliseconds.items()
    )


def _tell_nftables(words: str) -> None:
    run(["nft", "-f", "-"], stdin=words)
