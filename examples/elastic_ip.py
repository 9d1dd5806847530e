"""An elastic IP belongs to one server and moves between servers: an orchestrator of its own, and a story of it.

    python examples/elastic_ip.py [DATABASE-URL]

First comes all of the orchestrator, then the story. `docs/writing-an-orchestrator.md` walks through it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import structlog
from sqlalchemy import Column, Connection, MetaData, String, Table, insert, select, update

from bascule.model.errors import StaleCommand, Unavailable
from bascule.orchestration import (  # fmt: skip
    Action,
    Claim,
    Database,
    Decision,
    Entity,
    Job,
    Orchestrator,
    Overview,
    Page,
    Priority,
    Queue,
    Reconciler,
    Retry,
    RetryPolicy,
    Step,
    SystemClock,
    Try,
    create_tables,
    define,
    fenced,
    open_database,
    parallel,
    sequence,
)

KIND = "elastic-ip"
metadata = MetaData()
TABLES = define(metadata)
# `server` is what users want, `recorded` the only one that may carry the address: written before it gets it.
COLUMNS = Column("ip", String(36), primary_key=True), Column("server", String), Column("recorded", String)
ADDRESSES = Table("addresses", metadata, *COLUMNS)


class Rack(Protocol):
    """The servers' agents and the switch in front of them. Raises Unavailable, and StaleCommand for an old epoch."""

    async def reached(self) -> Mapping[str, frozenset[str] | None]: ...  # what each server gets; None: it is silent
    async def tell(self, server: str, order: str, ip: str, epoch: int) -> None: ...


@dataclass(frozen=True)
class Seen:
    """The inventory. `carries` has None for a server that is silent."""

    ip: str
    wanted: str
    recorded: str | None
    carries: Mapping[str, bool | None]


@dataclass(frozen=True)
class Move:
    """The event: all that must be known to act."""

    ip: str
    to: str
    leave: tuple[str, ...]
    give: bool


@dataclass(frozen=True)
class Do:
    """A step. Twice is once."""

    order: Literal["add", "remove", "cut off", "record"]
    server: str

    @property
    def title(self) -> str:
        return f"{self.order} {self.server}"


class ElasticIPs(Reconciler[Seen, Move]):
    """Brings each address to its server, after it has left all others."""

    kind = KIND

    def __init__(self, database: Database, rack: Rack) -> None:
        self.database, self.rack, self.queue = database, rack, Queue(TABLES)

    async def inventory(self, claim: Claim) -> Seen | None:
        with self.database.read() as connection:
            row = connection.execute(select(ADDRESSES).where(ADDRESSES.c.ip == claim.entity.id)).one_or_none()
        if row is None:
            return None
        reached = await self.rack.reached()
        carries = {server: None if ips is None else row.ip in ips for server, ips in reached.items()}
        return Seen(row.ip, row.server, row.recorded, carries)

    def decide(self, inventory: Seen) -> Decision[Move]:
        ip, to, has = inventory.ip, inventory.wanted, inventory.carries
        if has.get(to) is None:
            raise Unavailable(f"{to} does not answer: start it, or give {ip} to another server.")
        last = inventory.recorded  # silent now, it may still carry the address
        leave = tuple(name for name in has if name != to and (has[name] or (has[name] is None and name == last)))
        if has[to] and not leave and last == to:
            return Decision(sentence=f"{ip} is on {to} alone")
        return Decision(sentence=f"bring {ip} to {to}", event=Move(ip, to, leave, give=not has[to]))

    def plan(self, event: Move) -> Job:
        return sequence(
            f"bring {event.ip} to {event.to}",
            parallel("leave the others", *(self.leave(server) for server in event.leave)),
            Step(Do("record", event.to)),
            Retry("give", Step(Do("add", event.to)), times=3, pause=0.1) if event.give else None,
        )

    def leave(self, server: str) -> Job:
        politely = Retry("politely", Step(Do("remove", server)), times=2, pause=0.1)
        return Try(f"leave {server}", body=politely, rescue=Step(Do("cut off", server)))

    async def perform(self, claim: Claim, action: Action) -> None:
        assert isinstance(action, Do)
        ip = claim.entity.id
        if action.order == "record":
            with fenced(self.database.write, self.queue, claim) as connection:
                connection.execute(update(ADDRESSES).where(ADDRESSES.c.ip == ip).values(recorded=action.server))
        else:
            await self.rack.tell(action.server, action.order, ip, claim.epoch)

    def exists(self, connection: Connection, entity: Entity) -> bool:
        return connection.scalar(select(ADDRESSES.c.ip).where(ADDRESSES.c.ip == entity.id)) is not None


def give(connection: Connection, ip: str, server: str, *, now: float) -> None:
    """What an API does: the row and the request in one transaction, and nothing else."""
    if not connection.execute(update(ADDRESSES).where(ADDRESSES.c.ip == ip).values(server=server)).rowcount:
        connection.execute(insert(ADDRESSES).values(ip=ip, server=server))
    Queue(TABLES).request(connection, Entity(KIND, ip), priority=Priority.USER, reason=f"give to {server}", now=now)


def everything(connection: Connection) -> Iterable[Entity]:
    """What the sweep asks for: it finds what nobody told of."""
    return [Entity(KIND, ip) for ip in connection.scalars(select(ADDRESSES.c.ip))]


