"""The watch over agents."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from ipaddress import IPv4Address
from pathlib import Path
from uuid import UUID

from sqlalchemy import Connection, select
from structlog.testing import capture_logs

from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.watch import Watch
from bascule.model.load_balancers import LoadBalancer
from bascule.orchestration.clock import SystemClock
from bascule.orchestration.queue import Priority
from bascule.store import lb_nodes, load_balancers, tables
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
    """Load balancers are due at times of their own, over the whole period, the same in every period."""
    engine = open_database(migrated_sqlite(tmp_path))
    database, clock = Database(engine), SkippingClock()
    table = tables.orchestration.reconciliations
    with database.write() as connection:
        for number in range(100):
            create(connection, number)
    watch = Watch(database=database, agents=FakeAgents(), clock=clock, interval=1, sweep=60)
    seconds = []
    for _period in range(2):
        asyncio.run(watch.run_once())
        with database.write() as connection:
            rows = connection.execute(select(table)).all()
            connection.execute(table.update().values(done=table.c.requested))
        seconds.append({row.entity_id: round(row.due_at - clock.at, 3) for row in rows})
        assert {row.priority for row in rows} == {Priority.PERIODIC}
        clock.at += 60
    assert seconds[0] == seconds[1]
    assert all(0 <= due < 60 for due in seconds[0].values())
    of_each_tenth = Counter(int(due / 6) for due in seconds[0].values())
    assert set(of_each_tenth) == set(range(10))
    assert max(of_each_tenth.values()) <= 25
    engine.dispose()


class SkippingClock(SystemClock):
    """Time that the test sets."""

    at = 1000.0

    def now(self) -> float:
        """What was set."""
        return self.at


def create(connection: Connection, number: int) -> None:
    """A load balancer with a random identifier that is the same in every run."""
    identifier = UUID(int=random.Random(number).getrandbits(128), version=4)
    load_balancers.insert(
        connection,
        LoadBalancer(
            id=identifier,
            name="lb",
            address=IPv4Address("192.0.2.1"),
            hash_seed=1,
            generation=0,
            created_at=from_seconds(0),
        ),
    )
