"""The orchestrator over a real database, with agents in memory that let it die at any call."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID, uuid4

import pytest
from sqlalchemy import func, select

from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.missed import Missed
from bascule.balancing.noted_agents import NotedAgents
from bascule.balancing.reconciler import LoadBalancerReconciler
from bascule.balancing.reports import Reports
from bascule.balancing.sweep import Sweep
from bascule.balancing.watch import Watch
from bascule.clock import SystemClock
from bascule.model.configurations import ForwardingConfiguration, Version
from bascule.model.errors import StaleCommand, Unavailable
from bascule.model.load_balancers import LoadBalancerState
from bascule.model.nodes import Agent, Hypervisor, LBNode
from bascule.model.operations import OperationState
from bascule.orchestration.escalation import LogEscalation
from bascule.orchestration.glance import Glance
from bascule.orchestration.queue import Priority, Queue
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.worker import Worker
from bascule.store import changes, hypervisors, jobs, lb_nodes, load_balancers, operations, tables
from bascule.store.database import Database, open_database
from bascule.store.tables import orchestration
from tests.integration.expected_state import create_load_balancer, create_pool, mark_deleting, shrink_pool

NODES = tuple(LBNode(id=uuid4(), name=f"lb{n}", agent=Agent(url=f"http://lb{n}", token="t" * 16)) for n in (1, 2))
HOSTS = tuple(Hypervisor(id=uuid4(), name=f"hv{n}", agent=Agent(url=f"http://hv{n}", token="t" * 16)) for n in (1, 2))


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing is cleaned up."""


