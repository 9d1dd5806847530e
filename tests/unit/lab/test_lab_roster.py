"""Which programs run where."""

from __future__ import annotations

import pytest

from bascule.lab.roster import OUTSIDE, agent_program, api_program, orchestrator_program, roster
from bascule.lab.servers import check_kafka, check_postgresql
from bascule.lab.shape import DatabaseKind, EventsFrom, Shape, usual_forwarding
from bascule.lab.state import Lab, new_lab
from bascule.lab.topology import Role
from bascule.model.data_planes import DataPlaneName
from bascule.model.errors import SystemFailure
from bascule.programs.settings import (
    ApiSettings,
    HypervisorAgentSettings,
    LBAgentSettings,
    OrchestratorSettings,
    load,
)


@pytest.fixture
def facts() -> Lab:
    """A lab that is never built."""
    return new_lab("paper", Shape(), hosts_only=False)


def test_every_host_that_works_has_its_program(facts: Lab) -> None:
    """Nodes run agents, instances servers, the router BIRD, control the orchestrator; only the API is outside."""
    programs = {(program.host, program.name) for program in roster(facts)}
    working = {host.name for host in facts.topology.hosts if host.role is not Role.CLIENT}
    assert {host for host, _ in programs} == working | {OUTSIDE}
    assert {("lb1", "agent"), ("hv2", "agent"), ("vm4", "server"), ("router", "bird"), (OUTSIDE, "api")} <= programs


def test_titles_are_unique(facts: Lab) -> None:
    """No two programs write to one log."""
    titles = [program.title for program in roster(facts)]
    assert len(set(titles)) == len(titles)


def test_hosts_only_leaves_out_our_own_programs() -> None:
    """Without a control plane only BIRD and the instances run."""
    programs = roster(new_lab("paper", Shape(), hosts_only=True))
    assert {program.name for program in programs} == {"bird", "server"}


@pytest.mark.parametrize("dataplane", DataPlaneName)
def test_agents_are_told_what_to_run(dataplane: DataPlaneName, monkeypatch: pytest.MonkeyPatch) -> None:
    """LB nodes run the lab's data plane, hypervisors its forwarding, and both agree on the tunnels' sources."""
    lab = new_lab("paper", Shape(dataplane=dataplane, forwarding=usual_forwarding(dataplane)), hosts_only=False)
    for node in ("lb1", "hv1"):
        for name, value in agent_program(lab, node).environment.items():
            monkeypatch.setenv(name, value)
    lb_node, hypervisor = load(LBAgentSettings), load(HypervisorAgentSettings)
    assert lb_node.dataplane == dataplane
    assert hypervisor.forwarding == ("ebpf" if dataplane is DataPlaneName.XDP else "netfilter")
    assert lb_node.tunnel_source in hypervisor.tunnel_sources
    assert hypervisor.tunnel_sources == lab.shape.tunnel_sources


def test_settings_are_those_the_programs_read(facts: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every environment is accepted by the program it is for, and says what the topology says."""
    for program in (agent_program(facts, "hv1"), agent_program(facts, "lb2"), api_program(facts)):
        for name, value in program.environment.items():
            monkeypatch.setenv(name, value)
    lb_node = load(LBAgentSettings)
    assert lb_node.agent_listen == "10.0.2.2:7701"
    assert lb_node.bgp_neighbors == ("10.0.2.1/65000", "fd00:10:0:2::1/65000")
    hypervisor = load(HypervisorAgentSettings)
    assert hypervisor.tunnel_mtu == facts.shape.underlay_mtu - 20
    assert hypervisor.tunnel_sources == (lb_node.tunnel_source, lb_node.tunnel_source_v6)
    api = load(ApiSettings)
    assert api.database_url == orchestrator_program(facts).environment["BASCULE_DATABASE_URL"]
    assert api.api_listen.endswith(f":{facts.api_port}")


def test_servers_of_its_own_run_beside_the_orchestrators(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PostgreSQL and Kafka both run in `control`, and every orchestrator is told of them and has its own name."""
    try:
        check_postgresql()
        check_kafka()
    except SystemFailure as failure:
        pytest.skip(failure.sentence)
    shape = Shape(database=DatabaseKind.POSTGRESQL, events=EventsFrom.KAFKA, orchestrators=2)
    lab = new_lab("paper", shape, hosts_only=False)
    programs = {program.title: program for program in roster(lab)}
    assert {"control-postgresql", "control-kafka", "control-orchestrator", "control-orchestrator2"} <= programs.keys()
    found = []
    for title in ("control-orchestrator", "control-orchestrator2"):
        for name, value in programs[title].environment.items():
            monkeypatch.setenv(name, value)
        found.append(load(OrchestratorSettings))
    assert {settings.worker_name for settings in found} == {"lab-paper", "lab-paper2"}
    assert {settings.kafka_servers for settings in found} == {("10.0.0.2:9092",)}
    folder = lab.directory / "postgresql"
    assert {settings.database_url for settings in found} == {f"postgresql+psycopg://postgres@/postgres?host={folder}"}
