"""The hypervisor agent over a fake: LB nodes send only after it has answered, so its answers must be true."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

import pytest

from bascule.agents.fencing import DesiredState
from bascule.agents.hypervisor.agent import DESIRED, Enforcement, HypervisorAgent, Watch
from bascule.agents.state_file import StateFile
from bascule.forwarding.fake import FakeForwarding
from bascule.model.configurations import ForwardingConfiguration, ForwardingRule, Version
from bascule.model.errors import SystemFailure
from bascule.model.strategies import Protocol

LB, OTHER = UUID(int=1), UUID(int=2)


def rule(vip: int, instance: int) -> ForwardingRule:
    return ForwardingRule(
        IPv4Address("192.0.2.0") + vip, Protocol.TCP, 80, IPv4Address("10.0.0.0") + instance, target_port=8080
    )


def configuration(number: UUID, *rules: ForwardingRule, generation: int = 1) -> ForwardingConfiguration:
    return ForwardingConfiguration(load_balancer_id=number, version=Version(1, generation), rules=rules)


@asynccontextmanager
async def agent(disk: Path, forwarding: FakeForwarding, watch: Watch | None = None) -> AsyncIterator[HypervisorAgent]:
    """One life of the agent process; only commands cause passes, and what `watch` tells."""
    living = HypervisorAgent(
        node="hv1",
        orders=StateFile(disk / "forwarding.json", DESIRED, DesiredState),
        enforcement=Enforcement(forwarding),
        interval=3600,
        watch=watch,
    )
    await living.start()
    try:
        yield living
    finally:
        await living.close()


async def test_load_balancers_come_and_go_without_touching_each_other(tmp_path: Path) -> None:
    """The rules of all load balancers are in force together; removing one leaves the other's."""
    forwarding = FakeForwarding()
    async with agent(tmp_path, forwarding) as hypervisor:
        await hypervisor.put(configuration(LB, rule(1, 1)))
        await hypervisor.put(configuration(OTHER, rule(2, 1), rule(2, 2)))
        assert forwarding.rules == {rule(1, 1), rule(2, 1), rule(2, 2)}
        await hypervisor.delete(OTHER, Version(1, 1))
        assert forwarding.rules == {rule(1, 1)}


async def test_a_driver_that_fails_is_an_error_and_is_tried_again(tmp_path: Path) -> None:
    """The command fails, but is remembered: the rules come as soon as the driver can."""
    forwarding = FakeForwarding()
    async with agent(tmp_path, forwarding) as hypervisor:
        forwarding.broken = "The kernel said no."
        with pytest.raises(SystemFailure, match="The kernel said no"):
            await hypervisor.put(configuration(LB, rule(1, 1)))
        assert hypervisor.report().load_balancers == (configuration(LB, rule(1, 1)),)
        forwarding.broken = None
        await hypervisor.put(configuration(LB, rule(1, 1)))
        assert forwarding.rules == {rule(1, 1)}


async def test_an_unreachable_instance_is_a_problem_but_no_error(tmp_path: Path) -> None:
    """One stopped machine must not keep the others' rules out of force."""
    forwarding = FakeForwarding()
    forwarding.unreachable = {rule(1, 2).instance}
    async with agent(tmp_path, forwarding) as hypervisor:
        await hypervisor.put(configuration(LB, rule(1, 1), rule(1, 2)))
        assert forwarding.rules == {rule(1, 1)}
        assert hypervisor.report().problems == ("Instance 10.0.0.2 is not reachable from here.",)


async def test_a_restart_resumes_before_the_first_answer(tmp_path: Path) -> None:
    """Whoever asks a new process finds the rules in force."""
    async with agent(tmp_path, FakeForwarding()) as hypervisor:
        await hypervisor.put(configuration(LB, rule(1, 1)))
    async with agent(tmp_path, FakeForwarding()) as hypervisor:
        assert hypervisor.report().forwarding.instances == {rule(1, 1).instance}


async def test_a_report_tells_whether_the_rules_are_in_force(tmp_path: Path) -> None:
    """What a hypervisor was told is not taken for what its kernel has."""
    forwarding = FakeForwarding()
    async with agent(tmp_path, forwarding) as running:
        assert running.report().enforced
        forwarding.broken = "no memory"
        with pytest.raises(SystemFailure):
            await running.put(configuration(LB, rule(1, 1)))
        assert running.report().load_balancers
        assert not running.report().enforced
        forwarding.broken = None
        await running.put(configuration(LB, rule(1, 1)))
        assert running.report().enforced


class Routes:
    """What tells of links and routes; the test is the kernel."""

    def __init__(self) -> None:
        self.changed: Callable[[bool], None] | None = None

    def __call__(self, changed: Callable[[bool], None]) -> Routes:
        self.changed = changed
        return self

    def close(self) -> None:
        """Nobody is told any more."""
        self.changed = None


async def test_an_instance_that_comes_is_served_at_once(tmp_path: Path) -> None:
    """The rules came before their instance did: when a route changes, it is looked for; not when neighbours change."""
    forwarding, routes = FakeForwarding(), Routes()
    forwarding.unreachable = {rule(1, 1).instance}
    async with agent(tmp_path, forwarding, routes) as hypervisor, asyncio.timeout(10):
        await hypervisor.put(configuration(LB, rule(1, 1)))
        assert not forwarding.rules
        forwarding.unreachable = set()
        assert routes.changed is not None
        routes.changed(False)
        await asyncio.sleep(0)
        assert not forwarding.rules
        routes.changed(True)
        while not forwarding.rules:  # noqa: ASYNC110  the fake has no event
            await asyncio.sleep(0.005)
        assert forwarding.rules == {rule(1, 1)}
    assert routes.changed is None
