"""The orchestrator process: workers that reconcile, and a watch that asks for it."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Coroutine
from contextlib import suppress

import structlog

from bascule.balancing.agent_client import HttpAgents
from bascule.balancing.reconciler import LoadBalancerReconciler
from bascule.balancing.reports import Reports
from bascule.balancing.watch import Watch
from bascule.orchestration.clock import SystemClock
from bascule.orchestration.escalation import LogEscalation
from bascule.orchestration.queue import Queue
from bascule.orchestration.worker import Worker
from bascule.programs.settings import OrchestratorSettings
from bascule.programs.startup import start
from bascule.store.database import Database, migrate, open_database
from bascule.store.tables import orchestration

log = structlog.get_logger(__name__)


async def run(settings: OrchestratorSettings) -> None:
    """Run until SIGTERM or SIGINT."""
    engine = open_database(settings.database_url)
    migrate(engine)
    database, clock, queue, agents = Database(engine), SystemClock(), Queue(orchestration), HttpAgents()
    reports = Reports(agents, clock)
    reconciler = LoadBalancerReconciler(database=database, agents=agents, clock=clock, queue=queue, reports=reports)
    workers = [
        Worker(
            name=f"{settings.worker_name}-{number}",
            reconcilers={reconciler.kind: reconciler},
            tables=orchestration,
            transaction=database.write,
            clock=clock,
            chance=random.Random(),  # noqa: S311  spreads retries, keeps no secret
            escalation=LogEscalation(),
            lease=settings.lease_duration,
        )
        for number in range(1, settings.workers + 1)
    ]
    watch = Watch(
        database=database,
        agents=agents,
        clock=clock,
        interval=settings.watch_interval,
        sweep=settings.sweep_interval,
        reports=reports,
    )
    log.info("orchestrator started", workers=len(workers))
    await _until_told_to_stop([*(worker.run() for worker in workers), watch.run()])
    await agents.close()


async def _until_told_to_stop(coroutines: list[Coroutine[None, None, None]]) -> None:
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


def main() -> None:
    """Entry point of `bascule-orchestrator`."""
    start(
        "bascule-orchestrator",
        "Reconciles load balancers: brings every node to the state the API was asked for.",
        OrchestratorSettings,
        lambda settings: asyncio.run(run(settings)),
    )


if __name__ == "__main__":
    main()
