"""The kernel's entries as data: virtual servers, and their destinations."""

from __future__ import annotations

from dataclasses import dataclass

from bascule.model.addresses import IPAddress, address_order
from bascule.model.reports import Traffic, VirtualBackendReport
from bascule.model.virtual_services import ForwardingMethod, ServiceKey

# linux/ip_vs.h: IP_VS_SVC_F_PERSISTENT, and two that each scheduler reads in its own way
PERSISTENT = 0x1
FALLBACK = 0x8  # sh-fallback, mh-fallback: IP_VS_SVC_F_SCHED1
WITH_PORT = 0x10  # sh-port, mh-port: IP_VS_SVC_F_SCHED2

EVERY_PORT = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """Where a virtual server sends connections: of either family, whatever the server's is, as far as tunnels go."""

    address: IPAddress
    port: int
    method: ForwardingMethod
    weight: int

    @property
    def place(self) -> tuple[IPAddress, int]:
        """What the kernel tells the destinations of one server by."""
        return self.address, self.port

    def __str__(self) -> str:
        host = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VirtualServer:
    """An entry for one address, protocol and port; port 0 takes what no other entry of the address does.

    A persistent one remembers each client's network, of `prefix_length` bits (None: each address), for `timeout`
    seconds.
    """

    key: ServiceKey
    scheduler: str
    flags: int = 0
    timeout: int = 0
    prefix_length: int | None = None
    destinations: tuple[Destination, ...] = ()

    @property
    def client_bits(self) -> int:
        """The prefix length in full: the kernel always has one."""
        return self.key.address.max_prefixlen if self.prefix_length is None else self.prefix_length

    @property
    def settings(self) -> tuple[str, int, int, int]:
        """All that can be changed without touching a destination."""
        return self.scheduler, self.flags, self.timeout, self.client_bits

    def __str__(self) -> str:
        words = str(self.key)
        return words if self.key.port else f"{self.key.protocol} {self.key.address}, every other port"


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What the kernel counts for a destination. The totals lag by up to two seconds, the connections do not."""

    traffic: Traffic
    active: int
    inactive: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A virtual server as the kernel has it, with its totals and those of its destinations, in their order."""

    server: VirtualServer
    traffic: Traffic
    loads: tuple[Load, ...]

    def backends(self) -> tuple[VirtualBackendReport, ...]:
        """What is reported of the destinations, by their addresses; of their health nothing is known here."""
        reports = (
            VirtualBackendReport(
                address=to.address,
                weight=to.weight,
                method=to.method,
                port=to.port,
                traffic=load.traffic,
                active_connections=load.active,
                inactive_connections=load.inactive,
                remaining=None if to.weight else load.active + load.inactive,
            )
            for to, load in zip(self.server.destinations, self.loads, strict=True)
        )
        return tuple(sorted(reports, key=lambda each: address_order(each.address)))
