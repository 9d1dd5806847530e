"""The LB agent's process with this data plane."""

from __future__ import annotations

import pytest

from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.lb_node.serving import Desired
from bascule.announcers.fake import FakeAnnouncer
from bascule.programs.lb_agent import DATA_PLANES
from bascule.programs.settings import LBAgentSettings, load
from tests.ipvs.bench import VIP, service
from tests.ipvs.centre import Centre, backend

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
