"""How a service spreads connections over its backends, and the protocols it can carry."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class Protocol(StrEnum):
    """Layer 4 protocols a service can carry."""

    TCP = "tcp"
    UDP = "udp"

    @property
    def number(self) -> int:
        """The IP protocol number (IANA)."""
        return 6 if self is Protocol.TCP else 17


class Strategy(StrEnum):
    """The three that every data plane has, then those of IPVS alone, by the names that its users know.

    IPVS's own `wrr`, `sh` and `mh` are the first three.
    """

    MAGLEV_HASH = "maglev-hash"
    ROUND_ROBIN = "round-robin"
    SOURCE_HASH = "source-hash"
    UNWEIGHTED_ROUND_ROBIN = "rr"
    LEAST_CONNECTIONS = "lc"
    WEIGHTED_LEAST_CONNECTIONS = "wlc"
    LOCALITY_LEAST_CONNECTIONS = "lblc"
    LOCALITY_LEAST_CONNECTIONS_REPLICATED = "lblcr"
    DESTINATION_HASH = "dh"
    SHORTEST_EXPECTED_DELAY = "sed"
    NEVER_QUEUE = "nq"


# What every data plane has: load balancers may then be placed on any LB node.
EVERYWHERE = frozenset({Strategy.MAGLEV_HASH, Strategy.ROUND_ROBIN, Strategy.SOURCE_HASH})

# What users of ipvsadm, keepalived and HAProxy call them. IPVS's rr knows no weights, HAProxy's leastconn does.
ALIASES: Mapping[str, Strategy] = MappingProxyType(
    {
        "mh": Strategy.MAGLEV_HASH,
        "maglev": Strategy.MAGLEV_HASH,
        "wrr": Strategy.ROUND_ROBIN,
        "weighted-round-robin": Strategy.ROUND_ROBIN,
        "roundrobin": Strategy.ROUND_ROBIN,
        "sh": Strategy.SOURCE_HASH,
        "source": Strategy.SOURCE_HASH,
        "least-connections": Strategy.LEAST_CONNECTIONS,
        "weighted-least-connections": Strategy.WEIGHTED_LEAST_CONNECTIONS,
        "leastconn": Strategy.WEIGHTED_LEAST_CONNECTIONS,
        "locality-least-connections": Strategy.LOCALITY_LEAST_CONNECTIONS,
        "locality-least-connections-replicated": Strategy.LOCALITY_LEAST_CONNECTIONS_REPLICATED,
        "destination-hash": Strategy.DESTINATION_HASH,
        "shortest-expected-delay": Strategy.SHORTEST_EXPECTED_DELAY,
        "never-queue": Strategy.NEVER_QUEUE,
    }
)
