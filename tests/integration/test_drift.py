"""The auditor over a real database and reports of agents in memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from bascule.balancing.audit import DriftKind
from bascule.balancing.auditor import Auditor
from bascule.balancing.audits_on_request import AuditsOnRequest
from bascule.balancing.drift_metrics import DriftMetrics
from bascule.events.messages import NodeReport
from bascule.model.configurations import Version
from bascule.model.errors import Unavailable
from bascule.orchestration.queue import Priority
from bascule.store import drift_audits, drift_findings, load_balancers, tables
from bascule.store.drift_audits import AuditRow
from bascule.store.drift_findings import DriftRow
from tests.integration.expected_state import mark_deleting, shrink_pool
from tests.integration.test_orchestrator import HOSTS, NODES, ControlPlane, control

__all__ = ["control"]  # pytest finds the fixture here


@dataclass
class Audited:
    """A settled load balancer, and an auditor."""

    control: ControlPlane
    load_balancer_id: UUID
    auditor: Auditor
    registry: CollectorRegistry

    async def audit(self) -> list[DriftRow]:
        """Hand the auditor a report of everybody who answers; returns what lasts."""
        await self.report()
        await self.auditor.run_once()
        return self.history(resolved=False)

    async def report(self) -> None:
        """What the watch does."""
        agents, now = self.control.agents, self.control.clock.now()
        for node in NODES:
            if agents.node(node.id).reachable:
                await self.auditor.take(NodeReport(node_id=node.id, at=now, lb_node=await agents.lb_node_report(node)))
        for host in HOSTS:
            if agents.node(host.id).reachable:
                found = await agents.hypervisor_report(host)
                await self.auditor.take(NodeReport(node_id=host.id, at=now, hypervisor=found))

    def history(self, *, resolved: bool = True) -> list[DriftRow]:
        """All findings."""
        with self.control.database.read() as connection:
            return drift_findings.latest(connection, resolved=resolved, limit=100)

    async def audit_on_request(self, *node_ids: UUID) -> tuple[AuditRow, list[DriftRow]]:
        """Ask for an audit and let an orchestrator do it; returns it with what it found."""
        control = self.control
        on_request = AuditsOnRequest(
            database=control.database, agents=control.agents, clock=control.clock, auditor=self.auditor
        )
        with control.database.write() as connection:
            asked = drift_audits.ask(connection, node_ids, now=control.clock.now())
        assert await on_request.run_once()
        assert not await on_request.run_once()
        with control.database.read() as connection:
            done = drift_audits.get(connection, asked.id)
            assert done.ended_at is not None
            return done, drift_findings.seen_at(connection, done.ended_at, node_ids)

    def waiting(self) -> list[tuple[int, list[str]]]:
        """What waits for a worker: how urgently, and why."""
        table = tables.orchestration.reconciliations
        with self.control.database.read() as connection:
            rows = connection.execute(select(table).where(table.c.requested > table.c.done)).all()
        return [(row.priority, row.reasons) for row in rows]

    def counted(self, name: str, kind: DriftKind) -> float:
        """A number of one kind."""
        return self.registry.get_sample_value(f"bascule_drift_{name}", {"kind": kind}) or 0.0

    def change_rules(self, host: int, **what: object) -> None:
        """Somebody meddles with a hypervisor."""
        found = self.control.agents.node(HOSTS[host].id).forwarding
        found[self.load_balancer_id] = replace(found[self.load_balancer_id], **what)  # type: ignore[arg-type]

    def change_service(self, node: int, **what: object) -> None:
        """Somebody meddles with an LB node."""
        found = self.control.agents.node(NODES[node].id).balancers
        present = found[self.load_balancer_id]
        services = tuple(replace(service, **what) for service in present.services)  # type: ignore[arg-type]
        found[self.load_balancer_id] = replace(present, services=services)


@pytest.fixture
async def audited(control: ControlPlane) -> Audited:
    """Everything is as it should be."""
    load_balancer_id = await control.settled_load_balancer()
    control.clock.ahead += 1.0
    registry = CollectorRegistry()
    auditor = Auditor(
        database=control.database, clock=control.clock, metrics=DriftMetrics(registry), interval=1.0, kept=1000.0
    )
    return Audited(control, load_balancer_id, auditor, registry)


async def test_what_is_in_order_is_not_found(audited: Audited) -> None:
    """No finding, no request."""
    assert await audited.audit() == []
    assert audited.waiting() == []


async def test_missing_rules_are_found_repaired_and_remembered(audited: Audited) -> None:
    """A finding lasts from when it is seen until an audit sees that it is over; it asks for one reconciliation."""
    audited.change_rules(0, rules=())
    (found,) = await audited.audit()
    assert (found.kind, found.node, found.load_balancer_id) == ("missing", "hv1", audited.load_balancer_id)
    assert found.words == "tcp/80 to 10.0.0.1 port 8080, tcp/80 to 10.0.0.3 port 8080"
    assert audited.waiting() == [(Priority.EVENT, ["drift: missing on hv1"])]
    assert audited.counted("findings", DriftKind.MISSING) == 1
    await audited.control.settle()
    audited.control.clock.ahead += 1.0
    assert await audited.audit() == []
    (over,) = audited.history()
    assert over.resolved_at is not None
    assert over.first_seen == found.first_seen < over.resolved_at
    assert audited.counted("findings", DriftKind.MISSING) == 0
    assert audited.counted("found_total", DriftKind.MISSING) == 1
    assert audited.counted("resolved_total", DriftKind.MISSING) == 1


async def test_rules_too_many_are_found_and_taken_off(audited: Audited) -> None:
    """Extra, on a hypervisor and on an LB node."""
    control = audited.control
    carried = control.agents.node(HOSTS[0].id).forwarding[audited.load_balancer_id]
    audited.change_rules(0, rules=(*carried.rules, replace(carried.rules[0], instance=IPv4Address("10.0.0.99"))))
    service = control.agents.node(NODES[0].id).balancers[audited.load_balancer_id].services[0]
    odd = replace(service.backends[0], instance_id=uuid4(), address=IPv4Address("10.0.0.98"))
    audited.change_service(0, backends=(*service.backends, odd))
    found = {(row.kind, row.node, row.words) for row in await audited.audit()}
    assert found == {
        ("extra", "hv1", "tcp/80 to 10.0.0.99 port 8080"),
        ("extra", "lb1", "tcp/80 to 10.0.0.98"),
    }
    await control.settle()
    control.clock.ahead += 1.0
    assert await audited.audit() == []


async def test_a_node_without_its_load_balancer_is_found(audited: Audited) -> None:
    """Missing on an LB node; a backend's weight and a service's settings count too."""
    audited.control.agents.node(NODES[0].id).balancers.clear()
    service = audited.control.agents.node(NODES[1].id).balancers[audited.load_balancer_id].services[0]
    heavier = tuple(replace(backend, weight=5) for backend in service.backends[:1])
    audited.change_service(1, backends=(*heavier, *service.backends[1:]), target_port=9090)
    found = {(row.kind, row.node, row.words) for row in await audited.audit()}
    assert found == {
        ("missing", "lb1", "the load balancer"),
        ("missing", "lb2", "the settings of tcp/80, tcp/80 to 10.0.0.1 with weight 1"),
    }


async def test_old_commands_and_commands_of_another_store_are_stale(audited: Audited) -> None:
    """A node that obeys an older generation and differs, and one that obeys an epoch this store never gave."""
    audited.change_rules(0, rules=(), version=Version(1, 0))
    audited.change_rules(1, version=Version(99, 1))
    found = {row.node: (row.kind, row.words) for row in await audited.audit()}
    assert found["hv1"] == ("stale-epoch", "obeys generation 0 of 1")
    kind, words = found["hv2"]
    assert kind == "stale-epoch"
    assert "obeys epoch 99, and this store gave" in words


async def test_what_is_foreign_is_listed_and_never_touched(audited: Audited) -> None:
    """A load balancer that this store never knew stays where it is, and nobody is asked to reconcile it."""
    control = audited.control
    with control.database.write() as connection:
        load_balancers.delete(connection, audited.load_balancer_id)
    found = await audited.audit()
    assert {(row.kind, row.node) for row in found} == {("foreign", name) for name in ("lb1", "lb2", "hv1", "hv2")}
    assert audited.waiting() == []
    await control.watch().run_once()
    await control.settle()
    assert audited.load_balancer_id in control.agents.node(NODES[0].id).balancers
    assert audited.load_balancer_id in control.agents.node(HOSTS[0].id).forwarding
    assert audited.counted("findings", DriftKind.FOREIGN) == 4


async def test_what_was_deleted_while_a_node_was_silent_is_extra(audited: Audited) -> None:
    """The store remembers it as deleted: the watch takes it off, and then it is over."""
    control, silent = audited.control, audited.control.agents.node(HOSTS[0].id)
    silent.reachable = False
    with control.database.write() as connection:
        mark_deleting(connection, audited.load_balancer_id, now=control.clock.now())
    await control.settle()
    control.clock.ahead += 1.0
    silent.reachable = True
    (found,) = await audited.audit()
    assert (found.kind, found.node, found.words) == ("extra", "hv1", "was deleted: it is being taken off")
    await control.watch().run_once()
    assert await audited.audit() == []


async def test_a_silent_node_is_not_judged(audited: Audited) -> None:
    """What was found on it lasts until it is heard of again, and nothing new is found."""
    control, machine = audited.control, audited.control.agents.node(HOSTS[0].id)
    audited.change_rules(0, rules=())
    (before,) = await audited.audit()
    machine.reachable = False
    control.clock.ahead += 60.0
    (still,) = await audited.audit()
    assert (still.id, still.last_seen) == (before.id, before.last_seen)
    assert audited.counted("findings", DriftKind.MISSING) == 1


async def test_what_is_being_changed_is_not_drift(audited: Audited) -> None:
    """Between a user's change and the end of its reconciliation, and for reports from before that, nothing is found."""
    control = audited.control
    with control.database.write() as connection:
        shrink_pool(connection, control.pool_id, 1, now=control.clock.now())
    assert await audited.audit() == []
    await audited.report()
    await control.settle()
    await audited.auditor.run_once()  # on reports that are older than the last job
    assert audited.history() == []


