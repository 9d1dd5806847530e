"""Who serves while nobody can."""

from __future__ import annotations

import pytest

from bascule.agents.lb_node.serving import desire
from bascule.healthchecks.interface import TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode
from bascule.model.strategies import Strategy
from tests.ipvs.bench import FAMILIES
from tests.ipvs.centre import ADDRESSES, TARGET_PORT, Centre, balancer

pytestmark = pytest.mark.root


@pytest.mark.parametrize("family", FAMILIES)
def test_the_sorry_server_serves_until_the_instances_do_again(centre: Centre, family: int) -> None:
    """By what the agent makes of its verdicts: real connections meet the sorry server, and the instance afterwards."""
    check = HealthCheck(mode=HealthCheckMode.TCP, port=TARGET_PORT, sorry_server=ADDRESSES[family]["two"])
    configuration = balancer(check, "one", strategy=Strategy.MAGLEV_HASH, family=family)
    (web,) = configuration.services
    (instance,) = web.backends
    for health, answering in ((Health.FAILURE, "two"), (Health.SUCCESS, "one")):
        verdicts = {TargetKey(web.id, instance.instance_id): Verdict(health=health)}
        wanted = desire([configuration], verdicts, set(), {web.id: health is Health.SUCCESS})
        centre.node.enforce(*wanted.services)
        assert {centre.ask(family=family)[0] for _ in range(4)} == {answering}
