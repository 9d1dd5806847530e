"""Instances that are about to come are kept from speaking before their replies can be translated.

An instance that moves here may speak first: it sends again what it said last. Until a program is on its interface, and
until the first packet of a connection came through the tunnel, that would leave with the instance's own address, and
the client would reset the connection. So packets of its services' ports that begin no connection are dropped until
shortly after it came: TCP sends them again. Translated replies carry the VIP and pass.

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

# Seconds. Clients that were heard of within `SETTLING` taught the program their connections by then.
SETTLING = 0.3
_KEPT = 10.0
_REFRESH = 3.0
_TABLE = "inet bascule-arrivals"
_FRAME = f"""\
add table {_TABLE}
delete table {_TABLE}
table {_TABLE} {{
  set awaited4 {{ type ipv4_addr . inet_service; flags timeout; }}
  set awaited6 {{ type ipv6_addr . inet_service; flags timeout; }}
  chain forward {{
    type filter hook forward priority -310; policy accept;
    tcp flags & syn == 0 ip saddr . tcp sport @awaited4 drop
    tcp flags & syn == 0 ip6 saddr . tcp sport @awaited6 drop
  }}
}}
"""
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
            held = dict.fromkeys(awaited, _KEPT) | {place: end - now for place, end in self._settling.items()}
            if self._write(held):
                self._written, self._written_at = wanted, now

    def _write(self, held: Mapping[Place, float]) -> bool:
        try:
            self._tell(script(held))
        except SystemFailure:
            return False
        return True


def script(held: Mapping[Place, float]) -> str:
    """What nftables shall hold back, each for so many seconds, in one transaction. Nothing at all when it is nobody."""
    if not held:
        return f"add table {_TABLE}\ndelete table {_TABLE}\n"
    return _FRAME + "".join(_element(address, port, left) for (address, port), left in held.items())


def _element(address: IPAddress, port: int, left: float) -> str:
    milliseconds = max(1, round(left * 1000))
    return f"add element {_TABLE} awaited{address.version} {{ {address} . {port} timeout {milliseconds}ms }}\n"


def _tell_nftables(words: str) -> None:
    run(["nft", "-f", "-"], stdin=words)
