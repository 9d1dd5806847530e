"""The watch over agents."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from bascule.balancing.fake_agents import FakeAgents
from bascule.balancing.watch import Watch
from bascule.orchestration.clock import SystemClock
from bascule.store import lb_nodes
from bascule.store.database import Database, migrate, open_database
from tests.unit.balancing.world import lb_node


def test_an_agent_with_another_data_plane_is_told_of_once(database_url: str) -> None:
    """The log has the problem when it comes, and that it is over."""
    engine = open_database(database_url)
    migrate(engine)
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
