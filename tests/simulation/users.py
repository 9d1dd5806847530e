"""Users and operators: they ask the API's own functions for changes, and expect every one to come true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any
from uuid import UUID

from bascule.api import instance_pools as pool_routes
from bascule.api import load_balancers as routes
from bascule.api import services as service_routes
from bascule.api.admin import address_pools as admin_address_pools
from bascule.api.admin import drains as admin_drains
from bascule.api.admin import hypervisors as admin_hypervisors
from bascule.api.admin import instance_pools as admin_pools
from bascule.api.admin import instances as admin_instances
from bascule.api.admin import lb_nodes as admin_nodes
from bascule.api.admin import load_balancers as admin_load_balancers
from bascule.api.context import Context
from bascule.model.errors import BasculeError
from bascule.model.instance_pools import InstancePool
from bascule.model.load_balancers import LoadBalancer, LoadBalancerState
from bascule.store import instance_pools, lb_nodes, load_balancers
from bascule.store.database import Database
from bascule.wire import admin_v1, public_v2
from bascule.wire.admin_v1_drains import Drain, Undrain
from tests.simulation.database import Engines, SimulatedDatabase
from tests.simulation.virtual_time import Process
from tests.simulation.world import ProcessClock, World

DRAIN_DEADLINE = 8.0  # seconds; some drains are over in the midst of trouble, and some after it
LOAD_BALANCERS_MOST = 4  # as many as there are addresses: a freed one is given away at once
RACKS = ("left", "left", "right")  # of the LB nodes
PORTS = (80, 81, 443)
TRANSPORTS = ("tcp", "udp")
_WISHES = {
    "names": "SELECT id, name FROM load_balancers WHERE state != 'deleting'",
    "services": "SELECT id, load_balancer_id, protocol, port, target_port FROM services WHERE load_balancer_id IN"
    " (SELECT id FROM load_balancers WHERE state != 'deleting')",
    "pools": "SELECT id, size FROM instance_pools",
    "instances": "SELECT id, hypervisor_id, weight, evicted, drained FROM instances WHERE NOT leaving",
    "nodes": "SELECT id, enabled FROM lb_nodes",
}
Wishes = Mapping[str, frozenset[tuple[object, ...]]]


def furnish(engines: Engines) -> None:
    """Three LB nodes, two hypervisors, two pools of instances, four addresses: where every history begins."""
    clock = ProcessClock(Process("operator"))
    context = _context(Database(engines.engine), clock, lambda: 1)
    agent = {"agent-url": "http://192.0.2.1:7701", "agent-token": "a-token-of-an-agent"}
    network = {"name": "public", "network": "203.0.113.0/30"}
    admin_address_pools.create_address_pool(context, admin_v1.AddressPoolCreate.model_validate(network))
    for number, rack in enumerate(RACKS, 1):
        node = {"name": f"lb{number}", "failure-domain": rack, **agent}
        admin_nodes.create_lb_node(context, admin_v1.LBNodeCreate.model_validate(node))
    for number in (1, 2):
        body = admin_v1.HypervisorCreate.model_validate({"name": f"hv{number}", **agent})
        admin_hypervisors.create_hypervisor(context, body)
    for number, members in ((1, 3), (2, 2)):
        pool = admin_v1.InstancePoolCreate.model_validate({"name": f"pool{number}"})
        pool_id = admin_pools.create_instance_pool(context, pool).id
        for member in range(1, members + 1):
            _register(context, pool_id, f"10.0.{number}.{member}", f"hv{member % 2 + 1}")


def _register(context: Context, pool_id: UUID, address: str, host: str) -> None:
    body = {"name": f"vm-{address}", "address": address, "hypervisor": host}
    admin_instances.create_instance(context, pool_id, admin_v1.InstanceCreate.model_validate(body))


def _context(database: Database, clock: ProcessClock, new_hash_seed: Callable[[], int]) -> Context:
    return Context(
        database=database,
        clock=clock,
        admin_token="",
        zone="",
        public_url="",
        new_hash_seed=new_hash_seed,
        drain_deadline=DRAIN_DEADLINE,
    )


class Users:
    """Everybody who asks the API for something. `wishes` is what they expect to find in the end."""

    def __init__(self, world: World) -> None:
        self._world, self._chance = world, world.chance
        process = Process("api")
        database = SimulatedDatabase(world.engines, process, world)
        self._context = _context(database, ProcessClock(process), lambda: self._chance.getrandbits(64))
        self._database = Database(world.engines.engine)
        self._numbers = iter(range(100, 250))
        self.wishes = self.find()

    async def live(self) -> None:
        """Ask for something now and then."""
        await asyncio.sleep(self._chance.uniform(0.0, 0.5))
        self._attempt("create", self._create)
        for _ in range(self._world.profile.users):
            await asyncio.sleep(self._chance.expovariate(self._world.profile.users / self._world.profile.trouble))
            self._ask()

    def calm_down(self) -> None:
        """Operators enable every LB node again, now that they all answer."""
        for machine in self._world.nodes.values():
            if not machine.enabled:
                self._attempt("enable", partial(self._enable, machine.node.id, True))

    def find(self) -> Wishes:
        """What users have written, without what orchestrators write."""
        raw = self._world.engines.raw
        return {noun: frozenset(raw.execute(query).fetchall()) for noun, query in _WISHES.items()}

    def _ask(self) -> None:
        actions = list(self._possible())
        name, action = actions[self._chance.randrange(len(actions))]
        self._attempt(name, action)

    def _attempt(self, name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except BasculeError as error:
            self._world.tell("api", f"{name}: {error.sentence}")
        else:
            self._world.tell("api", name)
        # Who hears that the database is away looks again later; here, at once.
        self.wishes = self.find()
        self._world.look_at_nodes()
        self._world.look_at_instances()

    def _possible(self) -> Iterator[tuple[str, Callable[[], object]]]:
        with self._database.read() as connection:
            balancers = load_balancers.list_all(connection)
            pools, nodes = instance_pools.list_all(connection), lb_nodes.list_all(connection)
        alive = [each for each in balancers if each.state is not LoadBalancerState.DELETING]
        if len(balancers) < LOAD_BALANCERS_MOST:
            yield "create", self._create
            yield "create", self._create
        if alive:
            yield from self._on_balancer(self._chance.choice(alive), pools)
        yield from self._on_pool(self._chance.choice(pools))
        yield from self._drains(self._chance.choice(pools))
        node = self._chance.choice(nodes)
        if not node.enabled or sum(each.enabled for each in nodes) > 1:
            yield f"enable {node.name}: {not node.enabled}", lambda: self._enable(node.id, not node.enabled)
            yield f"drain {node.name}: {node.enabled}", lambda: self._drain_node(node.id, node.enabled)
        yield "reconcile", lambda: admin_load_balancers.reconcile_load_balancers(self._context, admin_v1.Reconcile())

    def _on_balancer(
        self, balancer: LoadBalancer, pools: list[InstancePool]
    ) -> Iterator[tuple[str, Callable[[], object]]]:
        context, chance, short = self._context, self._chance, str(balancer.id)[:8]
        yield f"delete {short}", lambda: routes.delete_load_balancer(context, balancer.id)
        yield f"delete {short}", lambda: routes.delete_load_balancer(context, balancer.id)
        rename = public_v2.LoadBalancerUpdate(name=f"lb-{chance.randrange(1000)}")
        yield f"rename {short}", lambda: routes.update_load_balancer(context, balancer.id, rename)
        for _ in range(2):
            pool_id = chance.choice(pools).id
            body = self._service(pool_id)
            yield f"add to {short}", partial(self._add, balancer.id, body)
        if balancer.services:
            service = chance.choice(balancer.services)
            change = {"port": chance.choice(PORTS), "target-port": chance.choice((8080, 8081))}
            update = public_v2.ServiceUpdate.model_validate(change)
            yield (
                f"{short}: {service.port} becomes {change}",
                lambda: service_routes.update_load_balancer_service(context, balancer.id, service.id, update),
            )
            yield (
                f"{short}: delete {service.port}",
                lambda: service_routes.delete_load_balancer_service(context, balancer.id, service.id),
            )

    def _on_pool(self, pool: InstancePool) -> Iterator[tuple[str, Callable[[], object]]]:
        context, chance = self._context, self._chance
        address, host = f"10.0.9.{next(self._numbers)}", chance.choice(("hv1", "hv2"))
        yield f"register {address}", lambda: _register(context, pool.id, address, host)
        size = chance.randint(1, 3)
        scale = public_v2.InstancePoolScale(size=size)
        yield f"scale {pool.name} to {size}", lambda: pool_routes.scale_instance_pool(context, pool.id, scale)
        member = chance.choice(pool.members)
        evict = public_v2.InstancePoolEvict.model_validate({"instances": [str(member.id)]})
        if len(pool.active) > 1:
            yield f"evict {member.address}", lambda: pool_routes.evict_instance_pool_members(context, pool.id, evict)
            yield f"delete {member.address}", lambda: admin_instances.delete_instance(context, pool.id, member.id)
        for given in ({"weight": chance.randint(0, 5)}, {"evicted": False}, {"hypervisor": host}):
            update = admin_v1.InstanceUpdate.model_validate(given)
            yield (
                f"{member.address}: {given}",
                partial(admin_instances.update_instance, context, pool.id, member.id, update),
            )

    def _drains(self, pool: InstancePool) -> Iterator[tuple[str, Callable[[], object]]]:
        context, member = self._context, self._chance.choice(pool.members)
        body = Drain(deadline=self._chance.choice((0, 4, 16)))
        if len(pool.active) > 1:
            yield f"drain {member.address}", lambda: admin_drains.drain_instance(context, pool.id, member.id, body)
        yield (
            f"undrain {member.address}",
            lambda: admin_drains.undrain_instance(context, pool.id, member.id, Undrain()),
        )

    def _drain_node(self, node_id: UUID, drained: bool) -> None:
        if drained:
            admin_drains.drain_lb_node(self._context, node_id, Drain())
        else:
            admin_drains.undrain_lb_node(self._context, node_id, Undrain())

    def _create(self) -> None:
        number = self._chance.randrange(1000)
        # Half of them avoid each other, where there are hardly enough LB nodes for that.
        body = {"name": f"lb-{number}", "anti-affinity": "shop" if number % 2 else ""}
        created = routes.create_load_balancer(self._context, public_v2.LoadBalancerCreate.model_validate(body))
        with self._database.read() as connection:
            pools = instance_pools.list_all(connection)
        if created.reference is not None and self._chance.random() < 0.8:
            self._add(created.reference.id, self._service(self._chance.choice(pools).id))

    def _service(self, pool_id: UUID) -> dict[str, Any]:
        return {
            "name": "service",
            "protocol": self._chance.choice(TRANSPORTS),
            "port": self._chance.choice(PORTS),
            "target-port": 8080,
            "strategy": "maglev-hash",
            "instance-pool": {"id": str(pool_id)},
            "healthcheck": {"mode": "tcp", "port": 8080, "interval": 10},
        }

    def _add(self, load_balancer_id: UUID, body: dict[str, Any]) -> None:
        service = public_v2.ServiceCreate.model_validate(body)
        service_routes.add_service_to_load_balancer(self._context, load_balancer_id, service)

    def _enable(self, node_id: UUID, enabled: bool) -> None:
        admin_nodes.update_lb_node(self._context, node_id, admin_v1.LBNodeUpdate(enabled=enabled))
