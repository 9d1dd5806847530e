"""Two LB nodes that know nothing of each other's connections."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from bascule.model.strategies import Strategy
from tests.ipvs.bench import VIPS, Node, service
from tests.ipvs.centre import Centre, ask_again, backend

pytestmark = pytest.mark.root


NODES = {4: ("10.10.0.1", "10.11.0.1"), 6: ("fd00:10::1", "fd00:11::1")}


@pytest.mark.parametrize("family", NODES)
def test_maglev_connections_survive_their_node(centre: Centre, family: int) -> None:
    """Another LB node, which never saw them begin, sends every open connection to the backend that it had."""
    both = backend("one", family=family), backend("two", family=family)
    web = service(*both, strategy=Strategy.MAGLEV_HASH, family=family)
    centre.node.enforce(web)
    other = Node(centre, "lb2")
    other.enforce(web)
    here, there = NODES[family]
    with ExitStack() as stack:
        open_ones = [stack.enter_context(centre.connect(family=family)) for _ in range(24)]
        before = [ask_again(each)[0] for each in open_ones]
        assert set(before) == {"one", "two"}
        centre.ip("router", f"route replace {VIPS[family]} via {there}")
        try:
            assert [ask_again(each)[0] for each in open_ones] == before
        finally:
            centre.ip("router", f"route replace {VIPS[family]} via {here}")
    (seen,) = other.observe().services
    assert sum(each.active_connections + each.inactive_connections for each in seen.backends) == len(open_ones)
