"""Addresses on an interface that are marked as somebody's, so that they are known again after a restart.

IPv4 addresses have labels. IPv6 has none: there a protocol number (IFA_PROTO, Linux 5.18) says whose an address is.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from bascule.model.addresses import IPAddress

_NO_DETECTION = 0x2  # IFA_F_NODAD


@dataclass(frozen=True, slots=True)
class Mark:
    """`label` for IPv4 (15 bytes at the most), `owner` for IPv6 (1 to 255). Both outlive us: they never change."""

    label: str
    owner: int

    def read(self, netlink: Any, index: int) -> tuple[frozenset[IPAddress], frozenset[IPAddress]]:
        """The addresses on the interface with this mark, and those without. Raises NetlinkError."""
        ours: set[IPAddress] = set()
        others: set[IPAddress] = set()
        for message in netlink.get_addr(index=index):
            mine = message.get("label") == self.label or message.get("proto") == self.owner
            (ours if mine else others).add(ip_address(message.get("local") or message.get("address")))
        return frozenset(ours), frozenset(others)

    def change(self, netlink: Any, command: str, index: int, address: IPAddress) -> None:
        """Add (`add`) the address with this mark, or remove (`del`) one that has it. Raises NetlinkError."""
        netlink.addr(command, index=index, address=str(address), **self._settings(address))

    def _settings(self, address: IPAddress) -> dict[str, object]:
        """All else that the kernel is told of an address.

        IPv6's detection of duplicates is off: other LB nodes have the address too, and until it ended the address would
        not answer. And it is not to be preferred: the node would use it as its own when it speaks first (RFC 6724,
        rule 3).
        """
        if address.version == 4:
            return {"prefixlen": 32, "label": self.label}
        return {"prefixlen": 128, "proto": self.owner, "flags": _NO_DETECTION, "preferred_lft": 0}
