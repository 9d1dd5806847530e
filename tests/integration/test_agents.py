"""Real agent processes with fake drivers, over HTTP: commands, refusals, `kill -9`, health that follows a server."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from bascule.balancing.agent_client import HttpAgents
from bascule.dataplanes.ipvs import reading
from bascule.model.configurations import (
    Backend,
    BalancerConfiguration,
    ForwardingConfiguration,
    ForwardingRule,
    ServiceConfiguration,
    Version,
)
from bascule.model.errors import SystemFailure
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode
from bascule.model.nodes import Agent as NodeAgent
from bascule.model.nodes import LBNode
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport
from bascule.model.strategies import Protocol, Strategy
from bascule.wire import agent_v1
from tests.unit.api.installation import NO_AUTHORITIES
from tests.waiting import until

TOKEN = "a token for tests only"
FIRST = Version(1, 1)
LB, VIP, INSTANCE = UUID(int=1), IPv4Address("192.0.2.1"), IPv4Address("127.0.0.1")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


class Agent:
    """One agent process, which can die and be born again on the same disk and port."""

    def __init__(self, program: str, disk: Path, **settings: str) -> None:
        port = free_port()
        self._command = [sys.executable, "-m", f"bascule.programs.{program}"]
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("BASCULE_")} | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "BASCULE_NODE_NAME": "node1",
            "BASCULE_AGENT_LISTEN": f"127.0.0.1:{port}",
            "BASCULE_AGENT_TOKEN": TOKEN,
            "BASCULE_STATE_DIR": str(disk),
            "BASCULE_LOG_FORMAT": "json",
            **settings,
        }
        self._log = disk / "log"
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}",
            headers={"Authorization": f"Bearer {TOKEN}"},
            trust_env=False,
            verify=NO_AUTHORITIES,
            timeout=20,
        )
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)
        until("the agent to answer", self._answers)

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with suppress(httpx.TransportError):
            return self.http.get("/v1/health").is_success
        return False

    def stop(self, number: signal.Signals) -> int:
        """Send the signal and wait for the end; returns the exit status."""
        self._process.send_signal(number)
        return self._process.wait(timeout=20)

    def close(self) -> None:
        """End it whatever state it is in."""
        self._process.kill()
        self._process.wait()
        self.http.close()

    def put(self, configuration: BalancerConfiguration | ForwardingConfiguration) -> httpx.Response:
        """PUT the configuration."""
        kind = (
            agent_v1.BALANCER_CONFIGURATION.dump_json(configuration)
            if isinstance(configuration, BalancerConfiguration)
            else agent_v1.FORWARDING_CONFIGURATION.dump_json(configuration)
        )
        return self.http.put(f"/v1/load-balancers/{configuration.load_balancer_id}", content=kind)

    def delete(self, version: Version) -> httpx.Response:
        """DELETE the load balancer of these tests."""
        version_given = {"epoch": version.epoch, "generation": version.generation}
        return self.http.delete(f"/v1/load-balancers/{LB}", params=version_given)

    def node_report(self) -> LBNodeReport:
        """The report of an LB agent."""
        return agent_v1.LB_NODE_REPORT.validate_json(self.http.get("/v1/report").content)

    def hypervisor_report(self) -> HypervisorReport:
        """The report of a hypervisor agent."""
        return agent_v1.HYPERVISOR_REPORT.validate_json(self.http.get("/v1/report").content)


@pytest.fixture
def lb_agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent("lb_agent", tmp_path, BASCULE_DATAPLANE="fake", BASCULE_ANNOUNCER="fake")
    yield agent
    agent.close()


@pytest.fixture
def hypervisor_agent(tmp_path: Path) -> Iterator[Agent]:
    agent = Agent("hypervisor_agent", tmp_path, BASCULE_FORWARDING="fake")
    yield agent
    agent.close()


class Fine(BaseHTTPRequestHandler):
    """200 to every GET."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Say nothing."""


@contextmanager
def web_server(port: int) -> Iterator[None]:
    """An instance that is well as long as the context lasts."""
    server = HTTPServer(("127.0.0.1", port), Fine)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def balancer(target_port: int, version: Version = FIRST) -> BalancerConfiguration:
    service = ServiceConfiguration(
        id=UUID(int=2),
        protocol=Protocol.TCP,
        port=80,
        target_port=target_port,
        strategy=Strategy.MAGLEV_HASH,
        health_check=HealthCheck(mode=HealthCheckMode.HTTP, port=target_port, interval=1, timeout=1, uri="/"),
        backends=(Backend(instance_id=UUID(int=3), address=INSTANCE),),
    )
    return BalancerConfiguration(
        load_balancer_id=LB, version=version, address=VIP, hash_seed=2**64 - 1, announced=True, services=(service,)
    )


