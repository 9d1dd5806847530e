"""When a report may be used again, and when not."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.noted_agents import NotedAgents
from bascule.balancing.reports import Reports
from bascule.model.configurations import ForwardingConfiguration, Version
from bascule.model.errors import Unavailable
from bascule.model.nodes import LBNode
from bascule.model.reports import LBNodeReport
from tests.unit.agents.builders import backend, balancer, service
from tests.unit.balancing.world import hypervisor, lb_node

NODE, HOST = lb_node(1), hypervisor(1)
CARRIED = balancer(service(backend(1)))


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.time = 100.0

    def now(self) -> float:
        """The time set."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Nobody waits."""


class Stage:
    """Agents whose questions are counted, and reports over them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.clock = Clock()
        self.fakes = FakeAgents(before=self.calls.append)
        self.reports = Reports(self.fakes, self.clock)
        self.agents = NotedAgents(self.fakes, self.reports.commanded)

    async def carries(self, since: float) -> int:
        """How many load balancers the node carries, by a report that is current since then."""
        return len((await self.reports.current_of_lb_nodes([NODE], since))[0].balancers)

    @property
    def asked(self) -> int:
        """How often agents were asked for a report."""
        return sum(call.startswith("report") for call in self.calls)


async def test_a_report_is_used_again_while_it_is_young_enough() -> None:
    """One question serves all readers that are content with its time, and no others."""
    stage = Stage()
    await stage.reports.of_lb_nodes([NODE])
    stage.clock.time = 101.0
    assert await stage.carries(since=100.0) == 0
    assert stage.asked == 1
    await stage.carries(since=100.5)
    assert stage.asked == 2


async def test_whoever_must_see_what_is_now_never_gets_an_older_report() -> None:
    """A worker that claims after the report asks again."""
    stage = Stage()
    await stage.reports.of_lb_nodes([NODE])
    stage.clock.time = 101.0
    stage.fakes.node(NODE.id).balancers[CARRIED.load_balancer_id] = CARRIED
    assert len((await stage.reports.of_lb_nodes([NODE]))[0].balancers) == 1


async def test_a_command_outdates_the_report_of_its_node_and_no_other() -> None:
    """After a put, a delete, a put of rules or their removal, the node's report is asked for anew."""
    stage, version = Stage(), Version(9, 9)
    await stage.carries(since=100.0)
    await stage.reports.of_hypervisors([HOST])
    await stage.agents.put_balancer(NODE, CARRIED)
    await stage.reports.current_of_hypervisors([HOST], 100.0)
    assert stage.asked == 2
    assert await stage.carries(since=100.0) == 1
    await stage.agents.delete_balancer(NODE, CARRIED.load_balancer_id, version)
    assert await stage.carries(since=100.0) == 0
    rules = ForwardingConfiguration(load_balancer_id=CARRIED.load_balancer_id, version=version)
    await stage.agents.put_forwarding(HOST, rules)
    assert len((await stage.reports.current_of_hypervisors([HOST], 100.0))[0].forwarding) == 1
    await stage.agents.delete_forwarding(HOST, CARRIED.load_balancer_id, version)
    assert not (await stage.reports.current_of_hypervisors([HOST], 100.0))[0].forwarding


async def test_a_command_that_failed_outdates_the_report_too() -> None:
    """It may have been obeyed all the same: the answer was lost."""
    stage = Stage()
    await stage.carries(since=100.0)

    def lose(call: str) -> None:
        raise Unavailable(f"{call}: the answer was lost.")

    stage.fakes.after = lose
    with suppress(Unavailable):
        await stage.agents.put_balancer(NODE, CARRIED)
    assert await stage.carries(since=100.0) == 1


class SlowAgents(FakeAgents):
    """Reports are taken at once and arrive late."""

    def __init__(self) -> None:
        super().__init__()
        self.taken, self.let_go = asyncio.Event(), asyncio.Event()

    async def lb_node_report(self, node: LBNode) -> LBNodeReport:
        """As it was when asked for."""
        report = await super().lb_node_report(node)
        self.taken.set()
        await self.let_go.wait()
        return report


async def test_a_report_on_its_way_while_a_command_is_obeyed_is_not_current() -> None:
    """It was taken before the command, though it came after it."""
    clock, slow = Clock(), SlowAgents()
    reports = Reports(slow, clock)
    agents = NotedAgents(slow, reports.commanded)
    early = asyncio.create_task(reports.of_lb_nodes([NODE]))
    await slow.taken.wait()
    await agents.put_balancer(NODE, CARRIED)
    slow.let_go.set()
    assert not (await early)[0].balancers
    assert (await reports.current_of_lb_nodes([NODE], 0.0))[0].balancers


async def test_a_command_under_way_outdates_the_reports_taken_meanwhile() -> None:
    """Before it has been answered nobody knows whether a report shows it."""
    stage = Stage()
    stage.reports.commanded(NODE.id)
    await stage.carries(since=100.0)
    stage.reports.commanded(NODE.id)
    await stage.carries(since=100.0)
    assert stage.asked == 2


async def test_a_node_that_was_silent_between_two_equal_reports_is_news() -> None:
    """The revision grows with every change of the answer, silence included, and with nothing else."""
    stage = Stage()
    revisions = []
    for reachable in (True, True, False, False, True):
        stage.clock.time += 1.0
        stage.fakes.node(NODE.id).reachable = reachable
        revisions.append((await stage.reports.of_lb_nodes([NODE]))[0].revision)
    assert revisions == [1, 1, 2, 2, 3]
