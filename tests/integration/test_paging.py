"""The orchestrator process pages a real receiver about a load balancer that nobody can serve, once."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import func, select

from bascule.model.nodes import Agent, Hypervisor, LBNode
from bascule.store import hypervisors, lb_nodes
from bascule.store.database import Database, open_database
from bascule.store.tables import orchestration
from tests.integration.expected_state import create_load_balancer, create_pool
from tests.unit.orchestration.receiver import SECRET, Receiver, receiving
from tests.waiting import until

NOBODY = Agent(url="http://127.0.0.1:9", token="t" * 16)  # the discard port: nothing answers


@contextmanager
def orchestrator(database_url: str, receiver: Receiver, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that pages after two failures."""
    settings = {
        "BASCULE_DATABASE_URL": database_url,
        "BASCULE_PAGE_URLS": receiver.url,
        "BASCULE_PAGE_AFTER": "2",
        "BASCULE_WORKERS": "1",
    }
    command = [sys.executable, "-m", "bascule.programs.orchestrator"]
    with log.open("ab") as written:
        process = subprocess.Popen(command, env={**os.environ, **settings}, stderr=written)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def test_a_load_balancer_that_cannot_be_served_pages_once_across_restarts(database_url: str, tmp_path: Path) -> None:
    """Two failures page; the process is killed, and the next one goes on failing without another page or a secret."""
    engine = open_database(database_url)
    database = Database(engine)
    host = Hypervisor(id=uuid4(), name="hv", agent=NOBODY)
    with database.write() as connection:
        lb_nodes.insert(connection, LBNode(id=uuid4(), name="lb", agent=NOBODY))
        hypervisors.insert(connection, host)
        pool_id = create_pool(connection, (host, host))
        load_balancer_id, _ = create_load_balancer(connection, pool_id, now=time.time())

    def attempts() -> int:
        with database.read() as connection:
            return int(connection.execute(select(orchestration.reconciliations.c.attempts)).scalar_one())

    def unsent() -> int:
        with database.read() as connection:
            return connection.execute(select(func.count()).select_from(orchestration.pages)).scalar_one()

    with receiving() as receiver:
        log = tmp_path / "log"
        with orchestrator(database_url, receiver, log):
            until("the page", lambda: bool(receiver.taken) and unsent() == 0)
        before = attempts()
        with orchestrator(database_url, receiver, log) as second:
            until("another attempt", lambda: attempts() > before)
            second.terminate()
            assert second.wait(30) == 0, "it stops when it is told to"
        assert receiver.titles() == [(f"bascule: load-balancer {load_balancer_id}", "failure")]
        assert receiver.taken[0]["message"].startswith("Failed 2 times in a row")
    assert "page sent" in log.read_text()
    assert SECRET not in log.read_text()
    engine.dispose()
