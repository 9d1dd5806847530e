"""A deleted load balancer leaves nothing on any node."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest

from bascule.lab.network import namespace
from bascule.lab.roster import agent_url
from bascule.lab.router import announcements
from bascule.lab.state import Lab
from bascule.lab.topology import Role
from bascule.lab.waiting import wait_until
from bascule.system.commands import run
from bascule.system.namespaces import call_in

from .conftest import Balancer

pytestmark = pytest.mark.lab


def _report(lab: Lab, node: str) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {lab.agent_tokens[node]}"}
    url = agent_url(lab.topology.host(node)) + "/v1/report"
    answer = call_in(
        namespace(lab.name, "control"), lambda: httpx.get(url, headers=headers, timeout=5, trust_env=False)
    )
    found: dict[str, Any] = answer.raise_for_status().json()
    return found


@pytest.mark.parametrize("family", [4, 6])
def test_deleting_removes_everything(lab: Lab, new_balancer: Callable[[str, int], Balancer], family: int) -> None:
    """After the deletion no node knows the load balancer, holds its address, announces it or forwards for it."""
    doomed = new_balancer("doomed", family)
    doomed.api.delete_load_balancer(doomed.id)
    for host in (*lab.topology.of_role(Role.LB_NODE), *lab.topology.of_role(Role.HYPERVISOR)):
        assert str(doomed.id) not in str(_report(lab, host.name))
        for command in ("ip address", f"ip -{family} route show table all", "nft list ruleset"):
            shown = call_in(namespace(lab.name, host.name), partial(run, command.split()))
            assert str(doomed.vip) not in shown
    wait_until(lambda: doomed.vip not in announcements(lab), what="The end of the route")
    assert doomed.id not in {each.id for each in doomed.api.load_balancers()}