async def test_a_load_balancer_that_keeps_failing_is_judged(audited: Audited) -> None:
    """Whatever keeps its reconciliation from succeeding, operators see what is missing meanwhile."""
    control = audited.control
    audited.change_rules(0, rules=())

    def refuse(call: str) -> None:
        if call.startswith("put_forwarding"):
            raise Unavailable("not now")

    control.agents.before = refuse
    await audited.audit()
    await control.worker().run_once()
    control.clock.ahead += 1.0
    (found,) = await audited.audit()
    assert found.kind == "missing"
    assert found.last_seen > found.first_seen


async def test_what_was_over_long_ago_is_forgotten(audited: Audited) -> None:
    """History is kept for as long as the setting says."""
    audited.change_rules(0, rules=())
    await audited.audit()
    await audited.control.settle()
    audited.control.clock.ahead += 1.0
    await audited.audit()
    assert len(audited.history()) == 1
    audited.control.clock.ahead += 1001.0
    await audited.audit()
    assert audited.history() == []


async def test_an_audit_on_request_asks_the_agents_now(audited: Audited) -> None:
    """No report came before; who answers is judged, who does not is named, and what is found asks for its repair."""
    done, nothing = await audited.audit_on_request()
    assert (done.answered, done.silent, nothing) == (("lb1", "lb2", "hv1", "hv2"), (), [])
    audited.change_rules(0, rules=())
    audited.control.agents.node(NODES[1].id).reachable = False
    done, (found,) = await audited.audit_on_request()
    assert (done.answered, done.silent, done.unsettled) == (("lb1", "hv1", "hv2"), ("lb2",), 0)
    assert (found.kind, found.node) == ("missing", "hv1")
    assert audited.waiting() == [(Priority.EVENT, ["drift: missing on hv1"])]


