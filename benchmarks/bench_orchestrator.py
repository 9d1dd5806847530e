"""What it costs to find that nothing is to do: `python -m benchmarks.bench_orchestrator [plot.svg]`.

The real watch, sweep and workers over a real database and agents in memory, for 10 to 10,000 load balancers. Processor
time of this process, statements as SQLAlchemy sends them (BEGIN too). "Asked for": what workers do about a doubt that
proves unfounded, of a hundred load balancers at once and of one alone. The last column is the share of one core that
an orchestrator needs that looks once a second and compares everything once a minute.
"""

from __future__ import annotations

import asyncio
import math
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import cast
from uuid import NAMESPACE_OID, UUID, uuid5

import structlog
from sqlalchemy import Connection, Engine, event

from bascule.balancing import expectation
from bascule.balancing.decide import decide
from bascule.balancing.expectation import Fleet
from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.hands import BalancingAction, Hands
from bascule.balancing.plan import plan
from bascule.balancing.reconciler import LoadBalancerReconciler
from bascule.balancing.reports import Reports
from bascule.balancing.steps.records import RecordRunning
from bascule.balancing.sweep import Sweep
from bascule.balancing.watch import Watch
from bascule.clock import SystemClock
from bascule.model.addresses import AddressPool, ElasticIP
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.model.instance_pools import Instance, InstancePool
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState, Service, ServiceState
from bascule.model.nodes import Agent, Hypervisor, LBNode
from bascule.model.strategies import Protocol, Strategy
from bascule.orchestration.escalation import LogEscalation
from bascule.orchestration.glance import Glance
from bascule.orchestration.jobs import Step, walk
from bascule.orchestration.queue import Priority, Queue
from bascule.orchestration.worker import Worker
from bascule.store import (
    address_pools,
    changes,
    elastic_ips,
    hypervisors,
    instance_pools,
    instances,
    jobs,
    lb_nodes,
    load_balancers,
    placements,
    services,
)
from bascule.store.database import Database, migrate, open_database
from bascule.store.tables import orchestration
from bascule.store.times import from_seconds

SIZES = (10, 100, 1_000, 10_000)
LB_NODES, HYPERVISORS, MEMBERS = 4, 20, 3
SWEEP = 60.0  # seconds, as shipped
QUIET_LOOKS = 20
RUNS, RUNS_ALONE = 100, 10


@dataclass
class Clock(SystemClock):
    """Real time, and what is skipped."""

    ahead: float = 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return super().now() + self.ahead


@dataclass
class Figure:
    """Milliseconds of processor time for each load balancer, queries for each, and the share of one core."""

    load_balancers: int
    sweep: float = 0.0
    sweep_queries: float = 0.0
    reports: int = 0
    run: float = 0.0
    run_queries: float = 0.0
    run_reports: float = 0.0
    alone: float = 0.0
    alone_queries: float = 0.0
    look: float = 0.0
    share: float = 0.0


@dataclass
class Installation:
    """A database and machines in memory."""

    engine: Engine
    size: int
    clock: Clock = field(default_factory=Clock)
    queries: int = 0
    asked: int = 0

    def __post_init__(self) -> None:
        self.database = Database(self.engine)
        self.agents = FakeAgents(before=self._count_calls)
        self.reports = Reports(self.agents, self.clock)
        self.watch = Watch(
            database=self.database,
            agents=self.agents,
            clock=self.clock,
            interval=1.0,
            sweep=SWEEP,
            reports=self.reports,
        )
        event.listen(self.engine, "before_cursor_execute", self._count_queries)

    def _count_calls(self, _call: str) -> None:
        self.asked += 1

    def _count_queries(self, *_: object) -> None:
        self.queries += 1

    def worker(self) -> Worker:
        """As the program makes it."""
        queue = Queue(orchestration)
        reconciler = LoadBalancerReconciler(
            database=self.database, agents=self.agents, clock=self.clock, queue=queue, reports=self.reports
        )
        return Worker(
            name="bench",
            reconcilers={reconciler.kind: reconciler},
            tables=orchestration,
            transaction=self.database.write,
            clock=self.clock,
            chance=random.Random(1),
            escalation=LogEscalation(),
            glance=Glance(
                tables=orchestration,
                reading=self.database.read,
                writing=self.database.write,
                clock=self.clock,
                looks={reconciler.kind: reconciler.settled},
            ),
        )


def identifier(kind: str, number: int) -> UUID:
    """The same in every run."""
    return uuid5(NAMESPACE_OID, f"{kind} {number}")


