"""Faults under the eyes of `bascule lab survive`: flows that never pause, and what became of them."""

from __future__ import annotations

import pytest

from bascule.client.clients import AdminClient
from bascule.lab.control_plane import ControlPlane
from bascule.lab.state import Lab
from bascule.lab.survival.catalogue import choose
from bascule.lab.survival.measure import Effort, Outcome, endure
from bascule.lab.survival.scene import set_scene

# Each measures for eight seconds, and needs a load balancer of its own.
pytestmark = [pytest.mark.lab, pytest.mark.slow]
_EFFORT = Effort(connections=60, datagram_flows=20, interval=0.1, rate=10, before=1, after=6)


def _endure(lab: Lab, name: str) -> Outcome:
    (fault,) = choose([name], lab.shape.dataplane)
    with (
        ControlPlane(lab) as api,
        AdminClient(lab.api_url, lab.admin_token) as admin,
        set_scene(lab, api, admin) as scene,
    ):
        return endure(scene, fault, _EFFORT)


@pytest.mark.parametrize("name", ["lb-node-dies", "lb-node-dies-after-change", "lb-agent-restarted"])
def test_nothing_breaks(lab: Lab, name: str) -> None:
    """No connection breaks or moves, none is refused, no UDP flow moves; what is silent ends with the fault."""
    found = _endure(lab, name).figures
    assert (found.connections, found.datagram_flows) == (60, 20)
    assert found.opened > 0
    assert (found.broken, found.moved, found.moved_datagram_flows, found.refused) == (0, 0, 0, 0), found
    # Three retransmissions, and whatever this machine did meanwhile.
    assert found.silence <= 1.5 + found.noise


def test_an_instance_takes_only_its_own_connections_with_it(lab: Lab) -> None:
    """When an instance dies all of its connections break, and none of another."""
    outcome = _endure(lab, "instance-dies")
    own = [each for each in outcome.records if each.kind == "held" and each.instance == "vm1"]
    assert own
    assert all(each.broken for each in own)
    assert outcome.figures.broken_elsewhere == 0


def test_an_instance_moves_with_its_address(lab: Lab) -> None:
    """An instance that moves to the other hypervisor serves from there, and no connection of another is touched."""
    outcome = _endure(lab, "instance-migrated")
    assert {each.instance for each in outcome.records if each.broken} <= {"vm1"}
    assert outcome.figures.moved == 0
    assert outcome.figures.well_after is not None
