"""The LB agent over fakes: commands, crashes, restarts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Set
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from random import Random
from uuid import UUID

import pytest

from bascule.agents.fencing import DesiredState
from bascule.agents.lb_node.agent import DESIRED, LBAgent
from bascule.agents.lb_node.enforcement import Enforcement
from bascule.agents.lb_node.saved_verdicts import VERDICTS, SavedVerdict
from bascule.agents.state_file import StateFile
from bascule.announcers.fake import FakeAnnouncer
from bascule.dataplanes.fake import FakeDataPlane
from bascule.healthchecks.fake import FakeProbe
from bascule.healthchecks.interface import HealthEvent, ProbeResult
from bascule.healthchecks.runner import HealthCheckRunner
from bascule.model.addresses import IPAddress
from bascule.model.configurations import Version
from bascule.model.errors import StaleCommand, SystemFailure
from bascule.model.health_checks import Health, HealthCheck, HealthCheckMode
from bascule.model.virtual_services import VirtualService
from tests.unit.agents.builders import VIP, backend, balancer, service

LB = UUID(int=1)


class Machine:
    """What outlives an agent process: the kernel, the routers, the disk, the instances."""

    def __init__(self, disk: Path) -> None:
        self.disk = disk
        self.data_plane, self.announcer, self.probe = FakeDataPlane(), FakeAnnouncer(), FakeProbe()

    @asynccontextmanager
    async def agent(self, interval: float = 3600, hold: float = 0.0) -> AsyncIterator[LBAgent]:
        """One life of the agent process; the interval is long, so that only commands and checks cause passes."""
        agent = LBAgent(
            node="lb1",
            orders=StateFile(self.disk / "load-balancers.json", DESIRED, DesiredState),
            verdicts=self.verdicts(),
            health_checks=HealthCheckRunner({HealthCheckMode.TCP: self.probe}, random=Random(1)),
            enforcement=Enforcement(self.data_plane, self.announcer),
            interval=interval,
            drain=0,
            hold=hold,
        )
        await agent.start()
        try:
            yield agent
        finally:
            await agent.close()

    def verdicts(self) -> StateFile[tuple[SavedVerdict, ...]]:
        """The file of the verdicts."""
        return StateFile(self.disk / "verdicts.json", VERDICTS, tuple)

    def backends(self) -> set[str]:
        """What the first service sends traffic to."""
        (found,) = self.data_plane.observe().services
        return {str(each.address) for each in found.backends}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


async def until_saved(machine: Machine, count: int) -> None:
    """Wait until so many verdicts are on disk."""
    async with asyncio.timeout(10):
        while len(machine.verdicts().load()[0]) != count:  # noqa: ASYNC110  a file has no event
            await asyncio.sleep(0.005)


async def test_a_command_is_answered_when_new_instances_are_judged(machine: Machine) -> None:
    """The answer tells of healthy and unhealthy instances, ready and announced, as observed."""
    machine.probe.down = {backend(2).address}
    async with machine.agent() as agent:
        report = await agent.put(balancer(service(backend(1), backend(2))))
    assert (report.ready, report.announced) == (True, True)
    assert [each.health for each in report.health] == [Health.SUCCESS, Health.FAILURE]
    assert machine.backends() == {"10.0.0.1"}


async def test_a_restart_resumes_from_disk_alone(machine: Machine) -> None:
    """A new process takes over with the last verdicts, before any check has ended."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        await until_saved(machine, 1)
    machine.probe.silent = {backend(1).address}
    async with machine.agent() as agent:
        assert (await agent.put(balancer(service(backend(1))))).announced
        assert machine.backends() == {"10.0.0.1"}


