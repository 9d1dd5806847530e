"""What a data plane is asked to do: the configurations of an LB node after the health checks have had their say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from bascule.model.strategies import Protocol, Strategy


@dataclass(frozen=True, slots=True, order=True)
class ServiceKey:
    """What a packet is matched on."""

    address: IPv4Address
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        return f"{self.protocol} {self.address}:{self.port}"


class ForwardingMethod(StrEnum):
    """How packets get from the LB node to a backend, and which way its replies take.

    - `tunnel`: in IP-in-IP, addressed to the backend; unchanged within. Replies go straight to the client.
    - `direct`: unchanged, to the backend's MAC address: it is on a link of ours, and holds the VIP. Replies as above.
    - `translation`: readdressed to the backend and its target port. Replies come back through this node.
    - `local`: to this node's own processes, which listen on the VIP.
    """

    TUNNEL = "tunnel"
    DIRECT = "direct"
    TRANSLATION = "translation"
    LOCAL = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualBackend:
    """A healthy instance. Weight 0 keeps its connections and gives it no new ones."""

    address: IPv4Address
    weight: int
    target_port: int
    method: ForwardingMethod = ForwardingMethod.TUNNEL


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualService:
    """One service to forward. Without backends its traffic is refused (RST, ICMP), never black-holed.

    `hash_seed` is an unsigned 64-bit number, the same on every LB node: all of them must choose alike.
    """

    key: ServiceKey
    strategy: Strategy
    hash_source_port: bool
    hash_seed: int
    backends: tuple[VirtualBackend, ...] = ()