class FastClock(SystemClock):
    """Real time, but nobody waits."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        """Real time plus what was skipped."""
        return super().now() + self.ahead

    async def sleep(self, seconds: float) -> None:
        """Skip, but let others run; a heartbeat must not make time fly."""
        if seconds <= 1.0:
            self.ahead += seconds
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(seconds)


@dataclass
class ControlPlane:
    """A database and machines; workers come and go."""

    database: Database
    agents: FakeAgents
    clock: FastClock
    queue: Queue
    pool_id: UUID
    missed: Missed = field(default_factory=Missed)

    def reconciler(self) -> LoadBalancerReconciler:
        """With nothing remembered."""
        return LoadBalancerReconciler(
            database=self.database, agents=self.agents, clock=self.clock, queue=self.queue, missed=self.missed
        )

    def worker(self, reconciler: LoadBalancerReconciler | None = None, name: str = "test") -> Worker:
        """A new process, with nothing remembered, or one of several workers in a process."""
        reconciler = reconciler or self.reconciler()
        return Worker(
            name=name,
            reconcilers={reconciler.kind: reconciler},
            tables=orchestration,
            transaction=self.database.write,
            clock=self.clock,
            chance=random.Random(1),
            escalation=LogEscalation(),
            policy=RetryPolicy(first=1.0, longest=1.0, escalate_after=3),
            glance=self.glance(reconciler),
        )

    def glance(self, reconciler: LoadBalancerReconciler) -> Glance:
        """As the program makes it."""
        return Glance(
            tables=orchestration,
            reading=self.database.read,
            writing=self.database.write,
            clock=self.clock,
            looks={reconciler.kind: reconciler.settled},
        )

    async def settle(self, most: int = 20) -> None:
        """Let a new worker run until nothing is due."""
        worker = self.worker()
        with self.database.write() as connection:
            self.queue.claims.release_all(connection, worker.name)
        for _ in range(most):
            if not await worker.run_once():
                return
        raise AssertionError("the queue never empties")

    async def settled_load_balancer(self) -> UUID:
        """A new load balancer that is as it should be."""
        with self.database.write() as connection:
            load_balancer_id, _ = create_load_balancer(connection, self.pool_id, now=self.clock.now())
        await self.settle()
        return load_balancer_id

    def watch(self) -> Watch:
        """A watch."""
        return Watch(
            database=self.database,
            agents=self.agents,
            clock=self.clock,
            interval=1.0,
            sweep=1e9,
            missed=self.missed,
        )

    def operation_state(self, operation_id: UUID) -> OperationState:
        """What the user sees."""
        with self.database.read() as connection:
            return operations.get(connection, operation_id).state


@pytest.fixture
def control(database_url: str) -> Iterator[ControlPlane]:
    """Two LB nodes, two hypervisors, a pool of three instances."""
    engine = open_database(database_url)
    database = Database(engine)
    with database.write() as connection:
        for node in NODES:
            lb_nodes.insert(connection, node)
        for host in HOSTS:
            hypervisors.insert(connection, host)
        pool_id = create_pool(connection, HOSTS)
    yield ControlPlane(database, FakeAgents(), FastClock(), Queue(orchestration), pool_id)
    engine.dispose()


def assert_serving(control: ControlPlane, load_balancer_id: UUID, backends: int) -> None:
    """Both nodes announce it with so many backends, and the store says that it is running."""
    for node in NODES:
        carried = control.agents.node(node.id).balancers[load_balancer_id]
        assert carried.announced
        assert len(carried.services[0].backends) == backends
    with control.database.read() as connection:
        assert load_balancers.get(connection, load_balancer_id).state is LoadBalancerState.RUNNING


async def test_a_load_balancer_lives_and_dies(control: ControlPlane) -> None:
    """Create, shrink its pool, delete: nodes follow, operations succeed, the address is free again."""
    with control.database.write() as connection:
        load_balancer_id, created = create_load_balancer(connection, control.pool_id, now=control.clock.now())
    assert control.operation_state(created) is OperationState.PENDING
    await control.settle()
    assert control.operation_state(created) is OperationState.SUCCESS
    assert_serving(control, load_balancer_id, backends=3)

    with control.database.write() as connection:
        shrunk = shrink_pool(connection, control.pool_id, 2, now=control.clock.now())
    await control.settle()
    assert control.operation_state(shrunk) is OperationState.SUCCESS
    assert_serving(control, load_balancer_id, backends=2)

    with control.database.write() as connection:
        deleted = mark_deleting(connection, load_balancer_id, now=control.clock.now())
    await control.settle()
    assert control.operation_state(deleted) is OperationState.SUCCESS
    assert all(not control.agents.node(node.id).balancers for node in NODES)
    assert all(not control.agents.node(host.id).forwarding for host in HOSTS)
    with control.database.read() as connection:
        for table in (tables.load_balancers, tables.elastic_ips, tables.placements, orchestration.reconciliations):
            assert connection.execute(select(func.count()).select_from(table)).scalar() == 0


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
async def test_killed_between_any_two_steps_and_started_again_it_converges(control: ControlPlane, after: bool) -> None:
    """The orchestrator dies at its first call, then at its second, and so on; a new one always finishes the work."""
    for die_at in range(1, 40):
        calls = 0

        def count(_call: str, die_at: int = die_at) -> None:
            nonlocal calls
            calls += 1
            if calls == die_at:
                raise Killed

        control.agents.before, control.agents.after = (_nothing, count) if after else (count, _nothing)
        with control.database.write() as connection:
            load_balancer_id, created = create_load_balancer(connection, control.pool_id, now=control.clock.now())
        died = await _run_until_killed(control)
        control.agents.before = control.agents.after = _nothing
        await control.settle()
        assert control.operation_state(created) is OperationState.SUCCESS
        assert_serving(control, load_balancer_id, backends=3)
        with control.database.write() as connection:
            mark_deleting(connection, load_balancer_id, now=control.clock.now())
        await control.settle()
        assert all(not control.agents.node(node.id).balancers for node in NODES)
        if not died:
            assert die_at > 4, "it must have died at every step before"
            return
    raise AssertionError("the job never ends")


def _nothing(_call: str) -> None:
    pass


async def _run_until_killed(control: ControlPlane) -> bool:
    try:
        await control.settle()
    except Killed:
        return True
    return False


async def test_a_node_that_returns_with_an_old_disk_is_cleaned(control: ControlPlane) -> None:
    """What was deleted while a hypervisor was silent is taken off it when it answers again."""
    load_balancer_id = await control.settled_load_balancer()
    silent = control.agents.node(HOSTS[0].id)
    silent.reachable = False
    with control.database.write() as connection:
        mark_deleting(connection, load_balancer_id, now=control.clock.now())
    await control.settle()
    assert load_balancer_id in silent.forwarding
    silent.reachable = True
    await control.watch().run_once()
    assert load_balancer_id not in silent.forwarding


async def test_what_this_store_never_knew_is_left_alone(control: ControlPlane) -> None:
    """An empty or wrong database must not take load balancers off nodes."""
    load_balancer_id = await control.settled_load_balancer()
    with control.database.write() as connection:
        load_balancers.delete(connection, load_balancer_id)
    await control.watch().run_once()
    assert load_balancer_id in control.agents.node(NODES[0].id).balancers


async def test_a_node_that_lost_its_state_gets_it_back(control: ControlPlane) -> None:
    """The watch notices a missing load balancer and asks for a reconciliation."""
    load_balancer_id = await control.settled_load_balancer()
    watch = control.watch()
    await watch.run_once()
    await control.settle()
    control.agents.node(NODES[0].id).balancers.clear()
    await watch.run_once()
    await control.settle()
    assert_serving(control, load_balancer_id, backends=3)


async def failure_of_an_operation(control: ControlPlane) -> tuple[UUID, str]:
    """Create a load balancer where no try succeeds; returns it, with what its operation tells after three."""
    with control.database.write() as connection:
        load_balancer_id, created = create_load_balancer(connection, control.pool_id, now=control.clock.now())
    for _ in range(3):
        await control.worker().run_once()
        control.clock.ahead += 2.0
    with control.database.read() as connection:
        operation = operations.get(connection, created)
        assert load_balancers.get(connection, load_balancer_id).state is LoadBalancerState.ERROR
    assert operation.state is OperationState.FAILURE
    return load_balancer_id, operation.message


async def test_an_unreachable_fleet_fails_the_operation_with_a_reason_and_recovers(control: ControlPlane) -> None:
    """Users are told why after a few tries; when the nodes answer, the load balancer comes up by itself."""
    for node in NODES:
        control.agents.node(node.id).reachable = False
    load_balancer_id, message = await failure_of_an_operation(control)
    assert "No enabled LB node answers" in message
    for node in NODES:
        control.agents.node(node.id).reachable = True
    control.clock.ahead += 5.0
    await control.settle()
    assert_serving(control, load_balancer_id, backends=3)


async def test_an_operation_tells_why_no_node_serves(control: ControlPlane) -> None:
    """What the nodes complain of is in the operation, and in the state of the load balancer it is an error."""
    problem = "data plane: This kernel has no IPVS: load it with `modprobe ip_vs`."
    for node in NODES:
        control.agents.node(node.id).ready = False
        control.agents.node(node.id).problems = (problem,)
    _, message = await failure_of_an_operation(control)
    assert problem in message


def test_the_entity_kinds_agree() -> None:
    """The store asks for reconciliations of the kind the reconciler answers to."""
    assert LoadBalancerReconciler.kind == changes.ENTITY_KIND


async def test_a_node_silent_to_a_worker_alone_follows_at_the_next_look(control: ControlPlane) -> None:
    """The watch never found it silent, so only what the worker missed can ask for it before the sweep."""
    load_balancer_id = await control.settled_load_balancer()
    watch = control.watch()
    await watch.run_once()
    await control.settle()
    control.agents.node(NODES[0].id).reachable = False
    with control.database.write() as connection:
        shrink_pool(connection, control.pool_id, 2, now=control.clock.now())
    await control.settle()
    control.agents.node(NODES[0].id).reachable = True
    await watch.run_once()
    await control.settle()
    assert_serving(control, load_balancer_id, backends=2)


async def test_a_command_that_arrives_after_a_later_run_changes_nothing(control: ControlPlane) -> None:
    """Rules go and their hypervisor does not answer; they are wanted again, and then the old command arrives."""
    load_balancer_id = await control.settled_load_balancer()
    agents, late = control.agents, LateAgents()
    late._nodes = agents._nodes
    control.agents = late
    with control.database.write() as connection:
        shrink_pool(connection, control.pool_id, 2, now=control.clock.now())
    await control.worker().run_once()
    assert late.kept
    control.agents = agents
    with control.database.write() as connection:
        shrink_pool(connection, control.pool_id, 3, now=control.clock.now())
    await control.settle()
    assert_serving(control, load_balancer_id, backends=3)
    for host, configuration in late.kept:
        rules = agents.node(host.id).forwarding[load_balancer_id].rules
        with pytest.raises(StaleCommand):
            await agents.put_forwarding(host, configuration)
        assert agents.node(host.id).forwarding[load_balancer_id].rules == rules


class LateAgents(FakeAgents):
    """Commands to hypervisors are kept and not answered."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[Hypervisor, ForwardingConfiguration]] = []

    async def put_forwarding(self, hypervisor: Hypervisor, configuration: ForwardingConfiguration) -> None:
        """It will arrive later."""
        self.kept.append((hypervisor, configuration))
        raise Unavailable(f"{hypervisor.name} does not answer.")