def fill(connection: Connection, size: int) -> None:
    """Nodes, pools of three instances, and load balancers with one service each."""
    agent = Agent(url="http://agent", token="t" * 16)
    for number in range(LB_NODES):
        lb_nodes.insert(connection, LBNode(id=identifier("lb", number), name=f"lb{number}", agent=agent))
    for number in range(HYPERVISORS):
        hypervisors.insert(connection, Hypervisor(id=identifier("hv", number), name=f"hv{number}", agent=agent))
    addresses = AddressPool(id=identifier("pool", 0), name="public", network=IPv4Network("10.0.0.0/8"))
    address_pools.insert(connection, addresses)
    for number in range(size):
        _fill_one(connection, number, addresses)


def _fill_one(connection: Connection, number: int, addresses: AddressPool) -> None:
    pool = InstancePool(id=identifier("ip", number), name=f"web{number}")
    instance_pools.insert(connection, pool, template={}, now=0.0)
    for member in range(MEMBERS):
        nth = number * MEMBERS + member
        instance = Instance(
            id=identifier("vm", nth),
            name=f"vm{nth}",
            address=IPv4Address("172.16.0.0") + nth,
            hypervisor_id=identifier("hv", nth % HYPERVISORS),
        )
        instances.insert(connection, pool.id, instance)
    service = Service(
        id=identifier("service", number),
        name="http",
        protocol=Protocol.TCP,
        port=80,
        target_port=8080,
        strategy=Strategy.MAGLEV_HASH,
        instance_pool_id=pool.id,
        health_check=HealthCheck(mode=HealthCheckMode.TCP, port=8080),
        state=ServiceState.RUNNING,
    )
    balancer = LoadBalancer(
        id=identifier("load balancer", number),
        name=f"lb{number}",
        address=IPv4Address("10.0.0.0") + number,
        hash_seed=number,
        state=LoadBalancerState.RUNNING,
        created_at=from_seconds(0.0),
    )
    load_balancers.insert(connection, balancer)
    services.insert(connection, balancer.id, service)
    address = ElasticIP(
        id=identifier("ip", -1 - number),
        address=balancer.address,
        address_pool_id=addresses.id,
        load_balancer_id=balancer.id,
    )
    elastic_ips.insert(connection, address, managed=True, now=0.0)
    chosen = frozenset(identifier("lb", (number + each) % LB_NODES) for each in range(2))
    placements.replace(connection, balancer.id, chosen)


async def carry_out(made: Installation) -> None:
    """Let every machine have what it should have, by the real decisions and steps but without leases."""
    with made.database.read() as connection:
        everything = load_balancers.list_ids(connection)
        nodes, hosts = lb_nodes.list_all(connection), hypervisors.list_all(connection)
    fleet: Fleet = (
        tuple(zip(nodes, await made.reports.of_lb_nodes(nodes), strict=True)),
        tuple(zip(hosts, await made.reports.of_hypervisors(hosts), strict=True)),
    )
    hands = Hands(claim=None, agents=made.agents, clock=made.clock, transaction=None)  # type: ignore[arg-type]
    for first in range(0, len(everything), 500):
        some = everything[first : first + 500]
        with made.database.read() as connection:
            found = expectation.read(connection, some)
        for each in some:
            wanted = decide(expectation.inventory(found, fleet, each, epoch=1, loads={})).event
            assert wanted is not None
            for _, job in walk(plan(wanted)):
                if isinstance(job, Step) and not isinstance(job.action, RecordRunning):
                    await cast("BalancingAction", job.action).perform(hands)


async def measure(size: int, directory: Path) -> Figure:
    """One size."""
    engine = open_database(f"sqlite:///{directory / f'{size}.db'}")
    migrate(engine)
    made, figure = Installation(engine, size), Figure(size)
    with made.database.write() as connection:
        fill(connection, size)
    await carry_out(made)
    await made.watch.run_once()  # the first look compares everything, and writes all states down
    await _sweep(made, figure)
    await _quiet_looks(made, figure)
    await _runs(made, figure)
    figure.share = (figure.sweep * size / 1000 + figure.look / 1000 * SWEEP) / SWEEP
    with made.database.read() as connection:
        assert not [row for row in jobs.queue(connection) if row["waiting"]], "somebody found something to do"
    engine.dispose()
    return figure


async def _sweep(made: Installation, figure: Figure) -> None:
    """Everything compared once with reports that are there."""
    with made.database.read() as connection:
        nodes, hosts = lb_nodes.list_all(connection), hypervisors.list_all(connection)
    sweep = Sweep(database=made.database, reports=made.reports, clock=made.clock, period=SWEEP)
    made.queries = made.asked = 0
    begun = time.process_time()
    await sweep.look(nodes, hosts, since=0.0, everything=True)
    figure.sweep = (time.process_time() - begun) * 1000 / made.size
    figure.sweep_queries, figure.reports = made.queries / made.size, made.asked


