"""The example of how to write another orchestrator: it runs, it repairs, and it may die anywhere."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from bascule.model.errors import LeaseLost, StaleCommand, Unavailable
from bascule.orchestration import (
    Claim,
    Database,
    Entity,
    LogEscalation,
    Overview,
    Priority,
    Queue,
    RetryPolicy,
    Worker,
    create_tables,
    open_database,
)
from bascule.orchestration.sweep import Sweep
from examples.elastic_ip import KIND, TABLES, Do, ElasticIPs, FakeRack, Seen, everything, give, metadata
from tests.unit.orchestration.application import HandClock

ROOT = Path(__file__).parents[2]
IP = "192.0.2.1"
LEASE = 15.0


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, nothing is cleaned up."""


class FragileRack(FakeRack):
    """Whoever gives it the order number `die_at` dies, before or after it is obeyed. Counts when two carry it."""

    die_at, after, orders, doubled = 0, False, 0, 0

    async def tell(self, server: str, order: str, ip: str, epoch: int) -> None:
        """Obey."""
        self.orders += 1
        dies = self.orders == self.die_at
        if dies and not self.after:
            raise Killed
        await super().tell(server, order, ip, epoch)
        self.doubled += len(self.on(ip)) > 1
        if dies:
            raise Killed


class Centre:
    """A database, servers and a clock that is moved by hand."""

    def __init__(self, database: Database) -> None:
        self.database, self.clock, self.queue, self.overview = database, HandClock(), Queue(TABLES), Overview(TABLES)
        self.rack = FragileRack({"web1": set(), "web2": set(), "web3": set()})

    def worker(self, name: str) -> Worker:
        """A new process, with nothing remembered."""
        return Worker(
            name=name,
            reconcilers={KIND: ElasticIPs(self.database, self.rack)},
            tables=TABLES,
            transaction=self.database.write,
            clock=self.clock,
            chance=random.Random(1),
            escalation=LogEscalation(),
            policy=RetryPolicy(first=1.0, longest=8.0),
            lease=LEASE,
        )

    def give(self, server: str) -> None:
        """A user asks."""
        with self.database.write() as connection:
            give(connection, IP, server, now=self.clock.now())

    def sweep(self) -> None:
        """All of a sweep's requests come due."""
        period = 60.0
        Sweep(
            queue=self.queue,
            transaction=self.database.write,
            entities=everything,
            clock=self.clock,
            every=period,
        ).run_once()
        self.clock.time += period

    async def settle(self, name: str = "worker") -> int:
        """Run until nothing is due; returns how many runs there were."""
        worker = self.worker(name)
        for runs in range(10):
            if not await worker.run_once():
                return runs
        raise AssertionError("the queue never empties")

    def titles(self) -> list[str]:
        """The steps that were done, of all jobs, the oldest first."""
        with self.database.read() as connection:
            jobs = reversed(self.overview.latest(connection))
            steps = [step for job in jobs for step in self.overview.steps(connection, job["id"])]
        return [step["title"] for step in steps if step["node"] == "step" and step["state"] == "success"]


@pytest.fixture
def centre(empty_database_url: str) -> Iterator[Centre]:
    """Tables that no migration of ours made."""
    engine = open_database(empty_database_url)
    for _ in range(2):
        create_tables(engine, metadata)
    yield Centre(Database(engine))
    engine.dispose()


def test_the_example_tells_its_story(empty_database_url: str) -> None:
    """It moves, cuts off, repairs what the sweep finds, and pages once for a failure and once for recovery."""
    ran = subprocess.run(
        [sys.executable, "examples/elastic_ip.py", empty_database_url],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
        timeout=100,
    )
    assert ran.returncode == 0, ran.stderr
    given, silent, back, tampered, failing, recovered, end = ran.stdout.strip().split("\n\n")
    assert "give (2 attempts)" in given
    assert "record web1" in given
    assert re.search(r"failure +remove web1: web1 does not answer\.\n +success +cut off web1\n", silent)
    assert "add web2" in silent
    assert re.search(r"success +remove web2\n.*success +add web1$", back, re.DOTALL)
    assert re.search(r"success +remove web3\n.*success +add web1$", tampered, re.DOTALL)
    assert failing.count("page 1: example: elastic-ip 192.0.2.1") == 1
    assert re.search(r"after \d+ attempts: 1 page$", failing)
    assert "Failed 3 times in a row" in failing
    assert "page 2: example: elastic-ip 192.0.2.1\n    Recovered after" in recovered
    assert end == "192.0.2.1 is on web1."


async def test_a_tampered_world_is_repaired_by_the_sweep(centre: Centre) -> None:
    """What somebody moved by hand comes back, in one job; a sweep that finds nothing makes none."""
    centre.give("web1")
    await centre.settle()
    centre.rack.carried |= {"web1": set(), "web3": {IP}}
    centre.sweep()
    assert await centre.settle() == 1
    assert centre.rack.carried == {"web1": {IP}, "web2": set(), "web3": set()}
    repairs = ["record web1", "add web1", "remove web3", "record web1", "add web1"]
    assert centre.titles() == repairs
    centre.sweep()
    assert await centre.settle() == 1
    assert centre.titles() == repairs


