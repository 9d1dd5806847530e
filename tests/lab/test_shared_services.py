"""The whole system on PostgreSQL and Kafka, with two orchestrators: machines come and go, and so do the servers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from bascule.client.clients import AdminClient
from bascule.events.messages import MachineEventKind
from bascule.lab import faults, machines, processes, traffic
from bascule.lab.control_plane import ControlPlane
from bascule.lab.shape import DatabaseKind, EventsFrom, Shape
from bascule.lab.state import Lab
from bascule.lab.stream import Stream
from bascule.lab.waiting import wait_until
from bascule.model.errors import BasculeError

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
        kept.api.scale(SERVING)
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
        assert first not in holder()
