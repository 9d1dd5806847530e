"""Clients that are kept on their backend."""

from __future__ import annotations

import pytest

from bascule.model.strategies import Protocol, Strategy
from bascule.model.virtual_services import Persistence, VirtualService
from tests.ipvs.bench import FAMILIES, service
from tests.ipvs.centre import Centre, ask_again, backend

pytestmark = pytest.mark.root
# Addresses of the client beside its first: in that one's /24 or /64, and in none that it shares.
MORE = {4: ("10.0.1.2", "10.0.2.1"), 6: ("fd00:1::2", "fd00:2::1")}
NETWORK = {4: 24, 6: 64}


@pytest.fixture(scope="module", autouse=True)
def addresses(centre: Centre) -> None:
    """The client has several."""
    centre.ip("client", *(f"addr add {address} dev eth0" for both in MORE.values() for address in both))
    centre.ip("router", "route add 10.0.2.1 via 10.0.1.1", "route add fd00:2::1 via fd00:1::1")


def kept(family: int, prefix_length: int | None, *, timeout: int = 300) -> VirtualService:
    """A service that would spread connections evenly if it kept nobody."""
    return service(
        backend("one", family=family),
        backend("two", family=family),
        family=family,
        strategy=Strategy.ROUND_ROBIN,
        persistence=Persistence(timeout=timeout, prefix_length=prefix_length),
    )


def forget(centre: Centre) -> None:
    """Have the kernel forget whom it keeps where: templates last as long as their server's backends do."""
    centre.node.enforce()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_is_kept(centre: Centre, family: int) -> None:
    """All connections of one address meet one backend, and those of its neighbours the next."""
    forget(centre)
    centre.node.enforce(kept(family, None))
    first = {centre.ask(family=family)[0] for _ in range(4)}
    second = {ask_from(centre, MORE[family][0], family) for _ in range(4)}
    assert len(first) == len(second) == 1
    assert first != second
    assert centre.node.enforce(kept(family, None)) == ()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_of_clients_is_kept(centre: Centre, family: int) -> None:
    """Addresses of one network count as one client, another network is another."""
    forget(centre)
    centre.node.enforce(kept(family, NETWORK[family]))
    first = {centre.ask(family=family)[0]} | {ask_from(centre, MORE[family][0], family) for _ in range(4)}
    second = {ask_from(centre, MORE[family][1], family) for _ in range(4)}
    assert len(first) == len(second) == 1
    assert first != second


@pytest.mark.parametrize("family", FAMILIES)
def test_how_clients_are_kept_changes_in_place(centre: Centre, family: int) -> None:
    """Time, network, and whether at all: each is one change, which breaks no connection."""
    centre.node.enforce(kept(family, None))
    with centre.connect(family=family) as connection:
        before = ask_again(connection)
        for wanted in (
            kept(family, NETWORK[family]),
            kept(family, NETWORK[family], timeout=60),
            service(backend("one", family=family), backend("two", family=family), family=family),
        ):
            assert len(centre.node.enforce(wanted)) == 1
            assert centre.node.enforce(wanted) == ()
            assert ask_again(connection) == before


def test_datagrams_are_kept_too(centre: Centre) -> None:
    """A client of UDP meets its backend again by every socket."""
    forget(centre)
    both = backend("one"), backend("two")
    centre.node.enforce(service(*both, port=53, protocol=Protocol.UDP, persistence=Persistence(timeout=60)))
    assert len({centre.ask_by_datagram(53)[0] for _ in range(6)}) == 1


def ask_from(centre: Centre, source: str, family: int) -> str:
    """Who answers a connection from this address of the client."""
    with centre.connect(family=family, source=source) as connection:
        return ask_again(connection)[0]