async def test_a_machine_that_boots_waits_for_a_word(machine: Machine) -> None:
    """With nothing announced yet, what the disk says is served but draws nothing until a command confirms it."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        await until_saved(machine, 1)
    machine.data_plane, machine.announcer = FakeDataPlane(), FakeAnnouncer()
    async with machine.agent(hold=3600) as agent:
        (report,) = agent.report().load_balancers
        assert (report.ready, report.announced) == (True, False)
        assert (await agent.put(balancer(service(backend(1))))).announced


async def test_a_machine_that_boots_announces_when_nobody_speaks(machine: Machine) -> None:
    """A control plane that is away keeps nobody off the air for longer than the hold."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        await until_saved(machine, 1)
    machine.data_plane, machine.announcer = FakeDataPlane(), FakeAnnouncer()
    async with machine.agent(interval=0.01, hold=0.3), asyncio.timeout(10):
        while machine.announcer.announced != {VIP}:  # noqa: ASYNC110  the announcer has no event
            await asyncio.sleep(0.005)


async def test_a_restarted_agent_holds_nothing_back(machine: Machine) -> None:
    """What routers are told already goes on, however long the hold."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        await until_saved(machine, 1)
    async with machine.agent(hold=3600) as agent:
        assert agent.report().load_balancers[0].announced


async def test_verdicts_on_machines_that_are_gone_are_not_kept(machine: Machine) -> None:
    """Only what is carried is on disk: an instance that comes back must earn its verdict."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1), backend(2))))
        await until_saved(machine, 2)
        await agent.delete(LB, Version(1, 1))
        await until_saved(machine, 0)


async def test_a_removal_leaves_nothing_behind(machine: Machine) -> None:
    """After DELETE nothing is announced, served, checked or reported, and late commands are refused."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        await agent.delete(LB, Version(1, 1))
        assert machine.announcer.announced == set()
        assert machine.data_plane.observe().ready == frozenset()
        assert agent.report().load_balancers == ()
        await agent.delete(LB, Version(1, 1))
        with pytest.raises(StaleCommand):
            await agent.put(balancer(service(backend(1))))


async def test_an_address_that_cannot_be_withdrawn_is_still_served(machine: Machine) -> None:
    """DELETE fails while routers send traffic here, the data plane goes on, and trying again completes it."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        machine.announcer.broken = "BIRD is stuck."
        with pytest.raises(SystemFailure, match="BIRD is stuck"):
            await agent.delete(LB, Version(1, 1))
        assert machine.data_plane.observe().ready == {VIP}
        machine.announcer.broken = None
        await agent.delete(LB, Version(1, 1))
        assert machine.data_plane.observe().ready == frozenset()


async def test_routers_are_asked_to_leave_before_an_address_is_withdrawn(machine: Machine) -> None:
    """By DELETE and by a command that withdraws: the address is still announced, but discouraged; then it is not."""
    seen: list[tuple[bool, bool]] = []

    class Announcer(FakeAnnouncer):
        def enforce(self, addresses: Set[IPAddress]) -> tuple[str, ...]:
            seen.append((VIP in addresses, VIP in self.discouraged))
            return super().enforce(addresses)

    machine.announcer = Announcer()
    machine.announcer.grace = 0.01
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        seen.clear()  # a check may have asked for a pass of its own meanwhile
        assert (await agent.put(replace(balancer(service(backend(1))), announced=False))).announced is False
        assert list(dict.fromkeys(seen))[-2:] == [(True, True), (False, False)]
        await agent.put(balancer(service(backend(1))))
        seen.clear()
        await agent.delete(LB, Version(1, 1))
        assert list(dict.fromkeys(seen))[-2:] == [(True, True), (False, False)]


async def test_what_is_not_announced_is_left_at_once(machine: Machine) -> None:
    """Nobody waits for routers that were never told."""
    machine.announcer.grace = 3600
    async with machine.agent() as agent, asyncio.timeout(10):
        await agent.put(replace(balancer(service(backend(1))), announced=False))
        await agent.delete(LB, Version(1, 1))


