"""What a data plane is asked to do: the configurations of an LB node after the health checks have had their say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from bascule.model.addresses import IPAddress, address_order
from bascule.model.health_checks import HealthCheck
from bascule.model.strategies import Protocol, Strategy


@dataclass(frozen=True, slots=True)
class ServiceKey:
    """What a packet is matched on."""

    address: IPAddress
    protocol: Protocol
    port: int

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{self.protocol} {host}:{self.port}"

    def __lt__(self, other: ServiceKey) -> bool:
        return self._order() < other._order()

    def _order(self) -> tuple[tuple[int, int], Protocol, int]:
        return address_order(self.address), self.protocol, self.port


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
class Persistence:
    """Keeps a client on its backend for `timeout` seconds after its last connection ended.

    Clients of one network of `prefix_length` bits count as one client; None: each address is its own.
    """

    timeout: int
    prefix_length: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualBackend:
    """A healthy instance. Weight 0 keeps its connections and gives it no new ones."""

    address: IPAddress
    weight: int
    target_port: int
    method: ForwardingMethod = ForwardingMethod.TUNNEL


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualService:
    """One service to forward. Without backends its traffic is refused (RST, ICMP), never black-holed.

    `hash_seed` is an unsigned 64-bit number, the same on every LB node: all of them must choose alike.
    `health_check` is for a data plane that checks its backends itself: it is then given all, healthy or not.
    """

    key: ServiceKey
    strategy: Strategy
    hash_source_port: bool
    hash_seed: int
    backends: tuple[VirtualBackend, ...] = ()
    persistence: Persistence | None = None
    health_check: HealthCheck | None = None
