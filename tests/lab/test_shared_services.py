"""The whole system on PostgreSQL and Kafka, with two orchestrators: machines come and go, and so do the servers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from ipaddress import ip_address
from uuid import UUID, uuid4

import httpx
import pytest

from bascule.balancing.audit import DriftKind
from bascule.client.clients import AdminClient
from bascule.events.messages import MachineEventKind
from bascule.lab import faults, machines, processes, traffic
from bascule.lab.control_plane import ControlPlane
from bascule.lab.network import namespace
from bascule.lab.roster import agent_url
from bascule.lab.shape import DatabaseKind, EventsFrom, Shape
from bascule.lab.state import Lab
from bascule.lab.stream import Stream
from bascule.lab.topology import AGENT_PORT, INSTANCE_PORT
from bascule.lab.waiting import wait_until
from bascule.model.configurations import ForwardingConfiguration, ForwardingRule, Version
from bascule.model.errors import BasculeError
from bascule.model.strategies import Protocol
from bascule.system.commands import run
from bascule.system.namespaces import call_in
from bascule.wire.agent_v1 import FORWARDING_CONFIGURATION

from .conftest import SERVING, Balancer, build_lab, create_balancer, instances

pytestmark = pytest.mark.lab
_LEASE = 15.0  # seconds, as the orchestrator's settings have it
_ORCHESTRATORS = {"lab-{}": 1, "lab-{}2": 2}


@pytest.fixture(scope="module")
def large_lab() -> Iterator[Lab]:
    """A lab with a database and a broker of its own, and two orchestrators."""
    shape = Shape(database=DatabaseKind.POSTGRESQL, events=EventsFrom.KAFKA, orchestrators=2)
    yield from build_lab(f"pk{os.getpid()}", shape)


@pytest.fixture(scope="module")
def kept(large_lab: Lab) -> Iterator[Balancer]:
    """A load balancer for all tests here."""
    with ControlPlane(large_lab) as api:
        yield create_balancer(large_lab, api, "shared")


@pytest.fixture
def served(kept: Balancer) -> Balancer:
    """The load balancer, with as many instances as it began with."""
    if kept.api.pool_sizes() != {SERVING}:
        kept.api.scale(SERVING, drain_deadline=0)
    kept.wait_until_answered_by(instances(kept.lab, SERVING))
    return kept


def test_traffic_follows_machines_over_kafka(served: Balancer) -> None:
    """A stopped machine's place is taken by the next one; one that migrated serves from its new hypervisor."""
    lab = served.lab
    machines.tell(lab, machines.events(lab, "vm1", MachineEventKind.STOPPED))
    served.wait_until_answered_by({"vm2", "vm3", "vm4"})
    machines.tell(lab, machines.events(lab, "vm1", MachineEventKind.STARTED))
    served.wait_until_answered_by({"vm1", "vm2", "vm3"})

    for hypervisor in ("hv2", "hv1"):
        lab = machines.move(lab, "vm1", hypervisor)
        machines.tell(lab, machines.events(lab, "vm1", MachineEventKind.MIGRATED))
        served.wait_until_answered_by({"vm1", "vm2", "vm3"})
        tally = traffic.send(lab, served.web, 300)
        assert not tally.failures
        assert not tally.disguised


def test_traffic_outlives_the_database(served: Balancer) -> None:
    """With PostgreSQL gone no connection fails and a change is refused; one asked when it is back comes true."""
    with Stream(served.lab, served.web) as stream:
        stream.wait_for_more(50)
        faults.stop_database(served.lab)
        with pytest.raises(BasculeError):
            served.api.request_scale(4)
        stream.wait_for_more(300)
        faults.restart_servers(served.lab)
        served.api.scale(4)
        served.wait_until_answered_by(instances(served.lab, 4))
    assert not stream.tally.failures


