"""Each way to a backend, and several in one service."""

from __future__ import annotations

from collections import Counter

import pytest

from bascule.model.virtual_services import ForwardingMethod
from tests.ipvs.bench import FAMILIES, service
from tests.ipvs.centre import BIG, Centre, backend

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("served")]


@pytest.mark.parametrize(("method", "passes"), [(ForwardingMethod.DIRECT, False), (ForwardingMethod.TRANSLATION, True)])
@pytest.mark.parametrize("family", FAMILIES)
def test_only_translated_replies_pass_the_node(
    centre: Centre, method: ForwardingMethod, passes: bool, family: int
) -> None:
    """Replies of direct routing go straight to the client; translated ones come back through the LB node."""
    centre.node.enforce(service(backend("near", method=method, family=family), port=81, family=family))
    before = centre.sent("lb", "eth0")
    with centre.connect(81, family=family) as connection:
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


@pytest.mark.parametrize("method", sorted(set(ForwardingMethod) - {ForwardingMethod.TUNNEL}))
def test_what_cannot_be_carried_stops_nobody_else(centre: Centre, method: ForwardingMethod) -> None:
    """Families that meet by other means than tunnels are left out with a sentence: that port refuses, others serve."""
    mixed = service(backend("near", method=method), port=81, family=6)
    web = service(backend("one", family=6), port=82, family=6)
    said = centre.node.enforce(mixed, web)
    assert any(str(mixed.key) in each and "tunnel only" in each for each in said)
    assert centre.node.enforce(mixed, web) == ()
    assert centre.ask(82, family=6)[0] == "one"
    with pytest.raises(ConnectionRefusedError):
        centre.connect(81, family=6)