def rules(version: Version = FIRST) -> ForwardingConfiguration:
    rule = ForwardingRule(VIP, Protocol.TCP, 80, INSTANCE, 8080)
    return ForwardingConfiguration(load_balancer_id=LB, version=version, rules=(rule,))


def test_a_command_is_put_reported_and_removed(lb_agent: Agent) -> None:
    """PUT answers with what is observed, GET tells the same, DELETE leaves nothing."""
    port = free_port()
    with web_server(port):
        answer = lb_agent.put(balancer(port))
        assert answer.status_code == 200
        report: BalancerReport = agent_v1.BALANCER_REPORT.validate_json(answer.content)
        assert (report.ready, report.announced) == (True, True)
        assert [each.health for each in report.health] == [Health.SUCCESS]
        node = lb_agent.node_report()
        assert node.load_balancers[0].configuration == balancer(port)
        assert node.problems == ()
        assert "bascule_load_balancer_announced" in lb_agent.http.get("/metrics").text
    assert lb_agent.delete(Version(1, 1)).status_code == 204
    node = lb_agent.node_report()
    assert node.load_balancers == ()
    assert node.announcer.announced == frozenset()


def test_a_report_that_is_known_is_not_sent_again(lb_agent: Agent) -> None:
    """With the ETag of the last answer there is 304, until a command changes something."""
    first = lb_agent.http.get("/v1/report")
    again = lb_agent.http.get("/v1/report", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    port = free_port()
    with web_server(port):
        lb_agent.put(balancer(port))
        changed = lb_agent.http.get("/v1/report", headers={"If-None-Match": first.headers["etag"]})
        assert changed.status_code == 200
        assert changed.headers["etag"] != first.headers["etag"]


async def test_the_client_reads_a_report_only_when_it_changed(lb_agent: Agent) -> None:
    """Two looks give the same object; a look after a command gives what is there now."""
    at = NodeAgent(url=str(lb_agent.http.base_url), token=TOKEN)
    node, agents = LBNode(id=UUID(int=9), name="lb", agent=at), HttpAgents()
    first = await agents.lb_node_report(node)
    assert await agents.lb_node_report(node) is first
    port = free_port()
    with web_server(port):
        await agents.put_balancer(node, balancer(port))
        assert [each.configuration for each in (await agents.lb_node_report(node)).load_balancers] == [balancer(port)]
    await agents.close()


def test_without_the_token_nothing_is_told(lb_agent: Agent) -> None:
    """No token and a wrong token are 403 problems; health and metrics are open."""
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
        answer = httpx.get(f"{lb_agent.http.base_url}/v1/report", headers=headers, trust_env=False)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["code"] == "forbidden"
    for path in ("/v1/health", "/metrics"):
        assert httpx.get(f"{lb_agent.http.base_url}{path}", trust_env=False).status_code == 200


def test_a_stale_command_is_refused(lb_agent: Agent) -> None:
    """An older epoch is a 409 with its own code, for PUT and DELETE, and changes nothing."""
    port = free_port()
    lb_agent.put(balancer(port, Version(5, 2)))
    for answer in (lb_agent.put(balancer(port, Version(4, 9))), lb_agent.delete(Version(5, 1))):
        assert answer.status_code == 409
        assert answer.json()["code"] == "stale-command"
    assert lb_agent.node_report().load_balancers[0].configuration.version == Version(5, 2)


def test_bad_bodies_are_refused_with_the_field(lb_agent: Agent) -> None:
    """Too large, not JSON, a wrong field, another's identifier, a bad path, a missing parameter, an unknown path."""
    path = f"/v1/load-balancers/{LB}"
    assert lb_agent.http.put(path, content=b" " * (1024 * 1024 + 1)).status_code == 413
    wrong = agent_v1.BALANCER_CONFIGURATION.dump_json(balancer(80)).replace(b'"port":80', b'"port":"x"', 1)
    other = agent_v1.BALANCER_CONFIGURATION.dump_json(replace(balancer(80), load_balancer_id=UUID(int=9)))
    expected = {b"{": "body", wrong: "services.0.port", other: "load_balancer_id"}
    for content, field in expected.items():
        answer = lb_agent.http.put(path, content=content)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["field"] == field
    assert lb_agent.http.put("/v1/load-balancers/x", content=b"{}").json()["errors"][0]["field"] == "load_balancer_id"
    assert lb_agent.http.delete(path, params={"epoch": 1}).json()["errors"][0]["field"] == "generation"
    assert lb_agent.http.get("/v2").json()["status"] == 404
    assert lb_agent.node_report().load_balancers == ()


def test_a_killed_agent_serves_the_same_from_disk(lb_agent: Agent) -> None:
    """After `kill -9` the new process has the configuration and the last verdict before any command."""
    port = free_port()
    with web_server(port):
        lb_agent.put(balancer(port, Version(3, 4)))
        lb_agent.stop(signal.SIGKILL)
        lb_agent.start()
        until("the address to be announced", lambda: VIP in lb_agent.node_report().announcer.announced)
        report = lb_agent.node_report()
        assert report.load_balancers[0].configuration == balancer(port, Version(3, 4))
        assert report.load_balancers[0].health[0].health is Health.SUCCESS
        assert report.data_plane.services[0].backends[0].address == INSTANCE
        assert lb_agent.put(balancer(port, Version(2, 9))).status_code == 409


def test_health_follows_the_instance_down_and_up(lb_agent: Agent) -> None:
    """A server that stops leaves the data plane and comes back to it; the address is announced all the while."""

    def served() -> bool:
        report = lb_agent.node_report()
        assert report.announcer.announced == {VIP}
        return bool(report.data_plane.services[0].backends)

    port = free_port()
    with web_server(port):
        lb_agent.put(balancer(port))
        until("the backend to serve", served)
    until("the backend to be left out", lambda: not served())
    assert lb_agent.node_report().load_balancers[0].health[0].health is Health.FAILURE
    with web_server(port):
        until("the backend to serve again", served)


def test_sigterm_ends_an_agent_with_status_zero(lb_agent: Agent) -> None:
    """An orderly stop is no failure for the service manager, and the state is there at the next start."""
    lb_agent.put(balancer(free_port()))
    assert lb_agent.stop(signal.SIGTERM) == 0
    lb_agent.start()
    assert len(lb_agent.node_report().load_balancers) == 1


def test_a_hypervisor_obeys_refuses_and_survives(hypervisor_agent: Agent) -> None:
    """Rules are put, fenced, kept over `kill -9`, and removed."""
    answer = hypervisor_agent.put(rules(Version(3, 1)))
    assert answer.status_code == 200
    assert agent_v1.FORWARDING_CONFIGURATION.validate_json(answer.content) == rules(Version(3, 1))
    assert hypervisor_agent.put(rules(Version(2, 1))).status_code == 409
    hypervisor_agent.stop(signal.SIGKILL)
    hypervisor_agent.start()
    until("the rules", lambda: INSTANCE in hypervisor_agent.hypervisor_report().forwarding.instances)
    assert hypervisor_agent.hypervisor_report().load_balancers == (rules(Version(3, 1)),)
    assert hypervisor_agent.delete(Version(3, 1)).status_code == 204
    report = hypervisor_agent.hypervisor_report()
    assert (report.load_balancers, report.forwarding.instances) == ((), frozenset())


@pytest.mark.parametrize("program", ["lb_agent", "hypervisor_agent"])
def test_help_lists_the_settings(program: str) -> None:
    """`--help` works without any setting, and names them all."""
    command = [sys.executable, "-m", f"bascule.programs.{program}", "--help"]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    text = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert "BASCULE_AGENT_TOKEN" in text
    assert "BASCULE_NODE_NAME" in text


def test_a_missing_setting_is_named() -> None:
    """A process without its settings ends at once, with the variable in the log."""
    command = [sys.executable, "-m", "bascule.programs.lb_agent"]
    environment = {"PYTHONPATH": os.pathsep.join(sys.path), "PATH": os.environ["PATH"]}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "BASCULE_NODE_NAME" in done.stderr


def kernel_has_ipvs() -> bool:
    """Or can load it."""
    try:
        reading.require()
    except SystemFailure:
        return False
    return True


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to ask the kernel for IPVS")
@pytest.mark.skipif(kernel_has_ipvs(), reason="is about a kernel without IPVS")
@pytest.mark.skipif(shutil.which("keepalived") is None, reason="needs keepalived")
@pytest.mark.parametrize("data_plane", ["ipvs", "keepalived"])
def test_a_kernel_without_ipvs_is_named(tmp_path: Path, data_plane: str) -> None:
    """The agent's report, its answer to a command and its log say what to load; it runs on, and announces nothing."""
    settings = {"BASCULE_DATAPLANE": data_plane, "BASCULE_ANNOUNCER": "fake", "BASCULE_RUN_DIR": str(tmp_path / "run")}
    agent = Agent("lb_agent", tmp_path, **settings)
    try:
        problem = "data plane: This kernel has no IPVS: load it with `modprobe ip_vs`."
        assert any(each.startswith(problem) for each in agent.node_report().problems)
        answer: BalancerReport = agent_v1.BALANCER_REPORT.validate_json(agent.put(balancer(free_port())).content)
        assert (answer.ready, answer.announced) == (False, False)
        assert any(each.startswith(problem) for each in answer.problems)
        assert problem in (tmp_path / "log").read_text()
    finally:
        agent.close()
