"""The glance over what is due: it ends runs that find nothing to do, and never one that is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection

from bascule.model.instance_pools import Instance
from bascule.model.load_balancers import LoadBalancerState, ServiceState
from bascule.model.operations import Operation
from bascule.orchestration.claims import Entity
from bascule.orchestration.queue import Priority
from bascule.store import (
    changes,
    instance_pools,
    instances,
    jobs,
    load_balancers,
    operations,
    placements,
    services,
)
from bascule.store.times import from_seconds
from tests.integration.expected_state import create_load_balancer
from tests.integration.test_orchestrator import HOSTS, NODES, ControlPlane, control

__all__ = ["control"]  # pytest finds the fixture here

SORRY = IPv4Address("10.0.0.99")


async def settled(control: ControlPlane) -> UUID:
    """A load balancer that is as it should be; its service names a sorry server that does not exist."""
    with control.database.write() as connection:
        load_balancer_id, _ = create_load_balancer(connection, control.pool_id, now=control.clock.now())
        (service,) = services.of(connection, load_balancer_id)
        services.update(connection, replace(service, health_check=replace(service.health_check, sorry_server=SORRY)))
    await control.settle()
    return load_balancer_id


def ask(control: ControlPlane, load_balancer_id: UUID, priority: Priority = Priority.EVENT) -> None:
    """A doubt."""
    with control.database.write() as connection:
        changes.request(connection, [load_balancer_id], priority=priority, reason="doubt", now=control.clock.now())


async def ended(control: ControlPlane) -> int:
    """How many runs a glance of a new process ends."""
    return await control.glance(control.reconciler()).end_what_is_settled()


def waits(control: ControlPlane) -> bool:
    """Whether anything waits for a worker."""
    with control.database.read() as connection:
        return any(row["waiting"] for row in jobs.queue(connection))


async def test_a_doubt_that_proves_unfounded_is_ended_without_lease_and_job(control: ControlPlane) -> None:
    """No epoch is given, no job is opened, every agent is asked once, and nothing waits afterwards."""
    load_balancer_id = await settled(control)
    with control.database.read() as connection:
        (before,), done = jobs.queue(connection), len(jobs.latest(connection, entity_id=None, limit=100))
    ask(control, load_balancer_id)
    asked: list[str] = []
    control.agents.before = asked.append
    assert await ended(control) == 1
    with control.database.read() as connection:
        (after,) = jobs.queue(connection)
        assert len(jobs.latest(connection, entity_id=None, limit=100)) == done
    assert (after["epoch"], after["done"]) == (before["epoch"], before["requested"] + 1)
    names = [node.name for node in NODES] + [host.name for host in HOSTS]
    assert sorted(asked) == sorted(f"report {name}" for name in names)
    assert not waits(control)


Break = Callable[[ControlPlane, Connection, UUID], None]


def a_generation_not_enforced(control: ControlPlane, connection: Connection, _of: UUID) -> None:
    """The pool shrank."""
    instance_pools.update(connection, replace(instance_pools.get(connection, control.pool_id), size=2))


def an_operation_pending(_control: ControlPlane, connection: Connection, of: UUID) -> None:
    """Nothing is to do, but somebody waits to be told so."""
    operation = Operation(
        id=uuid4(),
        command="create",
        reference_kind="load-balancer",
        reference_id=of,
        generation=1,
        created_at=from_seconds(0),
    )
    operations.insert(connection, operation, awaited={of: 1})


def a_state_not_recorded(_control: ControlPlane, connection: Connection, of: UUID) -> None:
    """The API shows an error that is over."""
    load_balancers.set_state(connection, of, LoadBalancerState.ERROR)


def a_service_not_recorded(_control: ControlPlane, connection: Connection, of: UUID) -> None:
    """The same of a service."""
    services.set_states(connection, of, ServiceState.CREATING)


def problems_that_keep_nodes_from_serving(control: ControlPlane, _connection: Connection, _of: UUID) -> None:
    """Every node has its configuration and complains."""
    for node in NODES:
        machine = control.agents.node(node.id)
        machine.ready, machine.problems = False, ("The kernel refused.",)


def rules_not_enforced(control: ControlPlane, _connection: Connection, _of: UUID) -> None:
    """A hypervisor was told, and its kernel may not have them."""
    control.agents.node(HOSTS[0].id).enforced = False


def rules_lost(control: ControlPlane, _connection: Connection, _of: UUID) -> None:
    """A hypervisor has none."""
    control.agents.node(HOSTS[0].id).forwarding.clear()


def a_node_that_lost_it(control: ControlPlane, _connection: Connection, _of: UUID) -> None:
    """An LB node carries nothing."""
    control.agents.node(NODES[0].id).balancers.clear()


def an_announcement_missing(control: ControlPlane, _connection: Connection, of: UUID) -> None:
    """An LB node serves and draws no traffic."""
    balancers = control.agents.node(NODES[0].id).balancers
    balancers[of] = replace(balancers[of], announced=False)


def a_placement_that_is_leaving(_control: ControlPlane, connection: Connection, of: UUID) -> None:
    """A third node has not confirmed that it carries nothing."""
    placements.replace(
        connection, of, frozenset(node.id for node in NODES[:1]), leaving=frozenset(node.id for node in NODES[1:])
    )


def a_sorry_server_that_exists_now(control: ControlPlane, connection: Connection, _of: UUID) -> None:
    """Its hypervisor needs rules, and LB nodes its address."""
    pool = replace(instance_pools.get(connection, control.pool_id), id=uuid4(), name="sorry", members=())
    instance_pools.insert(connection, pool, template={}, now=0.0)
    instances.insert(connection, pool.id, Instance(id=uuid4(), name="sorry", address=SORRY, hypervisor_id=HOSTS[1].id))


def a_move(control: ControlPlane, connection: Connection, _of: UUID) -> None:
    """An instance is on another hypervisor now."""
    first = instance_pools.get(connection, control.pool_id).members[0]
    instances.update(connection, replace(first, hypervisor_id=HOSTS[1].id))


def a_deletion(_control: ControlPlane, connection: Connection, of: UUID) -> None:
    """It is to go."""
    load_balancers.set_state(connection, of, LoadBalancerState.DELETING)


def its_end(_control: ControlPlane, connection: Connection, of: UUID) -> None:
    """Its row is gone, and the queue's is to be forgotten."""
    load_balancers.delete(connection, of)


