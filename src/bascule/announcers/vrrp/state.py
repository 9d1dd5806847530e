"""What keepalived tells of its VRRP instances when it is asked for JSON (its vrrp_json.c)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import ip_address

from bascule.model.addresses import IPAddress

_PREFIX = "vip-"


class State(Enum):
    """Of one instance; the numbers are keepalived's (vrrp.h)."""

    INIT = 0
    BACKUP = 1
    MASTER = 2
    FAULT = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One instance. `since` is when it came into its state, in seconds since the epoch."""

    state: State
    router_id: int
    since: float


def parse(text: str) -> Mapping[IPAddress, Told] | None:
    """The instances by address; None while the text is not whole."""
    try:
        data = [each["data"] for each in json.loads(text)]
        return {
            ip_address(each["iname"].removeprefix(_PREFIX)): Told(
                state=State(each["state"]), router_id=each["vrid"], since=each["last_transition"]
            )
            for each in data
        }
    except (ValueError, KeyError, TypeError):
        return None