def waiting(control: ControlPlane) -> list[list[str]]:
    """The reasons of all that waits for a reconciliation."""
    with control.database.read() as connection:
        return [row["reasons"] for row in jobs.queue(connection) if row["waiting"]]


async def sweep(control: ControlPlane, reports: Reports, since: float) -> None:
    """Compare everything at once."""
    made = Sweep(database=control.database, reports=reports, clock=control.clock, period=60.0)
    await made.look(NODES, HOSTS, since=since, everything=True)


async def test_what_is_as_it_should_be_costs_no_write_and_no_second_question(control: ControlPlane) -> None:
    """A sweep over healthy load balancers leaves the queue as it was, and asks each agent once at most."""
    await control.settled_load_balancer()
    reports, begun = Reports(control.agents, control.clock), control.clock.now()
    asked: list[str] = []
    control.agents.before = asked.append
    with control.database.read() as connection:
        before = jobs.queue(connection)
    for _ in range(3):
        await sweep(control, reports, begun)
    with control.database.read() as connection:
        assert jobs.queue(connection) == before
    assert len(asked) == len(NODES) + len(HOSTS)


async def test_a_sweep_finds_rules_that_a_hypervisor_lost(control: ControlPlane) -> None:
    """What no doubt of the watch tells of is found by comparing, and mended by a worker."""
    load_balancer_id = await control.settled_load_balancer()
    control.agents.node(HOSTS[0].id).forwarding.clear()
    await sweep(control, Reports(control.agents, control.clock), control.clock.now())
    assert waiting(control) == [["bring lb to generation 1"]]
    await control.settle()
    assert load_balancer_id in control.agents.node(HOSTS[0].id).forwarding


