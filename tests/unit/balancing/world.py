"""A data centre as plain data, in which plans are carried out step by step while rules are checked."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import cast
from uuid import UUID

from sqlalchemy import Connection

from bascule.balancing.decide import decide
from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.hands import BalancingAction, Hands
from bascule.balancing.inventory import HypervisorView, Inventory, LBNodeView
from bascule.balancing.plan import plan
from bascule.balancing.steps.records import (
    RecordDeleted,
    RecordGivenRules,
    RecordLeft,
    RecordPlacements,
    RecordRunning,
)
from bascule.balancing.steps.serving import StopServing
from bascule.balancing.strays import strays
from bascule.model.addresses import IPAddress
from bascule.model.configurations import RulesByHypervisor
from bascule.model.errors import BasculeError
from bascule.model.health_checks import HealthCheck, HealthCheckMode
from bascule.model.instance_pools import Instance, InstancePool
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState, Service, ServiceState
from bascule.model.nodes import Agent, Hypervisor, LBNode
from bascule.model.reports import BalancerReport, HypervisorReport, LBNodeReport
from bascule.model.strategies import Protocol, Strategy
from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.jobs import Action, Job, Parallel, Sequence, Step

VIP = IPv4Address("203.0.113.1")
LB_ID, POOL_ID = UUID(int=1), UUID(int=2)
CHECK = HealthCheck(mode=HealthCheckMode.TCP, port=8080)


def lb_node(number: int, *, domain: str = "", enabled: bool = True) -> LBNode:
    """LB node lb<number>."""
    agent = Agent(url=f"http://lb{number}", token="t")
    return LBNode(id=UUID(int=100 + number), name=f"lb{number}", agent=agent, failure_domain=domain, enabled=enabled)


def hypervisor(number: int) -> Hypervisor:
    """Hypervisor hv<number>."""
    return Hypervisor(id=UUID(int=200 + number), name=f"hv{number}", agent=Agent(url=f"http://hv{number}", token="t"))


def instance(number: int, on: int, *, weight: int = 1) -> Instance:
    """Instance vm<number> on hypervisor hv<on>."""
    address = IPv4Address("10.0.0.0") + number
    return Instance(
        id=UUID(int=300 + number), name=f"vm{number}", address=address, hypervisor_id=hypervisor(on).id, weight=weight
    )


def service(port: int, target_port: int = 8080, protocol: Protocol = Protocol.TCP) -> Service:
    """A service on the only pool."""
    return Service(
        id=UUID(int=400 + port),
        name=f"s{port}",
        protocol=protocol,
        port=port,
        target_port=target_port,
        strategy=Strategy.MAGLEV_HASH,
        instance_pool_id=POOL_ID,
        health_check=CHECK,
    )


@dataclass
class World:
    """Expected state, machines, and the steps of the job under way."""

    nodes: tuple[LBNode, ...] = (lb_node(1), lb_node(2), lb_node(3))
    hosts: tuple[Hypervisor, ...] = (hypervisor(1), hypervisor(2))
    members: tuple[Instance, ...] = (instance(1, 1), instance(2, 2))
    services: tuple[Service, ...] = (service(80),)
    generation: int = 1
    state: LoadBalancerState = LoadBalancerState.CREATING
    recorded: int = 0
    placements: frozenset[UUID] = frozenset()
    epoch: int = 0
    deleted: bool = False
    agents: FakeAgents = field(default_factory=FakeAgents)
    slept: float = 0.0
    born: int = 2
    leaving: frozenset[UUID] = frozenset()
    given: RulesByHypervisor = field(default_factory=dict)
    settled: int | None = None

    def load_balancer(self) -> LoadBalancer:
        """The expected state as the store would give it."""
        state = ServiceState.RUNNING if self.recorded == self.generation else ServiceState.UPDATING
        return LoadBalancer(
            id=LB_ID,
            name="web",
            address=VIP,
            hash_seed=7,
            state=self.state,
            generation=self.generation,
            created_at=datetime(2026, 1, 1, tzinfo=UTC),
            services=tuple(replace(found, state=state) for found in self.services),
        )

    def change(self, **what: object) -> None:
        """A user changes something: the generation grows."""
        for name, value in what.items():
            setattr(self, name, value)
        self.generation += 1

    def inventory(self) -> Inventory:
        """What the real inventory would find."""
        return Inventory(
            load_balancer=self.load_balancer(),
            epoch=self.epoch,
            pools={POOL_ID: InstancePool(id=POOL_ID, name="pool", members=self.members)},
            placements=self.placements,
            leaving=self.leaving,
            loads=dict.fromkeys(self.placements, 1),
            lb_nodes=tuple(self._lb_node_view(node) for node in self.nodes),
            hypervisors=tuple(self._hypervisor_view(host) for host in self.hosts),
            pending=self.recorded != self.generation,
            given=None if self.settled == self.generation else self.given,
        )

    def _lb_node_view(self, node: LBNode) -> LBNodeView:
        machine = self.agents.node(node.id)
        found = machine.balancers.get(LB_ID) if machine.reachable else None
        report = None
        if found is not None:
            announced = found.announced and machine.ready
            report = BalancerReport(configuration=found, ready=machine.ready, announced=announced)
        return LBNodeView(node=node, reachable=machine.reachable, balancer=report, problems=machine.problems)

    def _hypervisor_view(self, host: Hypervisor) -> HypervisorView:
        machine = self.agents.node(host.id)
        found = machine.forwarding.get(LB_ID) if machine.reachable else None
        return HypervisorView(hypervisor=host, reachable=machine.reachable, configuration=found)

    def next_job(self) -> Job | None:
        """Take inventory under a new epoch, decide and plan; None when there is nothing to do."""
        self.epoch += 1
        event = decide(self.inventory()).event
        return None if event is None else plan(event)

    def perform(self, action: Action) -> None:
        """Perform one step, and check what must hold before and after it."""
        if isinstance(action, StopServing):
            carried = self.agents.node(action.node.id).balancers.get(LB_ID)
            assert carried is None or not carried.announced, "withdraw before remove"
        match action:
            case RecordPlacements():
                self.placements, self.leaving = action.lb_node_ids, action.leaving
            case RecordLeft():
                self.leaving -= action.lb_node_ids
            case RecordGivenRules():
                self.given, self.settled = action.rules, None
            case RecordRunning():
                self._check_promise()
                if action.settled is not None:
                    self.given, self.settled = action.settled, action.generation
                self.recorded, self.state = action.generation, LoadBalancerState.RUNNING
            case RecordDeleted():
                self.deleted = True
            case _:
                asyncio.run(self._act(cast("BalancingAction", action)))
        self.check()

    def take_off_strays(self) -> None:
        """What the watch does once everybody answers again."""
        asyncio.run(self._take_off_strays())

    async def _take_off_strays(self) -> None:
        reports: dict[LBNode | Hypervisor, LBNodeReport | HypervisorReport | None] = {}
        for node in self.nodes:
            reports[node] = await self.agents.lb_node_report(node)
        for host in self.hosts:
            reports[host] = await self.agents.hypervisor_report(host)
        for stray in strays(reports, {LB_ID: self.epoch}):
            if isinstance(stray.node, LBNode):
                await self.agents.delete_balancer(stray.node, stray.load_balancer_id, stray.version)
            else:
                await self.agents.delete_forwarding(stray.node, stray.load_balancer_id, stray.version)

    async def _act(self, action: BalancingAction) -> None:
        claim = Claim(
            entity=Entity("load-balancer", str(LB_ID)),
            holder="test",
            epoch=self.epoch,
            requested=1,
            attempts=0,
            lease_until=0.0,
            reasons=(),
        )
        await action.perform(Hands(claim=claim, agents=self.agents, clock=self, transaction=_no_transaction))

    def now(self) -> float:
        """No time passes."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Waiting takes no time, but is counted."""
        self.slept += seconds

    def check(self) -> None:
        """What holds at every moment: whoever an LB node sends to has its rule on the hypervisor it lives on."""
        homes = {member.address: member.hypervisor_id for member in self.members}
        for node in self.nodes:
            carried = self.agents.node(node.id).balancers.get(LB_ID)
            for found in () if carried is None else carried.services:
                for backend in found.backends:
                    if backend.address in homes:
                        self._check_rule(homes[backend.address], backend.address, found.port)

    def _check_rule(self, host_id: UUID, address: IPAddress, port: int) -> None:
        known = self.agents.node(host_id).forwarding.get(LB_ID)
        rules = () if known is None else known.rules
        assert any(rule.instance == address and rule.port == port for rule in rules), "rules before traffic"

    def _check_promise(self) -> None:
        """A generation is recorded only when every reachable node placed announces exactly the expected services."""
        wanted = {(found.port, found.target_port) for found in self.services}
        for node in self.nodes:
            if node.id in self.placements and self.agents.node(node.id).reachable:
                carried = self.agents.node(node.id).balancers[LB_ID]
                assert carried.announced
                assert {(found.port, found.target_port) for found in carried.services} == wanted


