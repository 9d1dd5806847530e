"""How a service spreads connections over its backends, and the protocols it can carry."""

from __future__ import annotations

from enum import StrEnum


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


# What the public API offers: load balancers may then be placed on any LB node.
EVERYWHERE = frozenset({Strategy.MAGLEV_HASH, Strategy.ROUND_ROBIN, Strategy.SOURCE_HASH})