async def _quiet_looks(made: Installation, figure: Figure) -> None:
    """Looks a second after each other, without their part of the sweep."""
    made.watch = Watch(
        database=made.database, agents=made.agents, clock=made.clock, interval=1.0, sweep=1e9, reports=made.reports
    )
    await made.watch.run_once()
    begun = time.process_time()
    for _ in range(QUIET_LOOKS):
        made.clock.ahead += 1.0
        await made.watch.run_once()
    figure.look = (time.process_time() - begun) * 1000 / QUIET_LOOKS


async def _runs(made: Installation, figure: Figure) -> None:
    """What workers do about doubts that prove unfounded: a hundred at once, and one after the other."""
    asked_for = [identifier("load balancer", number) for number in range(min(RUNS, made.size))]
    worker = made.worker()
    await _asked(made, worker, asked_for[:1])  # SQLAlchemy reads each statement once
    figure.run, figure.run_queries, figure.run_reports = await _asked(made, worker, asked_for)
    alone = [await _asked(made, worker, [each]) for each in asked_for[:RUNS_ALONE]]
    figure.alone, figure.alone_queries = (sum(each[nth] for each in alone) / len(alone) for nth in (0, 1))


async def _asked(made: Installation, worker: Worker, asked_for: Sequence[UUID]) -> tuple[float, float, float]:
    """Milliseconds, queries and reports for each."""
    with made.database.write() as connection:
        changes.request(connection, asked_for, priority=Priority.EVENT, reason="bench", now=made.clock.now())
    made.queries, made.asked, begun = 0, 0, time.process_time()
    await worker.run_once()  # ends all of them, as is seen at the end
    took = (time.process_time() - begun) * 1000
    return took / len(asked_for), made.queries / len(asked_for), made.asked / len(asked_for)


def report(figures: Sequence[Figure]) -> None:
    """The table."""
    print(f"{LB_NODES} LB nodes, {HYPERVISORS} hypervisors, {MEMBERS} instances a load balancer, agents in memory")
    print("               | compared by the sweep | asked for, 100 at once    | asked for alone | a quiet | share of")
    print("load balancers | ms each  queries each | ms each  queries  reports | ms      queries | look ms | a core")
    for each in figures:
        print(
            f"{each.load_balancers:14,} | {each.sweep:7.3f}  {each.sweep_queries:12.3f} "
            f"| {each.run:7.3f}  {each.run_queries:7.2f}  {each.run_reports:7.2f} "
            f"| {each.alone:5.2f}  {each.alone_queries:8.1f} | {each.look:7.1f} | {100 * each.share:5.1f} %"
        )


def plot(figures: Sequence[Figure]) -> str:
    """Cost per load balancer over their number, as SVG: both axes are logarithmic."""
    width, height, margin = 640, 400, 60
    costs = [10.0**power for power in range(-2, 2)]

    def x(size: int) -> float:
        return margin + (width - 2 * margin) * (math.log10(size) - 1) / 3

    def y(cost: float) -> float:
        return height - margin - (height - 2 * margin) * (math.log10(cost) + 2) / 3

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">']
    parts += ['<rect width="100%" height="100%" fill="white"/>']
    for cost in costs:
        parts.append(f'<path d="M{margin} {y(cost):.0f}H{width - margin}" stroke="#ddd"/>')
        parts.append(
            f'<text x="{margin - 8}" y="{y(cost) + 4:.0f}" font-size="12" text-anchor="end">{cost:g} ms</text>'
        )
    for each in figures:
        label = f"{each.load_balancers:,}"
        parts.append(
            f'<text x="{x(each.load_balancers):.0f}" y="{height - 40}" font-size="12" text-anchor="middle">'
            f"{label}</text>"
        )
    lines = (("asked for alone", "alone", "#b60"), ("100 at once", "run", "#06b"), ("by the sweep", "sweep", "#0b6"))
    for nth, (name, cost_of, colour) in enumerate(lines):
        points = " ".join(f"{x(each.load_balancers):.1f},{y(getattr(each, cost_of)):.1f}" for each in figures)
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="3"/>')
        parts.append(f'<text x="{margin + 12 + 170 * nth}" y="46" font-size="13" fill="{colour}">{name}</text>')
    parts.append(
        f'<text x="{width / 2}" y="24" font-size="15" text-anchor="middle">'
        "Processor time to find that nothing is to do, for each load balancer</text>"
    )
    parts.append(f'<text x="{width / 2}" y="{height - 14}" font-size="13" text-anchor="middle">load balancers</text>')
    return "\n".join([*parts, "</svg>", ""])


def main() -> None:
    """Print the table; with an argument, draw the cost there."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory() as directory:
        figures = [asyncio.run(measure(size, Path(directory))) for size in SIZES]
    report(figures)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(plot(figures), encoding="utf-8")


if __name__ == "__main__":
    main()
