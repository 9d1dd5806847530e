"""Which address is chosen."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from uuid import UUID

import pytest

from bascule.model.addresses import AddressPool, choose_address
from bascule.model.errors import Exhausted, InvalidInput

FOUR = AddressPool(id=UUID(int=4), name="four", network=ip_network("192.0.2.0/31"))
SIX = AddressPool(id=UUID(int=6), name="six", network=ip_network("2001:db8::/32"))


def test_the_lowest_free_address_of_a_huge_range_is_found_at_once() -> None:
    """A range of 2**96 addresses is not counted through."""
    taken = {ip_address("2001:db8::"), ip_address("2001:db8::1")}
    assert choose_address((SIX,), taken) == (ip_address("2001:db8::2"), SIX.id)


def test_ipv6_is_given_to_who_asks_for_it() -> None:
    """Without a wish it is IPv4, even when that is exhausted; IPv6 only where there is nothing else."""
    both = (SIX, FOUR)
    assert choose_address(both, set())[1] == FOUR.id
    assert choose_address(both, set(), family=6)[1] == SIX.id
    with pytest.raises(Exhausted, match=r"192\.0\.2\.0/31"):
        choose_address(both, set(FOUR.network))
    assert choose_address((SIX,), set())[1] == SIX.id
    with pytest.raises(Exhausted, match="no address pool of IPv6"):
        choose_address((FOUR,), set(), family=6)


def test_an_address_of_another_family_than_asked_for_is_refused() -> None:
    """The two wishes contradict each other."""
    with pytest.raises(InvalidInput, match="not of IPv6"):
        choose_address((SIX, FOUR), set(), ip_address("192.0.2.1"), 6)
