"""What the BGP announcer refuses to put into BIRD's configuration."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

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
    ("local_as", "neighbors", "interval"),
    [(0, (), 300), (65000, (NEIGHBOR,), 300), (65001, (NEIGHBOR, NEIGHBOR), 300), (65001, (NEIGHBOR,), 1)],
)
def test_options_out_of_range_are_refused(local_as: int, neighbors: tuple[Neighbor, ...], interval: int) -> None:
    """AS 0, internal BGP, a router twice, and a frantic BFD are refused."""
    with pytest.raises(InvalidInput):
        BgpOptions(local_as=local_as, router_id=IPv4Address("192.0.2.9"), neighbors=neighbors, bfd_interval_ms=interval)


def test_a_path_that_needs_quoting_is_refused() -> None:
    """A run directory cannot smuggle words into the configuration."""
    options = BgpOptions(local_as=65001, router_id=IPv4Address("192.0.2.9"), neighbors=())
    with pytest.raises(InvalidInput):
        render(options, Path('/run/"; include "/etc/passwd'))
