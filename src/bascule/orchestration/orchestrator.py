"""Everything that a process of an orchestrator runs, put together: workers, what wakes them, a sweep, a pager."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Coroutine, Iterable, Mapping
from contextlib import suppress
from typing import Any

from bascule.clock import Clock, Random, SystemClock
from bascule.orchestration.bell import PostgreSQLBell
from bascule.orchestration.database import Database
from bascule.orchestration.escalation import Escalation, LogEscalation
from bascule.orchestration.glance import Glance, Look
from bascule.orchestration.journal import DEFAULT_RETENTION, Retention
from bascule.orchestration.pager import Notifier, Pager
from bascule.orchestration.pages import Pages
from bascule.orchestration.queue import Queue
from bascule.orchestration.reconciler import Reconciler
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.sweep import Entities, Sweep
from bascule.orchestration.tables import OrchestrationTables
from bascule.orchestration.worker import DEFAULT_POLICY, Worker

_IDLE, _IDLE_WITH_BELL = 0.1, 1.0  # seconds between two looks at the queue; a bell rings sooner


class Orchestrator:
    """One process's share; start as many as you like with one database. Durations are seconds.

    `name` is the same after a restart and of no other process: what died under it is taken up at once. `entities` are
    asked for every `sweep` seconds; without them nothing is. Without a `notifier` only `escalation` hears of failures.
    Runs of the kinds in `looks` that find nothing to do are ended many at a time (`glance`). A worker looks at an empty
    queue again after `idle`: by default 0.1, or 1 where a bell rings sooner (PostgreSQL).
    """

    def __init__(
        self,
        *,
        name: str,
        reconcilers: Iterable[Reconciler[Any, Any]],
        database: Database,
        tables: OrchestrationTables,
        workers: int = 4,
        entities: Entities | None = None,
        sweep: float = 300.0,
        notifier: Notifier | None = None,
        application: str = "",
        policy: RetryPolicy = DEFAULT_POLICY,
        retention: Retention = DEFAULT_RETENTION,
        lease: float = 15.0,
        clock: Clock | None = None,
        chance: Random | None = None,
        escalation: Escalation | None = None,
        looks: Mapping[str, Look] | None = None,
        idle: float | None = None,
    ) -> None:
        clock = clock or SystemClock()
        chance = chance or random.Random()  # noqa: S311  spreads retries, keeps no secret
        transaction, by_kind = database.write, {reconciler.kind: reconciler for reconciler in reconcilers}
        self._bell = PostgreSQLBell(database.engine.url) if database.engine.dialect.name == "postgresql" else None
        glance = looks and Glance(tables=tables, reading=database.read, writing=transaction, clock=clock, looks=looks)
        self.workers = [
            Worker(
                name=f"{name}-{number}",
                reconcilers=by_kind,
                tables=tables,
                transaction=transaction,
                clock=clock,
                chance=chance,
                escalation=escalation or LogEscalation(),
                policy=policy,
                lease=lease,
                idle=idle or (_IDLE if self._bell is None else _IDLE_WITH_BELL),
                pages=None if notifier is None else Pages(tables),
                bell=self._bell,
                retention=retention,
                glance=glance or None,
            )
            for number in range(1, workers + 1)
        ]
        self.sweep = entities and Sweep(
            queue=Queue(tables), transaction=transaction, entities=entities, clock=clock, every=sweep
        )
        self.pager = notifier and Pager(
            tables=tables,
            transaction=transaction,
            notifier=notifier,
            clock=clock,
            chance=chance,
            application=application,
        )

    async def run(self) -> None:
        """Work until cancelled; what is running then is given back, for another process to go on with."""
        async with asyncio.TaskGroup() as group:
            for coroutine in self._coroutines():
                group.create_task(coroutine)

    def _coroutines(self) -> list[Coroutine[Any, Any, None]]:
        others = (self._bell, self.sweep, self.pager)
        return [worker.run() for worker in self.workers] + [other.run() for other in others if other]


async def until_told_to_stop(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Run them side by side until SIGTERM, SIGINT or the end of one of them; then all are cancelled and waited for."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    waiting = asyncio.ensure_future(stop.wait())
    await asyncio.wait([*tasks, waiting], return_when=asyncio.FIRST_COMPLETED)
    for task in (*tasks, waiting):
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task
