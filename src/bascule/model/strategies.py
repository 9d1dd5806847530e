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
    """The names users of the public API know."""

    MAGLEV_HASH = "maglev-hash"
    ROUND_ROBIN = "round-robin"
    SOURCE_HASH = "source-hash"
