"""The LB agent's process with this data plane."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.lb_node.serving import Desired
from bascule.announcers.fake import FakeAnnouncer
from bascule.dataplanes.ipvs.driver import IpvsDataPlane
from bascule.model.strategies import Protocol
from bascule.model.virtual_services import ForwardingMethod
from bascule.programs.lb_agent import DATA_PLANES
from bascule.programs.settings import LBAgentSettings, load
from bascule.system.own_addresses import own_addresses
from tests.ipvs.bench import VIP, service
from tests.ipvs.centre import CLIENT, TARGET_PORT, Centre, backend

pytestmark = pytest.mark.root


def test_the_agent_serves_by_ipvs_and_announces(centre: Centre, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chosen by its setting, IPVS serves before the address is announced, on the interface that the operator names."""
    chosen = {"DATAPLANE": "ipvs", "VIP_INTERFACE": "vips", "NODE_NAME": "lb", "AGENT_TOKEN": "t" * 16}
    chosen["UDP_TIMEOUT"] = "45"
    for name, value in chosen.items():
        monkeypatch.setenv(f"BASCULE_{name}", value)
    settings = load(LBAgentSettings)
    plane = DATA_PLANES[settings.dataplane](settings)
    enforcement = Enforcement(plane, FakeAnnouncer())
    wanted = Desired(addresses=frozenset({VIP}), services=(service(backend("one")),), announced=frozenset({VIP}))
    centre.node.enforce(held=False)
    seen = centre.inside("lb", lambda: enforcement.apply(wanted))
    assert seen.problems == ()
    assert seen.data_plane.ready == seen.announcer.announced == {VIP}
    assert str(VIP) in centre.do("lb", "ip addr show dev vips")
    assert "900 120 45" in centre.do("lb", "ipvsadm --list --timeout")
    assert centre.ask()[0] == "one"
    assert centre.inside("lb", lambda: enforcement.apply(wanted)).repairs == ()
    seen = centre.inside("lb", lambda: enforcement.apply(Desired()))
    assert seen.problems == ()
    assert seen.data_plane.services == ()


def test_the_agent_sees_which_backends_are_its_own_node(centre: Centre) -> None:
    """What would be tunnelled to the node itself is local, or translated where the port is another."""
    for port, address in ((83, str(VIP)), (TARGET_PORT, "10.10.0.1")):
        centre.serve("lb", port, address)
    enforcement = Enforcement(IpvsDataPlane(), FakeAnnouncer(), own_addresses)
    itself = replace(backend("lb"), target_port=83)
    translated = backend("lb", method=ForwardingMethod.TRANSLATION)
    services = (
        service(itself, backend("one"), port=83),
        service(translated, port=84),
        service(backend("lb"), port=85),
        service(backend("lb"), port=85, protocol=Protocol.UDP),
    )
    wanted = Desired(addresses=frozenset({VIP}), services=services, announced=frozenset({VIP}))
    seen = centre.inside("lb", lambda: enforcement.apply(wanted))
    assert seen.problems == ()
    methods = {(each.address, each.method) for found in seen.data_plane.services for each in found.backends}
    assert methods == {
        (itself.address, ForwardingMethod.LOCAL),
        (backend("one").address, ForwardingMethod.TUNNEL),
        (itself.address, ForwardingMethod.TRANSLATION),
    }
    assert {centre.ask(83)[0] for _ in range(4)} == {"lb", "one"}
    for port in (84, 85):
        assert centre.ask(port)[:2] == ["lb", CLIENT]
    assert centre.ask_by_datagram(85)[:2] == ["lb", CLIENT]
    assert centre.inside("lb", lambda: enforcement.apply(wanted)).repairs == ()
    centre.inside("lb", lambda: enforcement.apply(Desired()))
