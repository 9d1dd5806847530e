"""A real LB agent process with the operator's scripts: weights, the sorry server, notifications, refusals."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from bascule.model.addresses import IPAddress
from bascule.model.configurations import Backend, BalancerConfiguration
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode
from tests.integration.test_agents import Agent, balancer
from tests.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: scripts must be root's")
MEMBER, SORRY = IPv4Address("127.0.0.1"), IPv4Address("127.0.0.9")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The operator's scripts: one that ends with the status in a file, one that writes down what it is told."""
    folder = tmp_path / "checks"
    folder.mkdir(mode=0o755)
    (folder / "status").write_text("52")
    for name, text in {"check": f"exit $(cat {folder}/status)", "notify": f'echo "$@" >> {folder}/told'}.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def agent(tmp_path: Path, folder: Path) -> Iterator[Agent]:
    settings = {"BASCULE_CHECK_SCRIPTS_DIR": str(folder), "BASCULE_NOTIFY_SCRIPT": "notify"}
    agent = Agent("lb_agent", tmp_path, BASCULE_DATAPLANE="fake", BASCULE_ANNOUNCER="fake", **settings)
    yield agent
    agent.close()


def checked_by(script: str) -> BalancerConfiguration:
    """One instance, checked by a script each second, with a sorry server."""
    check = HealthCheck(
        mode=HealthCheckMode.SCRIPT, port=80, interval=1, timeout=1, retries=0, script=script, script_weight=True,
        sorry_server=SORRY,
    )  # fmt: skip
    whole = balancer(80)
    member = Backend(instance_id=UUID(int=3), address=MEMBER)
    return replace(whole, services=(replace(whole.services[0], health_check=check, backends=(member,)),))


def served(agent: Agent) -> dict[IPAddress, int]:
    """Weights by address."""
    return {each.address: each.weight for each in agent.node_report().data_plane.services[0].backends}


def test_weights_sorry_server_and_notifications_follow_the_script(agent: Agent, folder: Path) -> None:
    """Exit status 52 is weight 50, 1 brings the sorry server, 0 the instance with its own weight; all are told."""
    assert agent.put(checked_by("check")).status_code == 200
    until("the script's weight", lambda: served(agent) == {MEMBER: 50})
    (folder / "status").write_text("1")
    until("the sorry server", lambda: served(agent) == {SORRY: 1})
    (folder / "status").write_text("0")
    until("the instance with its own weight", lambda: served(agent) == {MEMBER: 1})
    told = folder / "told"
    until("six notifications", lambda: len(told.read_text().splitlines()) == 6)
    lines = [line.split() for line in told.read_text().splitlines()]
    assert [line[-1] for line in lines if line[0] == "backend"] == ["up", "down", "up"]
    assert [line[-1] for line in lines if line[0] == "service"] == ["up", "down", "up"]


def test_a_script_that_others_may_write_is_not_run(agent: Agent, folder: Path) -> None:
    """The instance is unhealthy, and the report says which file to repair."""
    (folder / "check").chmod(0o777)
    agent.put(checked_by("check"))
    until("a verdict", lambda: agent.node_report().load_balancers[0].health[0].health is Health.FAILURE)
    assert "chmod go-w" in agent.node_report().load_balancers[0].health[0].message


def test_a_path_is_refused_at_the_agents_edge(agent: Agent) -> None:
    """400 with the field, and nothing is carried."""
    answer = agent.put(checked_by("../checks/check"))
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (400, "services.0.health_check.script")
    assert agent.node_report().load_balancers == ()