async def test_a_stale_removal_changes_nothing(machine: Machine) -> None:
    """An old worker's DELETE does not even withdraw."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1)), epoch=5))
        with pytest.raises(StaleCommand):
            await agent.delete(LB, Version(4, 9))
        assert machine.announcer.announced == {VIP}


async def test_a_full_disk_refuses_the_command_and_keeps_the_old_state(machine: Machine) -> None:
    """What cannot be remembered is not obeyed."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        # A directory in the way of the temporary file stands for a disk that takes no more.
        (machine.disk / "load-balancers.json.new").mkdir()
        with pytest.raises(SystemFailure, match="Nothing was changed"):
            await agent.put(balancer(service(backend(2)), generation=2))
        (report,) = agent.report().load_balancers
        assert report.configuration.version == Version(1, 1)
        assert machine.backends() == {"10.0.0.1"}


async def test_commands_that_come_together_end_with_the_newest(machine: Machine) -> None:
    """Twenty generations at once: each is obeyed in turn or refused as stale, and the newest is in force."""
    async with machine.agent() as agent:
        commands = [agent.put(balancer(service(backend(each)), generation=each)) for each in range(1, 21)]
        Random(3).shuffle(commands)
        answers = await asyncio.gather(*commands, return_exceptions=True)
        assert all(not isinstance(each, BaseException) or isinstance(each, StaleCommand) for each in answers)
        assert machine.backends() == {"10.0.0.20"}


async def test_a_balancer_that_is_not_to_be_announced_is_ready_only(machine: Machine) -> None:
    """Serving and announcing are two commands of the same version."""
    async with machine.agent() as agent:
        quiet = balancer(service(backend(1)), announced=False)
        report = await agent.put(quiet)
        assert (report.ready, report.announced) == (True, False)
        report = await agent.put(replace(quiet, announced=True))
        assert report.announced


async def test_a_corrupt_state_file_is_reported(machine: Machine) -> None:
    """The agent runs on, and its report says what happened."""
    (machine.disk / "load-balancers.json").write_text("{ half a")
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        assert any(".corrupt" in problem for problem in agent.report().problems)


class _GatedProbe:
    """The first instance answers at once, the others when the gate opens."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()

    async def check(self, address: IPv4Address, health_check: HealthCheck) -> ProbeResult:
        """Wait at the gate, unless it is the first instance."""
        if address != backend(1).address:
            await self.gate.wait()
        return ProbeResult(True, "fine")


class _RememberingDataPlane(FakeDataPlane):
    """A data plane that remembers how many backends each pass asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []

    def enforce(self, addresses: Set[IPAddress], services: tuple[VirtualService, ...]) -> tuple[str, ...]:
        """Remember, then do it."""
        self.passes.append(sum(len(service.backends) for service in services))
        return super().enforce(addresses, services)


async def test_new_instances_join_together(machine: Machine) -> None:
    """A pass while first verdicts are awaited serves none of the new instances: their ring is built once."""
    probe, data_plane = _GatedProbe(), _RememberingDataPlane()
    machine.probe, machine.data_plane = probe, data_plane  # type: ignore[assignment]
    async with machine.agent(interval=0.01) as agent:
        command = asyncio.ensure_future(agent.put(balancer(service(backend(1), backend(2)))))
        async with asyncio.timeout(10):
            while not _knows_a_healthy_one(agent):  # noqa: ASYNC110  reports come by asking
                await asyncio.sleep(0.005)
            passes = len(data_plane.passes)
            while len(data_plane.passes) < passes + 2:  # noqa: ASYNC110  the loop's own thread counts
                await asyncio.sleep(0.005)
        probe.gate.set()
        await command
        assert set(data_plane.passes) == {0, 2}


def _knows_a_healthy_one(agent: LBAgent) -> bool:
    return any(each.health is Health.SUCCESS for found in agent.report().load_balancers for each in found.health)


