"""What can be chosen about a lab, and what follows for its tunnels. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from bascule.model.addresses import IPNetwork
from bascule.model.data_planes import CAPABILITIES, DataPlaneName
from bascule.model.errors import InvalidInput

TUNNEL_SOURCE = IPv4Network("10.99.0.0/16")
TUNNEL_SOURCE_V6 = IPv6Network("fd00:99::/64")
# IPVS's IPv6 tunnels leave with an LB node's own address, whatever its routes say; the LB nodes' are in here.
_OWN_SOURCES = IPv6Network("fd00:10::/58")


class DatabaseKind(StrEnum):
    """Where the control plane keeps the expected state."""

    SQLITE = "sqlite"
    POSTGRESQL = "postgresql"


class EventsFrom(StrEnum):
    """Where the orchestrators hear events."""

    NONE = "none"
    KAFKA = "kafka"


_BFD = re.compile(r"([1-9][0-9]{0,4})(?:ms)?:([1-9][0-9]{0,2})")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bfd:
    """How fast router and LB nodes notice each other's silence: milliseconds between packets, and how many may miss.

    A crowded laptop delays packets: 300 ms x 5 never flaps there, 100 ms x 3 does.
    """

    interval_ms: int = 300
    multiplier: int = 5

    @classmethod
    def parse(cls, text: str) -> Bfd:
        """Read "50ms:3". Raises InvalidInput."""
        found = _BFD.fullmatch(text)
        if found is None or not (10 <= int(found[1]) <= 60_000 and 2 <= int(found[2]) <= 255):
            raise InvalidInput(
                f"{text!r} is no pace of BFD: write 50ms:3 for 3 packets, each 50 ms apart (10 to 60000, 2 to 255).",
                field="bfd",
            )
        return cls(interval_ms=int(found[1]), multiplier=int(found[2]))

    def __str__(self) -> str:
        return f"{self.interval_ms}ms:{self.multiplier}"


USUAL_BFD = str(Bfd())


class AnnouncerName(StrEnum):
    """What draws packets to the LB nodes: routes from each of them, or a segment on which one has the address."""

    BGP = "bgp"
    VRRP = "vrrp"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What can be chosen about a lab; `usual_forwarding` says which forwarding suits a data plane.

    `check_interval` is in seconds, and how long a health check waits for its answer too. Without `ipv6` there is IPv4
    only, as with a data plane that carries nothing else. PostgreSQL and Kafka run beside the orchestrators. An LB node
    that is silent for `replace_after` seconds is replaced.
    """

    underlay_mtu: int = 1600
    lb_nodes: int = 2
    hypervisors: int = 2
    instances_per_hypervisor: int = 2
    client_addresses: int = 16
    forwarding: str = "ebpf"
    dataplane: DataPlaneName = DataPlaneName.XDP
    announcer: AnnouncerName = AnnouncerName.BGP
    check_interval: int = 1
    ipv6: bool = True
    database: DatabaseKind = DatabaseKind.SQLITE
    events: EventsFrom = EventsFrom.NONE
    orchestrators: int = 1
    bfd: Bfd = Bfd()
    replace_after: float = 300.0

    @property
    def families(self) -> tuple[int, ...]:
        """The versions of IP that the lab speaks."""
        carried = CAPABILITIES[self.dataplane].families
        return tuple(family for family in (4, 6) if family in carried and (family == 4 or self.ipv6))

    @property
    def tunnel_sources(self) -> tuple[IPNetwork, ...]:
        """Where LB nodes' tunnels come from."""
        if 6 not in self.families:
            return (TUNNEL_SOURCE,)
        return TUNNEL_SOURCE, _OWN_SOURCES if self.dataplane is DataPlaneName.IPVS else TUNNEL_SOURCE_V6


def usual_forwarding(dataplane: DataPlaneName) -> str:
    """What hypervisors run unless somebody chooses: eBPF on both sides, or the kernel's own means on both."""
    return "ebpf" if dataplane is DataPlaneName.XDP else "netfilter"
