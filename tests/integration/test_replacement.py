"""LB nodes that die and come back: who takes over, when, and when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from uuid import UUID, uuid4

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select

from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.patience import Patience
from bascule.balancing.rebalancing import rebalance_some
from bascule.balancing.silences import Silences
from bascule.balancing.watch import Watch
from bascule.model.addresses import AddressPool
from bascule.model.nodes import LBNode, Silence
from bascule.orchestration.pages import Pages
from bascule.orchestration.queue import Queue
from bascule.orchestration.worker import Worker
from bascule.store import address_pools, hypervisors, lb_nodes, load_balancers, placements
from bascule.store.database import Database, open_database
from bascule.store.tables import orchestration
from tests.integration.expected_state import create_load_balancer, create_pool, mark_deleting
from tests.integration.test_orchestrator import HOSTS, ControlPlane, FastClock
from tests.unit.balancing.world import lb_node

NODES = tuple(lb_node(number, domain=domain) for number, domain in enumerate(("a", "a", "b", "c"), 1))
GRACE = 300.0
NOBODY = UUID(int=0)


@dataclass
class Control(ControlPlane):
    """Four LB nodes of three racks, of which one may be replaced at once."""

    load_balancer_id: UUID = NOBODY
    registry: CollectorRegistry | None = None

    def watch(self) -> Watch:
        """A new process, with nothing remembered."""
        self.registry = CollectorRegistry()
        silences = Silences(
            database=self.database,
            clock=self.clock,
            patience=Patience(after=GRACE, share=0.25),
            pages=Pages(orchestration),
            registry=self.registry,
        )
        return Watch(
            database=self.database,
            agents=self.agents,
            clock=self.clock,
            interval=1.0,
            sweep=1e9,
            missed=self.missed,
            silences=silences,
        )

    def placed(self) -> set[str]:
        """The names of the nodes on which the load balancer shall be."""
        with self.database.read() as connection:
            found = placements.of(connection, self.load_balancer_id)
        return {node.name for node in NODES if node.id in found}

    def leaving(self) -> set[str]:
        """The names of those that have not confirmed that they do not carry it."""
        with self.database.read() as connection:
            found = placements.leaving(connection, self.load_balancer_id)
        return {node.name for node in NODES if node.id in found}

    def announcing(self) -> set[str]:
        """The names of those that draw its packets, heard or not."""
        carried = {node.name: self.agents.node(node.id).balancers.get(self.load_balancer_id) for node in NODES}
        return {name for name, each in carried.items() if each is not None and each.announced}

    def silences(self) -> dict[str, Silence]:
        """By name, of those that are silent."""
        with self.database.read() as connection:
            found = lb_nodes.silences(connection)
        return {node.name: found[node.id][1] for node in NODES if node.id in found}

    def pages(self) -> list[tuple[bool, str]]:
        """What humans were told: whether it is over, and the words."""
        with self.database.read() as connection:
            rows = connection.execute(select(orchestration.pages).order_by(orchestration.pages.c.id)).all()
        return [(row.recovered, row.error) for row in rows]

    def silence(self, *names: str, heard: bool = False) -> None:
        """These do not answer from now on, or do again."""
        for node in NODES:
            if node.name in names:
                self.agents.node(node.id).reachable = heard

    async def pass_time(self, seconds: float, watch: Watch | None = None) -> None:
        """One look before and one after, and workers until nothing is due."""
        watch = watch or self.watch()
        await watch.run_once()
        self.clock.ahead += seconds
        await watch.run_once()
        await self.settle()

    def node_of(self, names: set[str]) -> LBNode:
        """The first of them."""
        return next(node for node in NODES if node.name in names)


@pytest.fixture
def control(database_url: str) -> Iterator[Control]:
    """A load balancer that runs on two of four nodes."""
    engine = open_database(database_url)
    database = Database(engine)
    with database.write() as connection:
        for node in NODES:
            lb_nodes.insert(connection, node)
        for host in HOSTS:
            hypervisors.insert(connection, host)
        pool_id = create_pool(connection, HOSTS)
        load_balancer_id, _ = create_load_balancer(connection, pool_id, now=0.0)
    found = Control(
        database=database,
        agents=FakeAgents(),
        clock=FastClock(),
        queue=Queue(orchestration),
        pool_id=pool_id,
        load_balancer_id=load_balancer_id,
    )
    asyncio.run(found.settle())
    yield found
    engine.dispose()


async def test_a_dead_node_is_replaced_after_the_grace_time(control: Control) -> None:
    """Not before; then another one serves in another rack, and the dead one is left until it confirms."""
    before = control.placed()
    dead = control.node_of(before)
    control.silence(dead.name)
    await control.pass_time(GRACE - 10)
    assert control.placed() == before
    assert control.silences() == {dead.name: Silence.WAITING}
    await control.pass_time(11)
    assert control.silences() == {dead.name: Silence.REPLACED}
    after = control.placed()
    assert len(after) == 2
    assert dead.name not in after
    assert after <= control.announcing()
    assert len({node.failure_domain for node in NODES if node.name in after}) == 2
    assert control.leaving() == {dead.name}
    assert control.registry is not None
    assert control.registry.get_sample_value("bascule_lb_nodes_silent", {"silence": "replaced"}) == 1


async def test_a_node_that_returns_gives_up_what_others_took_over(control: Control) -> None:
    """What it carries is taken off it, its silence is over, and it may carry others."""
    dead = control.node_of(control.placed())
    control.silence(dead.name)
    await control.pass_time(GRACE + 1)
    assert dead.name in control.announcing()
    control.silence(dead.name, heard=True)
    await control.pass_time(1)
    assert control.leaving() == set()
    assert control.announcing() == control.placed()
    assert control.silences() == {}


async def test_a_silence_is_as_old_as_it_is_whoever_watches(control: Control) -> None:
    """An orchestrator that is started anew during the grace time does not begin it anew."""
    dead = control.node_of(control.placed())
    control.silence(dead.name)
    await control.pass_time(GRACE / 2, control.watch())
    await control.pass_time(GRACE / 2 + 1, control.watch())
    assert dead.name not in control.placed()


async def test_who_is_heard_by_anybody_is_not_replaced(control: Control) -> None:
    """A second orchestrator that hears the node ends its silence each time."""
    before = control.placed()
    lonely, other = control.watch(), control.watch()
    dead = control.node_of(before)
    for _ in range(4):
        control.silence(dead.name)
        await control.pass_time(GRACE * 0.9, lonely)
        control.silence(dead.name, heard=True)
        await control.pass_time(0, other)
    assert control.placed() == before


async def test_nothing_is_replaced_when_too_many_are_silent(control: Control) -> None:
    """The breaker opens with one page, says so in the metric, and closes with one more."""
    before = control.placed()
    control.silence(*(node.name for node in NODES))
    for _ in range(3):
        await control.watch().run_once()
        control.clock.ahead += GRACE
    assert control.placed() == before
    assert set(control.silences().values()) == {Silence.HELD}
    assert [over for over, _ in control.pages()] == [False]
    assert "4 LB nodes of 4" in control.pages()[0][1]
    assert control.registry is not None
    assert control.registry.get_sample_value("bascule_lb_nodes_silent", {"silence": "held"}) == 4
    control.silence(*(node.name for node in NODES[1:]), heard=True)
    await control.watch().run_once()
    assert [over for over, _ in control.pages()] == [False, True]
    assert control.silences() == {"lb1": Silence.REPLACED}


async def test_a_clock_that_is_set_back_replaces_nobody_early(control: Control) -> None:
    """The silence counts from the new time."""
    before = control.placed()
    control.silence(control.node_of(before).name)
    watch = control.watch()
    await watch.run_once()
    control.clock.ahead -= 10 * GRACE
    await control.pass_time(GRACE - 1, watch)
    assert control.placed() == before
    await control.pass_time(2, watch)
    assert control.placed() != before


async def test_a_node_that_returns_as_it_is_replaced_serves_until_another_does(control: Control) -> None:
    """Its replacement falls silent before it serves: the old one goes on, and is never withdrawn."""
    before = control.placed()
    dead = control.node_of(before)
    control.silence(dead.name)
    watch = control.watch()
    await watch.run_once()
    control.clock.ahead += GRACE + 1
    await watch.run_once()

    def fail(call: str) -> None:
        if call.startswith("put_balancer"):
            control.silence(*({node.name for node in NODES} - before))
            raise ConnectionError

    control.agents.before = fail
    await control.worker().run_once()
    control.agents.before = lambda _call: None
    assert control.placed() != before
    control.silence(dead.name, heard=True)
    for _ in range(5):
        control.clock.ahead += 5
        await control.watch().run_once()
        await control.settle()
        assert before <= control.announcing()
    assert control.placed() == before


async def test_an_address_stays_held_by_a_dead_node(control: Control) -> None:
    """A load balancer that was replaced and then deleted keeps its address until the dead node confirms."""
    dead = control.node_of(control.placed())
    control.silence(dead.name)
    await control.pass_time(GRACE + 1)
    with control.database.write() as connection:
        mark_deleting(connection, control.load_balancer_id, now=control.clock.now())
    await control.worker().run_once()
    with control.database.read() as connection:
        assert load_balancers.exists(connection, control.load_balancer_id)
    control.silence(dead.name, heard=True)
    control.clock.ahead += 5
    await control.pass_time(5)
    with control.database.read() as connection:
        assert not load_balancers.exists(connection, control.load_balancer_id)


async def test_two_racks_again_when_one_returns(control: Control) -> None:
    """Only nodes of one rack were left; when another one answers, one of the two moves there and is served before."""
    others = [node for node in NODES if node.failure_domain != "a"]
    with control.database.write() as connection:
        for node in others:
            lb_nodes.update(connection, replace(node, enabled=False))
        placements.replace(connection, control.load_balancer_id, frozenset(node.id for node in NODES[:2]))
    await control.pass_time(0)
    assert control.placed() == {"lb1", "lb2"}
    with control.database.write() as connection:
        lb_nodes.update(connection, others[0])
    await control.pass_time(0)
    assert others[0].name in control.placed()
    assert control.announcing() == control.placed()


async def test_a_new_node_gets_its_share_when_asked(control: Control) -> None:
    """Nothing moves by itself; asked, as many move as allowed, are served before they leave, and it ends even."""
    fleet = NODES[:3]
    with control.database.write() as connection:
        lb_nodes.update(connection, replace(NODES[3], enabled=False))
        address_pools.insert(connection, AddressPool(id=uuid4(), name="more", network=IPv4Network("198.51.100.0/28")))
    await control.pass_time(0)
    with control.database.write() as connection:
        everything = [control.load_balancer_id]
        everything += [create_load_balancer(connection, control.pool_id, now=0.0)[0] for _ in range(7)]
    await control.pass_time(0)
    assert sorted(loads(control).values()) == [4, 4, 8]  # two nodes of one rack share what the third one has
    with control.database.write() as connection:
        lb_nodes.update(connection, replace(NODES[0], failure_domain="d"))
        lb_nodes.update(connection, NODES[3])
    await control.pass_time(0)
    assert sorted(loads(control).values()) == [4, 4, 8]
    rounds = 0
    while True:
        with control.database.write() as connection:
            done = rebalance_some(connection, at_most=2, now=control.clock.now())
        assert done.moved <= 2
        assert {node.name for node in fleet} & control.announcing()
        if not done.moved:
            break
        rounds += 1
        await control.pass_time(0)
    assert done.left == 0
    assert sorted(loads(control).values()) == [4, 4, 4, 4]
    assert rounds == 2
    for each in everything:
        control.load_balancer_id = each
        assert control.announcing() == control.placed()


def loads(control: Control) -> dict[UUID, int]:
    """How many load balancers each node shall carry."""
    with control.database.read() as connection:
        return placements.loads(connection)


async def test_workers_side_by_side_place_evenly(control: Control) -> None:
    """Workers of one process that place at the same moment know of each other's decisions."""
    with control.database.write() as connection:
        for node in NODES:
            lb_nodes.update(connection, replace(node, failure_domain=""))
        address_pools.insert(connection, AddressPool(id=uuid4(), name="more", network=IPv4Network("198.51.100.0/28")))
        for _ in range(11):
            create_load_balancer(connection, control.pool_id, now=0.0)
    reconciler = control.reconciler()
    workers = [control.worker(reconciler, name=f"worker-{number}") for number in range(4)]

    async def work(worker: Worker) -> None:
        while await worker.run_once():
            pass

    await asyncio.gather(*(work(worker) for worker in workers))
    found = loads(control)
    assert sum(found.values()) == 24
    assert max(found.values()) - min(found.values()) <= 1