@contextmanager
def _no_transaction() -> Iterator[Connection]:
    raise AssertionError("steps that write records are played by the world itself")
    yield  # makes it a generator


def any_order(job: Job, chance: random.Random) -> list[Step]:
    """The steps in one of the orders in which a runner may perform them."""
    match job:
        case Step():
            return [job]
        case Sequence():
            return [step for child in job.children for step in any_order(child, chance)]
        case Parallel():
            branches = [any_order(child, chance) for child in job.children]
            steps: list[Step] = []
            while any(branches):
                steps.append(chance.choice([branch for branch in branches if branch]).pop(0))
            return steps
        case _:
            raise AssertionError("this application plans no Try")


def run_some(world: World, chance: random.Random, crash_after: int) -> bool:
    """Run one job and die after so many steps, or at the first failure; True when nothing was left to do."""
    try:
        job = world.next_job()
    except BasculeError:
        return False
    if job is None:
        return True
    for step in any_order(job, chance)[:crash_after]:
        try:
            world.perform(step.action)
        except BasculeError:
            return False
    return False


def converge(world: World, chance: random.Random, most: int = 12) -> int:
    """Run whole jobs until nothing is left to do; returns how many runs it took."""
    for run in range(most):
        if world.deleted or run_some(world, chance, crash_after=10_000):
            return run
    raise AssertionError(f"not converged after {most} runs")
