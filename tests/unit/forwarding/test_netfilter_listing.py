"""What nft lists, read and compared."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

from bascule.forwarding.netfilter.listing import Contents, counters, desired, differences, read
from bascule.model.configurations import ForwardingRule
from bascule.model.strategies import Protocol

INSTANCE, VIP = IPv4Address("10.128.0.11"), IPv4Address("203.0.113.10")
TABLE = "ip bascule_forwarding"
MARK, ZONE = 0x0A80000B, 11
WEB = ForwardingRule(VIP, Protocol.TCP, 80, INSTANCE, 8080)
TARGET = [{"concat": [MARK, str(VIP), "tcp", 80]}, {"concat": [str(INSTANCE), 8080]}]


def listed(*targets: Any, handle: int = 1, packets: int = 0) -> str:
    """A listing as nft prints it, of a table with one instance."""
    items: list[Any] = [
        {"metainfo": {"version": "1.0.6"}},
        {"counter": {"name": "translated", "handle": handle, "packets": packets, "bytes": 9 * packets}},
        {"set": {"name": "instances", "elem": [MARK]}},
        {"set": {"name": "addresses", "elem": [str(VIP)]}},
        {"map": {"name": "zones", "elem": [[MARK, ZONE]]}},
        {"map": {"name": "targets", **({"elem": [*targets]} if targets else {})}},
        {"rule": {"chain": "guard", "handle": handle, "expr": [{"drop": None}]}},
    ]
    return json.dumps({"nftables": items})


SHAPE = read(listed()).shape
WANTED = desired({WEB}, {INSTANCE}, SHAPE)


def test_what_is_listed_is_what_is_desired() -> None:
    """Handles and counters make no difference."""
    assert read(listed(TARGET)) == read(listed(TARGET, handle=7, packets=5)) == WANTED
    assert differences(TABLE, read(listed(TARGET)), WANTED) == ()


def test_every_difference_is_a_sentence() -> None:
    """Rules are named, a changed target port once; without the table that is said first."""
    name = "the rule from tcp 203.0.113.10:80 to 10.128.0.11"
    moved = replace(WANTED, rules=frozenset({replace(WEB, target_port=9)}))
    assert differences(TABLE, read(listed()), WANTED) == (f"Wrote {name}:8080.",)
    assert differences(TABLE, WANTED, desired(set(), {INSTANCE}, SHAPE)) == (f"Deleted {name}:8080.",)
    assert differences(TABLE, WANTED, moved) == (f"Wrote {name}:9.",)
    assert differences(TABLE, read(""), WANTED) == (
        "Wrote the nftables table ip bascule_forwarding.",
        f"Wrote {name}:8080.",
    )


def test_strange_elements_are_a_difference() -> None:
    """An element that no rule of ours can look like does not hide: sent astray, of another protocol, or no pair."""
    for strange in (
        [TARGET[0], {"concat": ["10.128.0.99", 8080]}],
        [{"concat": [MARK, str(VIP), "sctp", 80]}, TARGET[1]],
        MARK,
    ):
        actual = read(listed(TARGET, strange))
        assert actual.rules == {WEB}
        assert differences(TABLE, actual, WANTED) == ("Repaired the sets of the nftables table ip bascule_forwarding.",)


def test_counters_are_read_by_name() -> None:
    """Packets count."""
    assert counters(listed(packets=5)) == {"translated": 5}
    assert read("") == Contents()