async def test_the_sorry_server_serves_while_the_quorum_is_lost(machine: Machine) -> None:
    """Two of three instances fail: the sorry server takes over in one pass, and gives back above the band."""
    one = service(backend(1), backend(2), backend(3))
    check = replace(one.health_check, interval=1, retries=0, quorum=2, hysteresis=1, sorry_server=backend(9).address)
    events: list[HealthEvent] = []
    async with machine.agent() as agent:
        agent._on_event = events.append  # type: ignore[method-assign,assignment]
        await agent.put(balancer(replace(one, health_check=check)))
        assert machine.backends() == {"10.0.0.1", "10.0.0.2", "10.0.0.3"}
        machine.probe.down = {backend(1).address, backend(2).address, backend(3).address}
        await _until_served(machine, {"10.0.0.9"})
        machine.probe.down = {backend(1).address}
        await _until_healthy(agent, 2)
        assert machine.backends() == {"10.0.0.9"}
        machine.probe.down = set()
        await _until_served(machine, {"10.0.0.1", "10.0.0.2", "10.0.0.3"})
    assert [event.up for event in events if event.kind == "service"] == [True, False, True]


async def _until_served(machine: Machine, expected: set[str]) -> None:
    async with asyncio.timeout(10):
        while machine.backends() != expected:  # noqa: ASYNC110  the loop's own thread serves
            await asyncio.sleep(0.005)


async def _until_healthy(agent: LBAgent, count: int) -> None:
    async with asyncio.timeout(10):
        while sum(each.health is Health.SUCCESS for each in agent.report().load_balancers[0].health) != count:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_state_files_of_an_older_version_load(machine: Machine) -> None:
    """Checks and verdicts saved before there were options and weights are taken over as they were."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        await until_saved(machine, 1)
    for name, kept in (("load-balancers", 7), ("verdicts", 3)):
        path = machine.disk / f"{name}.json"
        document = json.loads(path.read_text())
        olds = (
            [document["state"]["configurations"][0]["services"][0]["health_check"]]
            if name == "load-balancers"
            else [each["verdict"] for each in document["state"]]
        )
        for old in olds:
            for key in list(old)[kept:]:
                del old[key]
        path.write_text(json.dumps(document))
    machine.probe.silent = {backend(1).address}
    async with machine.agent() as agent:
        assert agent.report().problems == ()
        assert agent.report().load_balancers[0].configuration == balancer(service(backend(1)))
        assert machine.backends() == {"10.0.0.1"}


async def test_a_data_plane_that_checks_by_itself_is_believed(machine: Machine) -> None:
    """It gets all instances and what to check; nobody else checks; its verdicts are reported, told and saved."""
    machine.data_plane = FakeDataPlane(checks=True)
    events: list[HealthEvent] = []
    web = service(backend(1), backend(2))
    async with machine.agent(interval=0.01) as agent:
        agent._on_event = events.append  # type: ignore[method-assign,assignment]
        report = await agent.put(balancer(web))
        assert [each.health for each in report.health] == [Health.UNKNOWN, Health.UNKNOWN]
        assert machine.backends() == {"10.0.0.1", "10.0.0.2"}
        (given,) = machine.data_plane.services.values()
        assert given.health_check == web.health_check
        machine.data_plane.healths = {backend(1).address: Health.SUCCESS, backend(2).address: Health.FAILURE}
        await until_saved(machine, 2)
        (carried,) = agent.report().load_balancers
        assert [each.health for each in carried.health] == [Health.SUCCESS, Health.FAILURE]
    assert [(event.kind, event.up) for event in events] == [("backend", True), ("backend", False), ("service", True)]
    assert machine.probe.checks == []
    # After a restart, of the data plane too, the verdicts hold until it has others.
    machine.data_plane.healths = {}
    async with machine.agent() as agent:
        (carried,) = agent.report().load_balancers
        assert [each.health for each in carried.health] == [Health.SUCCESS, Health.FAILURE]


async def test_an_order_that_was_not_carried_out_yet_is_not_ready(machine: Machine) -> None:
    """While new instances are checked the kernel still serves by the old order: the report must not say otherwise."""
    async with machine.agent() as agent:
        await agent.put(balancer(service(backend(1))))
        machine.probe.silent = {backend(2).address}
        command = asyncio.create_task(agent.put(balancer(service(backend(2)), generation=2)))
        async with asyncio.timeout(10):
            while agent.report().load_balancers[0].configuration.version.generation == 1:  # noqa: ASYNC110  no event
                await asyncio.sleep(0)
        assert not agent.report().load_balancers[0].ready
        assert (await command).ready
