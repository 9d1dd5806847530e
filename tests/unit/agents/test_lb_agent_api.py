"""The LB agent over HTTP, as its control plane and Prometheus see it, over fakes."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path
from random import Random

import httpx

from bascule.agents.fencing import DesiredState
from bascule.agents.lb_node.agent import DESIRED, LBAgent
from bascule.agents.lb_node.api import lb_agent_app
from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.lb_node.metrics import LBNodeMetrics
from bascule.agents.lb_node.saved_verdicts import VERDICTS
from bascule.agents.state_file import StateFile
from bascule.announcers.fake import FakeAnnouncer
from bascule.dataplanes.fake import FakeDataPlane
from bascule.healthchecks.runner import HealthCheckRunner
from bascule.model.reports import AnnouncerReport, LBNodeReport, VrrpReport

TOKEN = "a-token-of-a-test"


def agent(folder: Path, announcer: FakeAnnouncer) -> LBAgent:
    return LBAgent(
        node="lb1",
        orders=StateFile(folder / "load-balancers.json", DESIRED, DesiredState),
        verdicts=StateFile(folder / "verdicts.json", VERDICTS, tuple),
        health_checks=HealthCheckRunner({}, random=Random(1)),
        enforcement=Enforcement(FakeDataPlane(), announcer),
        interval=3600,
    )


async def test_only_who_has_the_token_renews_the_lease(tmp_path: Path) -> None:
    """The announcer hears of each request of the control plane, whatever it asks, and of nobody else's."""
    announcer = FakeAnnouncer()
    carrier = agent(tmp_path, announcer)
    await carrier.start()
    transport = httpx.ASGITransport(lb_agent_app(carrier, TOKEN))
    async with httpx.AsyncClient(transport=transport, base_url="http://lb1") as client:
        for path in ("/v1/health", "/metrics", "/v1/report"):
            await client.get(path)
        await client.get("/v1/report", headers={"Authorization": "Bearer somebody-else-s"})
        assert announcer.words == 0
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert (await client.get("/v1/report", headers=known)).status_code == 200
        assert announcer.words == 1
        removal = "/v1/load-balancers/00000000-0000-0000-0000-000000000001?epoch=1&generation=1"
        assert (await client.delete(removal, headers=known)).status_code == 204
        assert announcer.words == 2
    await carrier.close()


def test_metrics_tell_the_state_of_each_address() -> None:
    """Of the states of VRRP exactly one is 1."""
    vrrp = (VrrpReport(address=IPv4Address("192.0.2.1"), router_id=7, state="MASTER"),)
    report = LBNodeReport(node="lb1", started_at=0, announcer=AnnouncerReport(vrrp=vrrp))
    [states] = [each for each in LBNodeMetrics(lambda: report).collect() if each.name == "bascule_vrrp_state"]
    assert {tuple(each.labels.values()): each.value for each in states.samples} == {
        ("192.0.2.1", "7", "master"): 1,
        ("192.0.2.1", "7", "backup"): 0,
        ("192.0.2.1", "7", "fault"): 0,
        ("192.0.2.1", "7", "init"): 0,
    }
