"""Which address a tunnel comes from: hypervisors accept tunnels by it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from bascule.model.addresses import IPAddress
from tests.ipvs.bench import service
from tests.ipvs.centre import ADDRESSES, Centre, backend

pytestmark = pytest.mark.root
SHARED = {4: "10.99.0.1", 6: "fd00:99::1"}
WAYS = {4: "10.128.0.0/16 via 10.10.0.254", 6: "fd00:128::/32 via fd00:10::fe"}


@pytest.fixture
def routed(centre: Centre) -> Iterator[None]:
    """The routes to the instances name an address that all LB nodes share."""
    centre.ip("lb", *(f"addr add {address} dev lo" for address in SHARED.values()))
    centre.ip("lb", *(f"route add {WAYS[family]} src {SHARED[family]}" for family in WAYS))
    yield
    centre.ip("lb", *(f"route del {way}" for way in WAYS.values()))
    centre.ip("lb", f"addr del {SHARED[4]}/32 dev lo", f"addr del {SHARED[6]}/128 dev lo")


def outer_source(centre: Centre, family: int) -> IPAddress:
    """Where the hypervisor sees the next tunnel come from."""
    centre.node.enforce(service(backend("one", family=family), family=family))
    return centre.tunnel_source(family)


@pytest.mark.usefixtures("routed")
def test_for_ipv4_it_is_what_the_route_names(centre: Centre) -> None:
    """The operator sets it, by the route's `src`."""
    assert outer_source(centre, 4) == ip_address(SHARED[4])


@pytest.mark.usefixtures("routed")
def test_for_ipv6_it_is_the_address_of_the_link(centre: Centre) -> None:
    """The route's `src` is not asked; nor is it ever the VIP, which is this node's too."""
    assert outer_source(centre, 6) == ADDRESSES[6]["lb"]
