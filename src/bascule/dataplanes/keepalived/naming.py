"""The names and numbers of a load balancer on a node. Pure: each pass finds what an earlier process made."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from bascule.model.addresses import IPAddress, IPNetwork

UPLINK = "uplink"
# Both ends of a link are alone on it, so that fixed hardware addresses serve for all and nobody has to ask for them.
OUTER_MAC, INNER_MAC = "02:62:61:73:00:01", "02:62:61:73:00:02"
# On no interface: the way out of a namespace, by its hardware address.
GATEWAYS: Mapping[int, IPAddress] = {4: ip_address("169.254.255.254"), 6: ip_address("fe80::ba5c")}


@dataclass(frozen=True, slots=True)
class Names:
    """What a load balancer has on a node: a network namespace, and a link into it, named on the node's side."""

    address: IPAddress
    namespace: str
    link: str
    source: IPAddress

    @property
    def gateway(self) -> IPAddress:
        """The way out, of the address's family."""
        return GATEWAYS[self.address.version]


def names(node: str, address: IPAddress, tunnel_sources: Mapping[int, IPNetwork]) -> Names:
    """The names for one address. `source` is what its tunnels come from, of its family: the same on every node."""
    source = _source(address, tunnel_sources[address.version])
    return Names(address, f"{_prefix(node)}{address}", _link(address), source)


def owned(node: str, namespaces: Iterable[str]) -> frozenset[IPAddress]:
    """The addresses of the namespaces that are this node's; others are somebody else's."""
    rests = (each.removeprefix(_prefix(node)) for each in namespaces if each.startswith(_prefix(node)))
    return frozenset(address for rest in rests if (address := _parsed(rest)) is not None)


def _prefix(node: str) -> str:
    return f"bascule-{node}-"


def _parsed(text: str) -> IPAddress | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address if str(address) == text else None


def _link(address: IPAddress) -> str:
    """At most 15 characters, as the kernel wants it: an IPv6 address does not fit."""
    if address.version == 4:
        return f"bk{int(address):08x}"
    return f"bk6{hashlib.sha256(address.packed).hexdigest()[:12]}"


def _source(address: IPAddress, network: IPNetwork) -> IPAddress:
    """One of the prefix for each address, so that routers behind us spread the tunnels of many load balancers."""
    room = network.num_addresses - 2
    return network[1 + zlib.crc32(address.packed) % room] if room > 0 else network[0]
