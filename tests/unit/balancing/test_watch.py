"""The watch over agents."""

from __future__ import annotations

import asyncio
import random
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from uuid import UUID, uuid4

from sqlalchemy import Connection, select
from structlog.testing import capture_logs

from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.watch import Watch
from bascule.clock import SystemClock
from bascule.model.addresses import AddressPool, ElasticIP
from bascule.model.load_balancers import LoadBalancer
from bascule.orchestration.queue import Priority
from bascule.store import address_pools, elastic_ips, lb_nodes, load_balancers, tables
from bascule.store.database import Database, open_database
from bascule.store.times import from_seconds
from tests.conftest import migrated_sqlite
from tests.unit.balancing.world import lb_node


def test_an_agent_with_another_data_plane_is_told_of_once(database_url: str) -> None:
    """The log has the problem when it comes, and that it is over."""
    engine = open_database(database_url)
    database, agents = Database(engine), FakeAgents()
    with database.write() as connection:
        lb_nodes.insert(connection, lb_node(1))
    watch = Watch(database=database, agents=agents, clock=SystemClock(), interval=1, sweep=60)
    with capture_logs() as logs:
        for runs in ("xdp", "ipvs", "ipvs", "xdp"):
            agents.node(lb_node(1).id).data_plane_name = runs
            asyncio.run(watch.run_once())
    told = [entry["event"] for entry in logs if "registered with the data plane" in str(entry.get("problem"))]
    assert told == ["problem", "problem is over"]
    engine.dispose()


def test_the_periodic_sweep_is_spread_over_its_period(tmp_path: Path) -> None:
    """Load balancers are compared in equal parts, over the whole period, each of them once in every period."""
    engine = open_database(migrated_sqlite(tmp_path))
    database, clock = Database(engine), SkippingClock()
    table = tables.orchestration.reconciliations
    with database.write() as connection:
        pool = AddressPool(id=uuid4(), name="public", network=IPv4Network("192.0.2.0/24"))
        address_pools.insert(connection, pool)
        for number in range(100):
            create(connection, number, pool)
    watch = Watch(database=database, agents=FakeAgents(), clock=clock, interval=1, sweep=60)
    for _period in range(2):
        found: list[str] = []
        for _eleventh in range(11):
            asyncio.run(watch.run_once())
            with database.write() as connection:
                rows = connection.execute(select(table).where(table.c.requested > table.c.done)).all()
                connection.execute(table.update().values(done=table.c.requested))
            # No LB node is registered: whoever is looked at needs one.
            assert {row.priority for row in rows} == {Priority.PERIODIC}
            assert len(rows) <= 15
            found += [row.entity_id for row in rows]
            clock.at += 6
        assert len(set(found)) == 100
    engine.dispose()


class SkippingClock(SystemClock):
    """Time that the test sets."""

    at = 1000.0

    def now(self) -> float:
        """What was set."""
        return self.at


def create(connection: Connection, number: int, pool: AddressPool) -> None:
    """A load balancer with a random identifier that is the same in every run, and its address."""
    identifier = UUID(int=random.Random(number).getrandbits(128), version=4)
    address = IPv4Address("192.0.2.0") + number
    load_balancers.insert(
        connection,
        LoadBalancer(
            id=identifier, name=f"lb-{number}", address=address, hash_seed=1, generation=0, created_at=from_seconds(0)
        ),
    )
    of_it = ElasticIP(id=uuid4(), address=address, address_pool_id=pool.id, load_balancer_id=identifier)
    elastic_ips.insert(connection, of_it, managed=True, now=0.0)