async def test_a_sweep_does_not_trust_a_report_from_before_a_command(control: ControlPlane) -> None:
    """The report shows all well, then this process breaks it by a command: the sweep sees what is there now."""
    load_balancer_id = await control.settled_load_balancer()
    reports, begun = Reports(control.agents, control.clock), control.clock.now()
    await sweep(control, reports, begun)
    assert waiting(control) == []
    agents = NotedAgents(control.agents, reports.commanded)
    await agents.delete_balancer(NODES[0], load_balancer_id, Version(99, 99))
    await sweep(control, reports, begun)
    assert waiting(control) == [["bring lb to generation 1"]]


async def test_a_sweep_leaves_to_workers_what_they_have_in_hand(control: ControlPlane) -> None:
    """In the middle of a run the world differs from the store: that is no reason for another run."""
    load_balancer_id = await control.settled_load_balancer()
    control.agents.node(HOSTS[0].id).forwarding.clear()
    with control.database.write() as connection:
        changes.request(
            connection, [load_balancer_id], priority=Priority.OPERATOR, reason="asked", now=control.clock.now()
        )
    reports = Reports(control.agents, control.clock)
    await sweep(control, reports, control.clock.now())
    assert waiting(control) == [["asked"]]
    with control.database.write() as connection:
        assert control.queue.claim(connection, holder="another", now=control.clock.now(), lease=60.0) is not None
    await sweep(control, reports, control.clock.now())
    assert waiting(control) == [["asked"]]


async def test_a_sweep_is_spread_over_its_period_and_forgets_nobody(control: ControlPlane) -> None:
    """After one period everything has been compared once, and not before."""
    await control.settled_load_balancer()
    control.agents.node(HOSTS[0].id).forwarding.clear()
    made = Sweep(
        database=control.database, reports=Reports(control.agents, control.clock), clock=control.clock, period=60.0
    )
    compared = 0
    for _ in range(4):
        await made.look(NODES, HOSTS, since=control.clock.now())
        compared += len(waiting(control))
        await control.settle()
        control.agents.node(HOSTS[0].id).forwarding.clear()
        control.clock.ahead += 20.0
    assert compared == 2
