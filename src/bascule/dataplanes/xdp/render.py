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
\t}
"""


def render(addresses: Iterable[IPAddress], served: Iterable[ServiceKey]) -> str:
    """A script for `nft -f -` that replaces the table in one transaction.

    Packets of `served` services reach the kernel only while the XDP program is missing, or as fragments: they are
    dropped, because a reset would end connections that a retransmission can save. Everything else for one of the
    `addresses` is refused, except ping. So the node's own daemons are out of reach on them.
    """
    services = (f"{key.address} . {key.protocol} . {key.port}" for key in sorted(served))
    return (
        f"table {FAMILY} {TABLE}\n"
        f"delete table {FAMILY} {TABLE}\n"
        f"table {FAMILY} {TABLE} {{\n"
        + _set("addresses", "ipv4_addr", (str(address) for address in sorted(addresses, key=address_order)))
        + _set("served", "ipv4_addr . inet_proto . inet_service", services)
        + _RULES
        + "}\n"
    )


def remove() -> str:
    """A script that removes the table, whether it is there or not."""
    return f"table {FAMILY} {TABLE}\ndelete table {FAMILY} {TABLE}\n"


def _set(name: str, kind: str, elements: Iterable[str]) -> str:
    listed = ", ".join(elements)
    contents = f"\t\telements = {{ {listed} }}\n" if listed else ""
    return f"\tset {name} {{\n\t\ttype {kind}\n{contents}\t}}\n"