def test_another_orchestrator_takes_over(served: Balancer) -> None:
    """Killed in the middle of a run, an orchestrator's work is done by the other one once its lease is over."""
    lab = served.lab
    agent = processes.find(lab, "hv1-agent")
    with AdminClient(lab.api_url, lab.admin_token) as admin:

        def holder() -> str:
            holders = {row.lease_holder for row in admin.jobs.queue() if row.id == str(served.id)}
            return (holders.pop() or "").rpartition("-")[0]

        # The run waits for an agent that does not answer, so that it is not over before its worker dies.
        os.kill(agent.pid, signal.SIGSTOP)
        try:
            served.api.request_scale(4)
            first = wait_until(holder, what="A worker's claim", every=0.01)
            number = {name.format(lab.name): number for name, number in _ORCHESTRATORS.items()}[first]
            faults.kill(lab, "control-orchestrator" if number == 1 else f"control-orchestrator{number}")
        finally:
            os.kill(agent.pid, signal.SIGCONT)
        served.wait_until_answered_by(instances(lab, 4), timeout=2 * _LEASE)
        faults.restart_orchestrator(lab, number)


@pytest.mark.slow
def test_agents_publish_what_the_control_plane_cannot_ask(served: Balancer) -> None:
    """A hypervisor whose agent answers nobody is judged by what it publishes: what it should not have is found."""
    lab = served.lab
    rule = ForwardingRule(
        address=ip_address("203.0.113.99"),
        protocol=Protocol.TCP,
        port=80,
        instance=lab.topology.host("vm1").address,
        target_port=INSTANCE_PORT,
    )
    stranger = ForwardingConfiguration(load_balancer_id=uuid4(), version=Version(1, 1), rules=(rule,))
    with AdminClient(lab.api_url, lab.admin_token) as admin:

        def foreign() -> set[tuple[str, UUID]]:
            found = admin.drift.list_all()
            return {(each.node, each.load_balancer) for each in found if each.kind == DriftKind.FOREIGN}

        whole = admin.drift.wait(admin.drift.audit().id, 30)
        assert (sorted(whole.answered), whole.silent, whole.findings) == (["hv1", "hv2", "lb1", "lb2"], [], [])
        _refuse_questions(lab, "hv1")
        try:
            _command(lab, "hv1", "PUT", stranger)
            expected = {("hv1", stranger.load_balancer_id)}
            wait_until(lambda: foreign() == expected, what="The drift on hv1", timeout=60)
            assert admin.drift.wait(admin.drift.audit("hv1").id, 30).silent == ["hv1"]
        finally:
            _command(lab, "hv1", "DELETE", stranger)
            _answer_questions(lab, "hv1")
        wait_until(lambda: not foreign(), what="The end of the drift", timeout=60)


@pytest.mark.slow
def test_events_wait_for_the_broker(served: Balancer) -> None:
    """A broker that died and forgot everything is found again, and what is told then is obeyed."""
    # Consumers first find that nobody knows their group any more, and make a new one: half a minute with two of them.
    faults.kill(served.lab, "control-kafka")
    faults.restart_servers(served.lab)
    machines.tell(served.lab, machines.events(served.lab, "vm2", MachineEventKind.STOPPED))
    served.wait_until_answered_by({"vm1", "vm3", "vm4"}, timeout=60)
    machines.tell(served.lab, machines.events(served.lab, "vm2", MachineEventKind.STARTED))
    served.wait_until_answered_by(instances(served.lab, SERVING), timeout=60)


def _refuse_questions(lab: Lab, node: str) -> None:
    chain = f"type filter hook input priority 0; iif eth0 tcp dport {AGENT_PORT} drop;"
    rule = f"table inet deaf {{ chain in {{ {chain} }}; }}"
    call_in(namespace(lab.name, node), lambda: run(["nft", "-f", "-"], stdin=rule))


def _answer_questions(lab: Lab, node: str) -> None:
    call_in(namespace(lab.name, node), lambda: run(["nft", "delete", "table", "inet", "deaf"]))


def _command(lab: Lab, node: str, method: str, configuration: ForwardingConfiguration) -> None:
    """Command a hypervisor's agent behind the control plane's back, from the node itself."""
    url = f"{agent_url(lab.topology.host(node))}/v1/load-balancers/{configuration.load_balancer_id}"
    content = FORWARDING_CONFIGURATION.dump_json(configuration) if method == "PUT" else None
    version = {"epoch": 1, "generation": 2} if method == "DELETE" else {}
    headers = {"Authorization": f"Bearer {lab.agent_tokens[node]}"}

    def ask() -> httpx.Response:
        return httpx.request(method, url, params=version, content=content, headers=headers, timeout=10, trust_env=False)

    assert call_in(namespace(lab.name, node), ask).is_success
