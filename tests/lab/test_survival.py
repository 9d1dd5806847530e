"""Faults under the eyes of `bascule lab survive`: flows that never pause, and what became of them."""

from __future__ import annotations

import pytest

from bascule.client.clients import AdminClient
from bascule.lab.control_plane import ControlPlane
from bascule.lab.shape import Shape
from bascule.lab.state import Lab
from bascule.lab.survival.catalogue import choose
from bascule.lab.survival.measure import Effort, Outcome, endure
from bascule.lab.survival.scene import set_scene

pytestmark = [pytest.mark.lab]
# A fault measures for this long, and needs a load balancer of its own.
_EFFORT = Effort(connections=60, datagram_flows=20, interval=0.1, rate=10, before=1, after=6)
_GLANCE = Effort(connections=40, datagram_flows=10, interval=0.1, rate=10, before=1, after=5)
# What every run of these tests asserts: the death that every Maglev balancer gets wrong, and what operators do most.
_ALWAYS = ("lb-node-dies-after-change", "lb-node-drained")
# What breaks connections today, with the reason beside it in the catalogue and in docs/survival.md.
_BREAKING = {
    "instance-dies",
    "instance-cut-off",
    "instance-migrated-untold",
    "hypervisor-dies",
}


def _endure(lab: Lab, name: str, effort: Effort = _EFFORT, family: int = 4) -> Outcome:
    (fault,) = choose([name], lab.shape)
    with (
        ControlPlane(lab) as api,
        AdminClient(lab.api_url, lab.admin_token) as admin,
        set_scene(lab, api, admin, family) as scene,
    ):
        return endure(scene, fault, effort)


def _assert_nothing_broke(outcome: Outcome) -> None:
    found = outcome.figures
    assert (found.connections, found.datagram_flows) == (outcome.effort.connections, outcome.effort.datagram_flows)
    assert found.opened > 0
    assert (found.broken, found.moved, found.moved_datagram_flows, found.refused) == (0, 0, 0, 0), found


def _unbreaking() -> list[str]:
    return sorted({fault.name for fault in choose([], Shape())} - _BREAKING - {*_ALWAYS, "nothing"})


@pytest.mark.parametrize("name", _ALWAYS)
def test_nothing_breaks(lab: Lab, name: str) -> None:
    """No connection breaks or moves, none is refused, no UDP flow moves."""
    _assert_nothing_broke(_endure(lab, name, _GLANCE))


@pytest.mark.slow
@pytest.mark.parametrize("name", _unbreaking())
def test_nothing_breaks_either(lab: Lab, name: str) -> None:
    """Nor at any other fault of which we say so."""
    _assert_nothing_broke(_endure(lab, name))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lb-node-returns", "instance-migrated"])
def test_nothing_breaks_over_ipv6(lab: Lab, name: str) -> None:
    """Faults that touch next hops and tunnels harm flows over IPv6 no more than others."""
    _assert_nothing_broke(_endure(lab, name, family=6))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lb-node-dies", "lb-agent-restarted"])
def test_what_is_silent_ends_with_the_fault(lab: Lab, name: str) -> None:
    """No silence outlasts three retransmissions, and whatever this machine did meanwhile."""
    found = _endure(lab, name).figures
    assert found.silence <= 1.5 + found.noise


@pytest.mark.slow
@pytest.mark.parametrize("name", ["instance-dies", "hypervisor-dies"])
def test_instances_take_only_their_own_connections_with_them(lab: Lab, name: str) -> None:
    """When instances die all of their connections break, and none of another."""
    outcome = _endure(lab, name)
    own = [each for each in outcome.records if each.kind == "held" and each.instance in outcome.fault.hurt]
    assert own
    assert all(each.broken for each in own)
    assert outcome.figures.broken_elsewhere == 0


@pytest.mark.slow
def test_an_instance_moves_although_nobody_was_told(lab: Lab) -> None:
    """An instance that moves to the other hypervisor serves from there, and no connection of another is touched."""
    outcome = _endure(lab, "instance-migrated-untold")
    assert {each.instance for each in outcome.records if each.broken} <= {"vm1"}
    assert outcome.figures.moved == 0
    assert outcome.figures.well_after is not None
