"""What a data plane is asked to do: the configurations of an LB node after the health checks have had their say."""

from __future__ import annotations

from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualBackend:
    """A healthy instance. Weight 0 keeps its connections and gives it no new ones."""

    address: IPv4Address
    weight: int
    target_port: int


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
