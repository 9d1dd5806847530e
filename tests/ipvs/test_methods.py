"""Each way to a backend, and several in one service."""

from __future__ import annotations

from collections import Counter

import pytest

from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ForwardingMethod
from tests.ipvs.bench import VIP, service
from tests.ipvs.centre import BIG, CLIENT, NEAR, TARGET_PORT, Centre, backend

pytestmark = pytest.mark.root
WAYS = [
    (ForwardingMethod.TUNNEL, "one"),
    (ForwardingMethod.DIRECT, "near"),
    (ForwardingMethod.TRANSLATION, "near"),
    (ForwardingMethod.LOCAL, "lb"),
]


@pytest.fixture(autouse=True, scope="module")
def served(centre: Centre) -> None:
    """Everybody listens where these tests want it: only translation changes the port."""
    for host in ("near", "lb"):
        for port in (81, 82):
            centre.serve(host, port, str(VIP))
    centre.serve("near", TARGET_PORT, str(NEAR))


@pytest.mark.parametrize(("method", "host"), WAYS)
def test_each_method_carries_tcp_and_udp(centre: Centre, method: ForwardingMethod, host: str) -> None:
    """The backend answers and sees the client's own address; a second pass finds nothing to change."""
    web = service(backend(host, method=method), port=81)
    names = service(backend(host, method=method), port=81, protocol=Protocol.UDP)
    centre.node.enforce(web, names)
    assert centre.ask(81)[:2] == [host, CLIENT]
    assert centre.ask_by_datagram(81)[:2] == [host, CLIENT]
    assert centre.node.enforce(web, names) == ()


@pytest.mark.parametrize(
    ("method", "host", "passes"),
    [
        (ForwardingMethod.DIRECT, "near", False),
        (ForwardingMethod.TRANSLATION, "near", True),
    ],
)
def test_only_translated_replies_pass_the_node(
    centre: Centre, method: ForwardingMethod, host: str, passes: bool
) -> None:
    """Replies of direct routing go straight to the client; translated ones come back through the LB node."""
    centre.node.enforce(service(backend(host, method=method), port=81))
    before = centre.sent("lb", "eth0")
    with centre.connect(81) as connection:
        connection.sendall(b"big\n")
        left = BIG
        while left:
            left -= len(connection.recv(min(left, 65536)))
    assert (centre.sent("lb", "eth0") - before > BIG) == passes


def test_methods_mix_in_one_service(centre: Centre) -> None:
    """Backends of one service may be reached in different ways."""
    mixed = (
        backend("one"),
        backend("near", method=ForwardingMethod.DIRECT),
        backend("lb", method=ForwardingMethod.LOCAL),
    )
    centre.node.enforce(service(*mixed, port=82))
    assert Counter(centre.ask(82)[0] for _ in range(9)) == {"one": 3, "near": 3, "lb": 3}


def test_a_backend_changes_its_method_in_place(centre: Centre) -> None:
    """One change, and new connections take the new way."""
    centre.node.enforce(service(backend("near", method=ForwardingMethod.DIRECT), port=81))
    assert centre.ask(81)[0] == "near"
    (sentence,) = centre.node.enforce(service(backend("near", method=ForwardingMethod.LOCAL), port=81))
    assert "local" in sentence
    assert centre.ask(81)[0] == "lb"
