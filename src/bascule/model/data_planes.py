"""The data planes an LB node can have, and what each can carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from bascule.model.strategies import EVERYWHERE, Strategy
from bascule.model.virtual_services import ForwardingMethod


class DataPlaneName(StrEnum):
    """What forwards packets on an LB node."""

    XDP = "xdp"
    IPVS = "ipvs"
    KEEPALIVED = "keepalived"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a data plane offers.

    `families` are 4 and 6; `rise` is whether it can want several good checks before an instance serves again.
    One that `checks` its backends itself is given all of them with their health check, and reports their health.
    """

    strategies: frozenset[Strategy]
    methods: frozenset[ForwardingMethod]
    persistence: bool
    families: frozenset[int]
    rise: bool
    checks: bool = False


CAPABILITIES: Mapping[DataPlaneName, Capabilities] = MappingProxyType(
    {
        DataPlaneName.XDP: Capabilities(
            strategies=EVERYWHERE,
            methods=frozenset({ForwardingMethod.TUNNEL}),
            persistence=False,
            families=frozenset({4, 6}),
            rise=True,
        ),
        DataPlaneName.IPVS: Capabilities(
            strategies=frozenset(Strategy),
            methods=frozenset(ForwardingMethod),
            persistence=True,
            families=frozenset({4, 6}),
            rise=True,
        ),
        DataPlaneName.KEEPALIVED: Capabilities(
            strategies=frozenset(Strategy),
            methods=frozenset({ForwardingMethod.TUNNEL}),
            persistence=True,
            families=frozenset({4, 6}),
            rise=False,
            checks=True,
        ),
    }
)
