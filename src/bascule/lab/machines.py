"""The manager of hypervisors that a lab does not have: moves instances, and tells what became of them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from bascule.client.clients import AdminClient
from bascule.clock import SystemClock
from bascule.events.messages import MACHINES, MachineEvent, MachineEventKind
from bascule.events.metrics import EventCounters
from bascule.lab import network, state
from bascule.lab.moves import cable_of
from bascule.lab.network import namespace
from bascule.lab.roster import kafka_server
from bascule.lab.shape import EventsFrom
from bascule.lab.state import Lab
from bascule.lab.topology import Role
from bascule.model.errors import NotFound
from bascule.system.namespaces import call_in


def events(lab: Lab, name: str, kind: MachineEventKind, to: str = "") -> list[MachineEvent]:
    """What there is to tell of an instance: an event for each of its addresses. Raises NotFound.

    `to` is the hypervisor that it migrates to; without it the one where it is.
    """
    instance = {host.name: host for host in lab.topology.of_role(Role.INSTANCE)}.get(name)
    if instance is None:
        raise NotFound(f"There is no instance {name} in lab {lab.name}: `bascule lab status` shows them.")
    # By its address: people registered it, and a machine of two pools is one instance in each.
    return [
        MachineEvent(kind=kind, machine=str(address), hypervisor=to or instance.uplink, at=datetime.now(UTC))
        for address in instance.addresses.values()
    ]


def tell(lab: Lab, told: list[MachineEvent]) -> None:
    """Publish events over Kafka; a lab without it gets them by its API. Raises Unavailable."""
    if lab.shape.events is EventsFrom.KAFKA:
        call_in(namespace(lab.name, "control"), lambda: asyncio.run(_publish(kafka_server(lab), told)))
        return
    with AdminClient(lab.api_url, lab.admin_token) as admin:
        for event in told:
            admin.machine_events.tell(event.model_dump(mode="json", by_alias=True, exclude_none=True))


def move(lab: Lab, name: str, hypervisor: str) -> Lab:
    """Move an instance to another hypervisor with its addresses and connections, routes included; nobody is told.

    Returns the lab as it is then. Raises NotFound.
    """
    names = [host.name for host in lab.topology.of_role(Role.HYPERVISOR)]
    if hypervisor not in names:
        raise NotFound(f"There is no hypervisor {hypervisor} in lab {lab.name}: choose one of {', '.join(names)}.")
    after = replace(lab, homes=lab.homes | {name: hypervisor})
    network.replug(lab.name, after.topology, cable_of(after.topology, name))
    state.save(after)
    return after


async def _publish(server: str, told: list[MachineEvent]) -> None:
    from bascule.events.kafka import KafkaBus, KafkaOptions  # noqa: PLC0415  only where there is Kafka

    options = KafkaOptions(servers=(server,))
    bus = KafkaBus(options, clock=SystemClock(), counters=EventCounters(CollectorRegistry()))
    try:
        for event in told:
            await bus.publish(MACHINES, event.machine, event)
    finally:
        await bus.close()