@pytest.mark.parametrize("after", [False, True], ids=["before the order", "after the order"])
async def test_what_a_dead_worker_left_is_finished_by_the_next(centre: Centre, after: bool) -> None:
    """A worker dies at its first order, then at its second, and so on: no two servers ever carry the address."""
    rack, servers = centre.rack, ("web1", "web2")
    for die_at in range(1, 10):
        old, new = servers[die_at % 2], servers[1 - die_at % 2]
        centre.give(old)
        await centre.settle()
        rack.orders, rack.die_at, rack.after = 0, die_at, after
        centre.give(new)
        try:
            await centre.settle("doomed")
            died = False
        except Killed:
            died = True
        rack.die_at = 0
        if died:
            assert await centre.settle("heir") == 0, "its lease lasts"
            centre.clock.time += LEASE
        await centre.settle("heir")
        assert rack.on(IP) == [new]
        assert not rack.doubled
        if not died:
            assert die_at > 2, "it must have died at every order before"
            return
    raise AssertionError("the job never ends")


@pytest.mark.parametrize("seed", range(10))
async def test_whatever_happens_no_two_servers_carry_it(tmp_path: Path, seed: int) -> None:
    """Users change their minds, servers fall silent, workers die; then there is peace, and the address arrives."""
    chance = random.Random(seed)
    engine = open_database(f"sqlite:///{tmp_path}/example.db")
    create_tables(engine, metadata)
    centre, wanted = Centre(Database(engine)), ""
    rack, servers = centre.rack, sorted(centre.rack.carried)
    for number in range(50):
        rack.silent = {server for server in servers if chance.random() < 0.3}
        rack.die_at, rack.after = rack.orders + chance.randrange(1, 4), chance.random() < 0.5
        if chance.random() < 0.8 or not wanted:
            centre.give(wanted := chance.choice(servers))
        with suppress(Killed):
            await centre.worker(f"worker-{number}").run_once()
        centre.clock.time += LEASE
    rack.silent, rack.die_at = set(), 0
    centre.clock.time += LEASE
    centre.sweep()
    await centre.settle()
    assert rack.on(IP) == [wanted]
    assert not rack.doubled
    engine.dispose()


async def test_a_worker_that_was_thought_dead_does_no_harm(centre: Centre) -> None:
    """Its order carries an old epoch and is refused by the server; its record is fenced by the lease."""
    centre.give("web1")
    with centre.database.write() as connection:
        late = centre.queue.claim(connection, holder="late", now=centre.clock.now(), lease=LEASE)
    assert late is not None
    centre.clock.time += LEASE
    centre.give("web2")
    await centre.settle("heir")
    hands = ElasticIPs(centre.database, centre.rack)
    with pytest.raises(StaleCommand):
        await hands.perform(late, Do("add", "web1"))
    with pytest.raises(LeaseLost):
        await hands.perform(late, Do("record", "web1"))
    assert centre.rack.on(IP) == ["web2"]
    seen = await hands.inventory(late)
    assert seen is not None
    assert seen.recorded == "web2"


@pytest.mark.parametrize(
    ("carries", "recorded", "sentence"),
    [
        ({"web1": True, "web2": False}, "web1", "192.0.2.1 is on web1 alone"),
        ({"web1": False, "web2": None}, "web1", "bring 192.0.2.1 to web1"),
        ({"web1": True, "web2": None}, "web1", "192.0.2.1 is on web1 alone"),
        ({"web1": True, "web2": None}, "web2", "bring 192.0.2.1 to web1"),
    ],
)
def test_decisions_need_no_world(
    centre: Centre, carries: Mapping[str, bool | None], recorded: str, sentence: str
) -> None:
    """A server that is silent concerns nobody, unless it had the address last."""
    decision = ElasticIPs(centre.database, centre.rack).decide(Seen(IP, "web1", recorded, carries))
    assert decision.sentence == sentence


def test_an_address_is_not_taken_from_where_it_works(centre: Centre) -> None:
    """While the server that is to have it is silent, nothing is done, and the reason tells what helps."""
    with pytest.raises(Unavailable, match="start it, or give"):
        ElasticIPs(centre.database, centre.rack).decide(Seen(IP, "web2", "web1", {"web1": True, "web2": None}))


async def test_applications_that_share_a_database_leave_each_other_alone(centre: Centre) -> None:
    """A worker claims only entities of the kinds that it can reconcile."""
    other = Entity("printer", "one")
    with centre.database.write() as connection:
        centre.queue.request(connection, other, priority=Priority.USER, reason="test", now=centre.clock.now())
    centre.give("web1")
    assert await centre.settle() == 1
    assert centre.rack.on(IP) == ["web1"]
    with centre.database.write() as connection:
        left: Claim | None = centre.queue.claim(connection, holder="another", now=centre.clock.now(), lease=LEASE)
    assert left is not None
    assert left.entity == other