PENDING: tuple[Break, ...] = (
    a_generation_not_enforced,
    an_operation_pending,
    a_state_not_recorded,
    a_service_not_recorded,
    problems_that_keep_nodes_from_serving,
    rules_not_enforced,
    rules_lost,
    a_node_that_lost_it,
    an_announcement_missing,
    a_placement_that_is_leaving,
    a_sorry_server_that_exists_now,
    a_move,
    a_deletion,
    its_end,
)


@pytest.mark.parametrize("pending", PENDING, ids=lambda each: each.__name__)
async def test_no_kind_of_work_is_taken_for_none(control: ControlPlane, pending: Break) -> None:
    """Whatever is to be done is left to a worker."""
    load_balancer_id = await settled(control)
    with control.database.write() as connection:
        pending(control, connection, load_balancer_id)
    ask(control, load_balancer_id)
    assert await ended(control) == 0
    assert waits(control)


async def test_what_a_user_waits_for_is_never_held_up(control: ControlPlane) -> None:
    """While it is the most urgent, no agent is asked."""
    load_balancer_id = await settled(control)
    ask(control, load_balancer_id, Priority.USER)
    asked: list[str] = []
    control.agents.before = asked.append
    assert (await ended(control), asked) == (0, [])


async def test_what_failed_before_is_left_to_a_worker(control: ControlPlane) -> None:
    """Its failures are counted and told of there, and so is that they are over."""
    load_balancer_id = await settled(control)
    ask(control, load_balancer_id)
    with control.database.write() as connection:
        claim = control.queue.claim(connection, holder="another", now=control.clock.now(), lease=60.0)
        assert claim is not None
        control.queue.claims.fail(connection, claim, error="no", retry_at=control.clock.now())
    assert await ended(control) == 0


@pytest.mark.parametrize("claimed", [False, True], ids=["asked for", "claimed"])
async def test_what_changes_hands_during_the_glance_stays_due(control: ControlPlane, claimed: bool) -> None:
    """Somebody asks again, or claims it, while agents are being asked: the glance's verdict is too old."""
    load_balancer_id = await settled(control)
    ask(control, load_balancer_id)

    def meanwhile(_call: str) -> None:
        control.agents.before = lambda _call: None
        if not claimed:
            ask(control, load_balancer_id)
            return
        with control.database.write() as connection:
            assert control.queue.claim(connection, holder="another", now=control.clock.now(), lease=60.0)

    control.agents.before = meanwhile
    await ended(control)
    assert waits(control)


async def test_one_that_was_ended_without_a_silent_node_follows_when_it_answers(control: ControlPlane) -> None:
    """Nothing could be compared on the silent node: the watch asks again as soon as it hears it."""
    load_balancer_id = await settled(control)
    watch = control.watch()
    await watch.run_once()
    await control.settle()
    silent = control.agents.node(HOSTS[0].id)
    silent.reachable = False
    ask(control, load_balancer_id)
    assert await ended(control) == 1
    silent.forwarding.clear()
    silent.reachable = True
    await watch.run_once()
    await control.settle()
    assert load_balancer_id in silent.forwarding


async def test_what_differs_is_looked_at_once_and_does_not_hide_the_rest(control: ControlPlane) -> None:
    """The most urgent needs a worker: the glance lets workers at it and looks again when it has been asked for anew."""
    load_balancer_id = await settled(control)
    control.agents.node(HOSTS[0].id).forwarding.clear()
    ask(control, load_balancer_id)
    glance = control.glance(control.reconciler())
    asked: list[str] = []
    control.agents.before = asked.append
    for _ in range(3):
        assert await glance.end_what_is_settled() == 0
    assert len(asked) == len(NODES) + len(HOSTS)
    ask(control, load_balancer_id)
    await glance.end_what_is_settled()
    assert len(asked) == 2 * (len(NODES) + len(HOSTS))


async def test_an_unknown_kind_of_entity_is_left_to_a_worker(control: ControlPlane) -> None:
    """The glance has no look for it."""
    with control.database.write() as connection:
        control.queue.request(
            connection, Entity("thing", "one"), priority=Priority.EVENT, reason="doubt", now=control.clock.now()
        )
    assert await ended(control) == 0
    assert waits(control)
