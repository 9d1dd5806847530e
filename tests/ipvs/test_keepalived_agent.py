"""The whole LB agent, as its program builds it from settings, with the data plane keepalived."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bascule.agents.lb_node.agent import LBAgent
from bascule.model.configurations import Version
from bascule.model.health_checks import Health
from bascule.model.reports import LBNodeReport
from bascule.model.strategies import Strategy
from bascule.programs.lb_agent import build
from bascule.programs.settings import LBAgentSettings, load
from tests.ipvs import keepalived_bench
from tests.ipvs.bench import VIP
from tests.ipvs.centre import ADDRESSES, TARGET_PORT, Centre, balancer
from tests.ipvs.keepalived_bench import PATIENCE, TCP_CHECK, Node

pytestmark = [pytest.mark.root, pytest.mark.guest]
# A timeout longer than the interval is refused where configurations come in.
WANTED = balancer(replace(TCP_CHECK, interval=5), "one", "two", strategy=Strategy.ROUND_ROBIN)
SERVICE = WANTED.services[0].id
TWO = ADDRESSES[4]["two"]
WELL, ILL = Health.SUCCESS, Health.FAILURE


@pytest.fixture
def settings(centre: Centre, node: Node, monkeypatch: pytest.MonkeyPatch) -> LBAgentSettings:
    """As an operator would give them; the notification script writes down what it is told."""
    scripts = node.folder / "scripts"
    scripts.mkdir()
    (scripts / "tell").write_text(f'#!/bin/sh\necho "$@" >>{node.folder}/told\n')
    (scripts / "tell").chmod(0o755)
    chosen = {"DATAPLANE": "keepalived", "ANNOUNCER": "fake", "NODE_NAME": centre.of("lb"), "AGENT_TOKEN": "t" * 16}
    folders = {"RUN_DIR": node.folder, "STATE_DIR": node.folder / "state", "CHECK_SCRIPTS_DIR": scripts}
    # The fake's routers forget everything when the process ends, as if the machine had booted.
    more = {"NOTIFY_SCRIPT": "tell", "ENFORCE_INTERVAL": "0.5", "START_HOLD": "0"}
    for name, value in {**chosen, **folders, **more}.items():
        monkeypatch.setenv(f"BASCULE_{name}", str(value))
    return load(LBAgentSettings)


async def until(agent: LBAgent, condition: Callable[[LBNodeReport], object]) -> None:
    """Wait for what the agent's own passes bring about."""
    async with asyncio.timeout(PATIENCE):
        while not condition(agent.report()):  # noqa: ASYNC110  a report has no event
            await asyncio.sleep(0.1)


def healths(report: LBNodeReport) -> list[Health]:
    return [each.health for each in report.load_balancers[0].health]


async def life(centre: Centre, settings: LBAgentSettings, folder: Path) -> None:
    """From the first command to the removal, with an end of the process between."""
    agent = build(settings)
    await agent.start()
    answer = await agent.put(WANTED)
    assert (answer.problems, answer.ready, answer.announced) == ((), True, True)
    assert [each.health for each in answer.health] == [WELL, WELL]
    assert (await asyncio.to_thread(centre.ask))[0] in {"one", "two"}
    centre.unplug("two")
    await until(agent, lambda report: healths(report) == [WELL, ILL])
    assert {(await asyncio.to_thread(centre.ask))[0] for _ in range(4)} == {"one"}
    await until(agent, lambda _: f"backend {SERVICE} {TWO} {TARGET_PORT} down\n" in (folder / "told").read_text())
    centre.plug("two")
    await until(agent, lambda report: healths(report) == [WELL, WELL])
    await agent.close()
    before = keepalived_bench.pids(folder / settings.node_name / f"bascule-{settings.node_name}-{VIP}")

    agent = build(settings)
    await agent.start()
    report = agent.report()
    assert (report.problems, healths(report)) == ((), [WELL, WELL])
    assert report.data_plane.ready == report.announcer.announced == {VIP}
    assert keepalived_bench.pids(folder / settings.node_name / f"bascule-{settings.node_name}-{VIP}") == before
    await agent.delete(WANTED.load_balancer_id, Version(1, 2))
    report = agent.report()
    assert (report.problems, report.load_balancers, report.data_plane.services) == ((), (), ())
    await agent.close()


def test_the_agent_serves_judges_and_tells(centre: Centre, node: Node, settings: LBAgentSettings) -> None:
    """It announces once instances are judged, tells its script who goes down, and takes over what the last one left."""
    with keepalived_bench.cleaned(centre, node.folder / centre.of("lb")):
        centre.inside("lb", lambda: asyncio.run(life(centre, settings, node.folder)))
