"""The LB agent's process with this data plane."""

from __future__ import annotations

from uuid import UUID

import pytest

from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.lb_node.serving import Desired, desire
from bascule.announcers.fake import FakeAnnouncer
from bascule.healthchecks.interface import TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration, Version
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode
from bascule.model.strategies import Protocol, Strategy
from bascule.programs.lb_agent import DATA_PLANES
from bascule.programs.settings import LBAgentSettings, load
from tests.ipvs.bench import FAMILIES, VIP, VIPS, service
from tests.ipvs.centre import ADDRESSES, TARGET_PORT, Centre, backend

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


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sorry_server_serves_until_the_instances_do_again(centre: Centre, family: int) -> None:
    """By what the agent makes of its verdicts: real connections meet the sorry server, and the instance afterwards."""
    service_id, instance_id = UUID(int=1), UUID(int=2)
    check = HealthCheck(mode=HealthCheckMode.TCP, port=TARGET_PORT, sorry_server=ADDRESSES[family]["two"])
    web = ServiceConfiguration(
        id=service_id,
        protocol=Protocol.TCP,
        port=80,
        target_port=TARGET_PORT,
        strategy=Strategy.MAGLEV_HASH,
        health_check=check,
        backends=(Backend(instance_id=instance_id, address=ADDRESSES[family]["one"]),),
    )
    balancer = BalancerConfiguration(
        load_balancer_id=UUID(int=3),
        version=Version(1, 1),
        address=VIPS[family],
        hash_seed=0,
        announced=True,
        services=(web,),
    )
    for health, answering in ((Health.FAILURE, "two"), (Health.SUCCESS, "one")):
        verdicts = {TargetKey(service_id, instance_id): Verdict(health=health)}
        wanted = desire([balancer], verdicts, set(), {service_id: health is Health.SUCCESS})
        centre.node.enforce(*wanted.services)
        assert {centre.ask(family=family)[0] for _ in range(4)} == {answering}
