"""An LB node of three that dies is replaced, by real packets."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from bascule.client.clients import AdminClient
from bascule.lab import faults
from bascule.lab.control_plane import ControlPlane
from bascule.lab.router import announcements
from bascule.lab.shape import Shape
from bascule.lab.stream import Stream
from bascule.lab.waiting import wait_until

from .conftest import Balancer, build_lab, create_balancer

pytestmark = [pytest.mark.lab, pytest.mark.slow]
GRACE = 5.0  # seconds


@pytest.fixture(scope="module")
def of_three() -> Iterator[Balancer]:
    """A load balancer on two of three LB nodes, each in a rack of its own."""
    for lab in build_lab(f"r{os.getpid()}", Shape(lb_nodes=3, ipv6=False, replace_after=GRACE)):
        with ControlPlane(lab) as api:
            yield create_balancer(lab, api, "web")


def test_a_dead_node_is_replaced_and_its_replacement_carries_traffic(of_three: Balancer) -> None:
    """The third node draws packets beside the one that lives; the dead one, back again, gives them up."""
    lab = of_three.lab
    first, second = announcements(lab)[of_three.vip]
    (third,) = {"lb1", "lb2", "lb3"} - {first, second}
    faults.pull_cable(lab, first)
    wait_until(lambda: set(announcements(lab)[of_three.vip]) == {second, third}, what="the replacement", timeout=60)
    with Stream(lab, of_three.web) as stream:
        stream.wait_for_more(200)
        faults.pull_cable(lab, second)
        wait_until(lambda: announcements(lab)[of_three.vip] == (third,), what="the third node alone", timeout=30)
        stream.wait_for_more(200)
        faults.plug_in_cable(lab, second)
        wait_until(lambda: set(announcements(lab)[of_three.vip]) == {second, third}, what="both again", timeout=30)
    faults.plug_in_cable(lab, first)
    with AdminClient(lab.api_url, lab.admin_token) as operators:

        def confirmed() -> bool:
            (found,) = [node for node in operators.lb_nodes.list_all() if node.name == first]
            return found.silent_since is None and found.load_balancers == 0

        wait_until(confirmed, what="the first node's confirmation that it carries nothing", timeout=60)
    assert set(announcements(lab)[of_three.vip]) == {second, third}
    of_three.wait_until_answered_by({"vm1", "vm2", "vm3"})
