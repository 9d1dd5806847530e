"""The nftables rules that refuse what no backend serves. Pure; checked by `nft -c` in the tests."""

from __future__ import annotations

from collections.abc import Iterable

from bascule.model.addresses import IPAddress, address_order
from bascule.model.virtual_services import ServiceKey

FAMILY, TABLE = "inet", "bascule_xdp"

_RULES = """\
\tchain input {
\t\ttype filter hook input priority filter - 10; policy accept;
\t\tip daddr . meta l4proto . th dport @served counter drop
\t\tip daddr @addresses icmp type echo-request accept
\t\tip daddr @addresses ip protocol icmp drop
\t\tip daddr @addresses meta l4proto tcp counter reject with tcp reset
\t\tip daddr @addresses counter reject with icmp port-unreachable
\t\tip6 daddr . meta l4proto . th dport @served_v6 counter drop
\t\tip6 daddr @addresses_v6 icmpv6 type { echo-request, 133-137 } accept
\t\tip6 daddr @addresses_v6 meta l4proto ipv6-icmp drop
\t\tip6 daddr @addresses_v6 exthdr frag exists counter drop
\t\tip6 daddr @addresses_v6 meta l4proto tcp counter reject with tcp reset
\t\tip6 daddr @addresses_v6 counter reject with icmpv6 port-unreachable
\t}
"""


def render(addresses: Iterable[IPAddress], served: Iterable[ServiceKey]) -> str:
    """A script for `nft -f -` that replaces the table in one transaction.

    Packets of `served` services reach the kernel only while the XDP program is missing, or as fragments: they are
    dropped, because a reset would end connections that a retransmission can save. Everything else for one of the
    `addresses` is refused, except ping. So the node's own daemons are out of reach on them. Neighbour discovery
    (ICMPv6 133 to 137) is never touched. IPv6 fragments come here before the kernel puts them together, so that only
    the first has ports: they are dropped, whosever they are.
    """
    held, keys = sorted(addresses, key=address_order), sorted(served)
    return (
        f"table {FAMILY} {TABLE}\n"
        f"delete table {FAMILY} {TABLE}\n"
        f"table {FAMILY} {TABLE} {{\n" + _sets("", 4, held, keys) + _sets("_v6", 6, held, keys) + _RULES + "}\n"
    )


def remove() -> str:
    """A script that removes the table, whether it is there or not."""
    return f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def _sets(suffix: str, version: int, addresses: Iterable[IPAddress], served: Iterable[ServiceKey]) -> str:
    kind = f"ipv{version}_addr"
    held = (str(address) for address in addresses if address.version == version)
    services = (f"{key.address} . {key.protocol} . {key.port}" for key in served if key.address.version == version)
    return _set(f"addresses{suffix}", kind, held) + _set(
        f"served{suffix}", f"{kind} . inet_proto . inet_service", services
    )


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(elements)
    contents = f"\t\telements = {{ {listed} }}\n" if listed else ""
    return f"\tset {name} {{\n\t\ttype {kind}\n{contents}\t}}\n"