async def test_an_audit_of_one_node_tells_of_no_other(audited: Audited) -> None:
    """What another node lacks is neither found nor taken for over."""
    audited.change_rules(0, rules=())
    (lasting,) = await audited.audit()
    done, found = await audited.audit_on_request(HOSTS[1].id)
    assert (done.answered, done.silent, found) == (("hv2",), (), [])
    assert [row.id for row in audited.history(resolved=False)] == [lasting.id]


async def test_what_is_being_changed_is_counted_by_an_audit_on_request(audited: Audited) -> None:
    """It is not judged, and whoever asked is told so."""
    audited.change_rules(0, rules=())
    control = audited.control
    with control.database.write() as connection:
        shrink_pool(connection, control.pool_id, 1, now=control.clock.now())
    done, found = await audited.audit_on_request()
    assert (done.unsettled, found) == (1, [])


async def test_an_audit_is_done_once_and_outlives_who_claimed_it(audited: Audited) -> None:
    """Two orchestrators do not both do it; when one dies with it, another does it a while later."""
    database, now = audited.control.database, audited.control.clock.now()
    with database.write() as connection:
        asked = drift_audits.ask(connection, (), now=now)
        assert drift_audits.claim(connection, asked.id, now=now, until=now + 60)
        assert not drift_audits.claim(connection, asked.id, now=now, until=now + 60)
        assert drift_audits.waiting(connection, now=now + 59) is None
        assert drift_audits.waiting(connection, now=now + 61) == asked
        assert drift_audits.claim(connection, asked.id, now=now + 61, until=now + 120)