# Here begins the story: servers in memory, somebody who tampers with them, and a pager that prints.


@dataclass
class FakeRack:
    """Servers in memory. `flaky` ones refuse so many orders more; the switch drops what is `cut` off."""

    carried: dict[str, set[str]]
    silent: set[str] = field(default_factory=set)
    flaky: dict[str, int] = field(default_factory=dict)
    cut: set[tuple[str, str]] = field(default_factory=set)
    epochs: dict[str, int] = field(default_factory=dict)

    async def reached(self) -> Mapping[str, frozenset[str] | None]:
        return {name: None if name in self.silent else frozenset(self._gets(name)) for name in self.carried}

    async def tell(self, server: str, order: str, ip: str, epoch: int) -> None:
        if epoch < self.epochs.get(ip, 0):
            raise StaleCommand(f"Epoch {epoch} of {ip} is over: {self.epochs[ip]} has begun.")
        self.epochs[ip] = epoch
        if order == "cut off":
            self.cut.add((server, ip))
            return
        self.flaky[server] = self.flaky.get(server, 0) - 1
        if server in self.silent or self.flaky[server] >= 0:
            raise Unavailable(f"{server} does not answer.")
        (self.carried[server].add if order == "add" else self.carried[server].discard)(ip)
        self.cut.discard((server, ip))

    def on(self, ip: str) -> list[str]:
        """The servers that get its packets."""
        return [name for name in self.carried if ip in self._gets(name)]

    def _gets(self, name: str) -> set[str]:
        return {ip for ip in self.carried[name] if (name, ip) not in self.cut}


class Printer:
    """A notifier. `bascule.orchestration.apprise_notifier` has one that reaches humans."""

    receivers = ("printer",)
    pages = 0

    async def send(self, page: Page, receiver: str) -> None:
        self.pages += 1
        print(f"  {receiver}, page {self.pages}: {page.title}\n    {page.body}")


class Story:
    """One process with two workers, and what happens to an address meanwhile."""

    def __init__(self, database: Database) -> None:
        self.database, self.overview, self.told = database, Overview(TABLES), set[str]()
        self.rack, self.printer = FakeRack({"web1": set(), "web2": set(), "web3": set()}), Printer()
        self.orchestrator = Orchestrator(
            name="example",
            application="example",
            reconcilers=[ElasticIPs(database, self.rack)],
            database=database,
            tables=TABLES,
            workers=2,
            entities=everything,
            sweep=0.5,
            notifier=self.printer,
            policy=RetryPolicy(first=0.1, longest=0.4, escalate_after=3),
        )

    async def run(self, ip: str) -> None:
        """All of it."""
        rack = self.rack
        working = asyncio.create_task(self.orchestrator.run())
        self.begin(f"{ip} is given to web1, which does not answer at first")
        rack.flaky["web1"] = 1
        await self.given(ip, "web1")
        self.begin(f"web1 falls silent, and {ip} is given to web2")
        rack.silent = {"web1"}
        await self.given(ip, "web2")
        self.begin(f"web1 is back, and {ip} is given to it again")
        rack.silent = set()
        await self.given(ip, "web1")
        self.begin(f"somebody moves {ip} from web1 to web3 by hand")
        rack.carried |= {"web1": set(), "web3": {ip}}
        await self.holds(lambda: rack.on(ip) == ["web1"])
        self.begin("web1 falls silent, and a human is told once")
        rack.silent = {"web1"}
        await self.holds(lambda: self.attempts() >= 6 and self.printer.pages)
        print(f"  after {self.attempts()} attempts: {self.printer.pages} page")
        self.begin("web1 is back")
        rack.silent = set()
        await self.holds(lambda: self.printer.pages == 2)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        print(f"\n{ip} is on {' and '.join(rack.on(ip))}.")

    def begin(self, title: str) -> None:
        """A chapter."""
        print(f"\n{title}")

    async def given(self, ip: str, server: str) -> None:
        """A user asks; the orchestrator follows."""
        with self.database.write() as connection:
            give(connection, ip, server, now=SystemClock().now())
        await self.holds(lambda: self.rack.on(ip) == [server])

    async def holds(self, condition: Callable[[], object]) -> None:
        """Wait for it, and for the run that brought it; draw every job that has ended."""
        async with asyncio.timeout(30):
            while not condition() or self.busy():  # noqa: ASYNC110  it looks from outside, as an operator does
                await asyncio.sleep(0.02)
        with self.database.read() as connection:
            for job in reversed(self.overview.latest(connection)):
                if job["id"] not in self.told:
                    self.told.add(job["id"])
                    print("  " + self.overview.drawn(connection, job["id"]).replace("\n", "\n  "))

    def busy(self) -> bool:
        """Whether a worker holds something."""
        with self.database.read() as connection:
            return any(row["lease_holder"] for row in self.overview.queue(connection))

    def attempts(self) -> int:
        """Failures in a row."""
        with self.database.read() as connection:
            return max(int(row["attempts"]) for row in self.overview.queue(connection))


def main() -> None:
    """Tell the story, over a database of its own unless one is named."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))  # the story tells it all
    with tempfile.TemporaryDirectory() as folder:
        engine = open_database(sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/example.db")
        create_tables(engine, metadata)
        asyncio.run(Story(Database(engine)).run("192.0.2.1"))
        engine.dispose()


if __name__ == "__main__":
    main()
