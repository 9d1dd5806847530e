"""Who serves while nobody can."""

from __future__ import annotations

from uuid import UUID

import pytest

from bascule.agents.lb_node.serving import desire
from bascule.healthchecks.interface import TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.configurations import Backend, BalancerConfiguration, ServiceConfiguration, Version
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode
from bascule.model.strategies import Protocol, Strategy
from tests.ipvs.bench import FAMILIES, VIPS
from tests.ipvs.centre import ADDRESSES, TARGET_PORT, Centre

pytestmark = pytest.mark.root


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
