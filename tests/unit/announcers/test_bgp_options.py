"""What the BGP announcer refuses to put into BIRD's configuration."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import Any

import pytest

from bascule.announcers.bgp.render import BgpOptions, Neighbor, render
from bascule.model.errors import InvalidInput

NEIGHBOR = Neighbor(IPv4Address("192.0.2.1"), 65000)


def test_a_neighbor_is_an_address_and_an_as_number() -> None:
    """The form of the settings is understood, in both families."""
    assert Neighbor.parse("192.0.2.1/65000") == NEIGHBOR
    assert Neighbor.parse("2001:db8::1/4200000000") == Neighbor(IPv6Address("2001:db8::1"), 4200000000)


OTHERS = ["", "192.0.2.1", "192.0.2.1/", "192.0.2/65000", "192.0.2.1/0", "192.0.2.1/x;", "2001:db8::1", "[::1]/65000"]
# An address with a scope may hold any words at all.
LINK_LOCAL = ["fe80::1/65000", "fe80::1%eth0/65000", '2001:db8::1%x; include "y"/65000']


@pytest.mark.parametrize("text", [*OTHERS, *LINK_LOCAL])
def test_other_forms_are_refused(text: str) -> None:
    """Anything else is refused with a sentence."""
    with pytest.raises(InvalidInput):
        Neighbor.parse(text)


@pytest.mark.parametrize(
    ("field", "changed"),
    [
        ("bgp_local_as", {"local_as": 0}),
        ("bgp_neighbors", {"local_as": 65000}),
        ("bgp_neighbors", {"neighbors": (NEIGHBOR, NEIGHBOR)}),
        ("bfd_interval_ms", {"bfd_interval_ms": 1}),
        ("bfd_multiplier", {"bfd_multiplier": 1}),
        ("bgp_prepend", {"prepend": 11}),
        ("bgp_password_file", {"password": 'x"; include "/etc/passwd'}),
        ("bgp_password_file", {"password": "x\ny"}),
        ("bgp_password_file", {"password": "x" * 81}),
    ],
)
def test_options_out_of_range_are_refused(field: str, changed: dict[str, Any]) -> None:
    """AS 0, internal BGP, a router twice, a frantic BFD and passwords that need quoting are refused by name."""
    good: dict[str, Any] = {
        "local_as": 65001,
        "router_id": IPv4Address("192.0.2.9"),
        "neighbors": (NEIGHBOR,),
        "password": "up to 80 bytes: {};#'",
    }
    assert BgpOptions(**good)
    with pytest.raises(InvalidInput) as refused:
        BgpOptions(**(good | changed))
    assert refused.value.field == field


def test_a_path_that_needs_quoting_is_refused() -> None:
    """A run directory cannot smuggle words into the configuration."""
    options = BgpOptions(local_as=65001, router_id=IPv4Address("192.0.2.9"), neighbors=())
    with pytest.raises(InvalidInput):
        render(options, Path('/run/"; include "/etc/passwd'))
