"""Machine events from a bus to the rules on hypervisors, over a real database and with agents in memory."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Address

import httpx
import pytest
from prometheus_client import CollectorRegistry

from bascule.balancing.machines import MachineFollower
from bascule.clock import SystemClock
from bascule.events.in_process import InProcessBus
from bascule.events.kafka import KafkaBus, KafkaOptions
from bascule.events.messages import MACHINES, MachineEvent, MachineEventKind
from bascule.events.metrics import EventCounters
from bascule.model.errors import SystemFailure
from bascule.programs.events import hearing
from bascule.programs.settings import OrchestratorSettings
from bascule.store import instances
from tests.contract.kafka_broker import broker
from tests.integration.test_orchestrator import HOSTS, ControlPlane, assert_serving, control

__all__ = ["control"]  # pytest finds the fixture here

MOVED = IPv4Address("10.0.0.1")  # on the first hypervisor, as the third instance is
WITHIN = 60.0  # seconds


def migrated(sequence: int, to: str) -> MachineEvent:
    """The first instance lives elsewhere."""
    return MachineEvent(
        kind=MachineEventKind.MIGRATED, machine=str(MOVED), hypervisor=to, at=datetime.now(UTC), sequence=sequence
    )


def rules_of(control: ControlPlane, host: int) -> set[IPv4Address]:
    """The instances for which a hypervisor has rules."""
    found = control.agents.node(HOSTS[host].id).forwarding.values()
    return {rule.instance for configuration in found for rule in configuration.rules}  # type: ignore[misc]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it."""
    async with asyncio.timeout(WITHIN):
        while not condition():
            await SystemClock().sleep(0.01)


async def assert_rules_follow(control: ControlPlane, publish: Callable[[MachineEvent], Awaitable[None]]) -> None:
    """A machine moves; rules come to where it is now and go from where it was, and it serves all the while."""
    load_balancer_id = await control.settled_load_balancer()
    assert (MOVED in rules_of(control, 0), MOVED in rules_of(control, 1)) == (True, False)

    def on_the_second() -> bool:
        with control.database.read() as connection:
            found = instances.find_by_address(connection, MOVED)
        return found is not None and found[1].hypervisor_id == HOSTS[1].id

    await publish(migrated(1, HOSTS[1].name))
    await until(on_the_second)
    await control.settle()
    assert (MOVED in rules_of(control, 0), MOVED in rules_of(control, 1)) == (False, True)
    assert_serving(control, load_balancer_id, backends=3)


async def test_rules_follow_a_machine_over_the_bus_in_the_process(control: ControlPlane) -> None:
    """From the bus in memory to the hypervisors."""
    bus = InProcessBus(clock=control.clock, counters=EventCounters(CollectorRegistry()))
    task = asyncio.ensure_future(bus.consume(MACHINES, MachineFollower(control.database, control.clock).handle))
    await assert_rules_follow(control, lambda event: bus.publish(MACHINES, event.machine, event))
    await stop(task)


async def test_rules_follow_a_machine_over_kafka(control: ControlPlane, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a topic of a real broker to the hypervisors, by what the orchestrator's settings say."""
    with broker() as made:
        monkeypatch.setenv("BASCULE_KAFKA_SERVERS", made.server)
        monkeypatch.setenv("BASCULE_KAFKA_MACHINES_TOPIC", "elsewhere.machines")
        heard = hearing(OrchestratorSettings(), control.database, SystemClock(), control.agents)
        tasks = [asyncio.ensure_future(work) for work in heard.work]
        sender = KafkaBus(
            KafkaOptions(servers=(made.server,)),
            clock=SystemClock(),
            counters=EventCounters(CollectorRegistry()),
        )
        topic = replace(MACHINES, name="elsewhere.machines")
        await assert_rules_follow(control, lambda event: sender.publish(topic, event.machine, event))
        await sender.close()
        for task in tasks:
            await stop(task)
        await heard.close()


async def stop(task: asyncio.Future[None]) -> None:
    """Cancel and wait."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def test_numbers_are_shown_to_prometheus_where_the_setting_says(
    control: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the setting nobody listens; a place that is taken is said."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("BASCULE_METRICS_LISTEN", place)
        with pytest.raises(SystemFailure, match="check BASCULE_METRICS_LISTEN"):
            hearing(OrchestratorSettings(), control.database, SystemClock(), control.agents)
    heard = hearing(OrchestratorSettings(), control.database, SystemClock(), control.agents)
    async with httpx.AsyncClient(trust_env=False) as client:
        text = (await client.get(f"http://{place}/metrics")).text
    assert 'bascule_drift_findings{kind="foreign"} 0.0' in text
    for work in heard.work:
        work.close()
    await heard.close()
