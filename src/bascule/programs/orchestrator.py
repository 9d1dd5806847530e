"""The orchestrator process: workers that reconcile, and a watch that asks for it."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Coroutine
from contextlib import suppress

import structlog
from sqlalchemy import Engine

from bascule.balancing.agent_client import HttpAgents
from bascule.balancing.missed import Missed
from bascule.balancing.reconciler import LoadBalancerReconciler
from bascule.balancing.reports import Reports
from bascule.balancing.watch import Watch
from bascule.orchestration.apprise_notifier import AppriseNotifier
from bascule.orchestration.bell import PostgreSQLBell
from bascule.orchestration.clock import Clock, SystemClock
from bascule.orchestration.escalation import LogEscalation
from bascule.orchestration.glance import Glance
from bascule.orchestration.journal import Retention
from bascule.orchestration.pager import Pager
from bascule.orchestration.pages import Pages
from bascule.orchestration.queue import Queue
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.worker import Worker
from bascule.programs.events import hearing
from bascule.programs.settings import OrchestratorSettings
from bascule.programs.startup import start
from bascule.store.database import Database, migrate, open_database
from bascule.store.tables import orchestration

log = structlog.get_logger(__name__)
_IDLE, _IDLE_WITH_BELL = 0.1, 1.0  # seconds between two looks at the queue; a bell rings sooner


async def run(settings: OrchestratorSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises InvalidInput when nobody can be paged as the settings want."""
    notifier = AppriseNotifier(url.get_secret_value() for url in settings.page_urls)
    engine = open_database(settings.database_url)
    migrate(engine)
    database, clock, agents = Database(engine), SystemClock(), HttpAgents()
    bell = _bell(engine)
    reports, missed = Reports(agents, clock), Missed()
    reconciler = LoadBalancerReconciler(
        database=database,
        agents=agents,
        clock=clock,
        queue=Queue(orchestration),
        reports=reports,
        missed=missed,
    )
    workers = _workers(settings, database, clock, reconciler, bell)
    heard = hearing(settings, database, clock)
    watch = Watch(
        database=database,
        agents=agents,
        clock=clock,
        interval=settings.watch_interval,
        sweep=settings.sweep_interval,
        reports=reports,
        missed=missed,
        publish=heard.publish,
    )
    coroutines = [*(worker.run() for worker in workers), watch.run(), *heard.work]
    if bell is not None:
        coroutines.append(bell.run())
    if notifier.receivers:
        pager = Pager(
            tables=orchestration,
            transaction=database.write,
            notifier=notifier,
            clock=clock,
            chance=random.Random(),  # noqa: S311  spreads retries, keeps no secret
        )
        coroutines.append(pager.run())
    log.info("orchestrator started", workers=len(workers), receivers=sorted(notifier.receivers))
    await _until_told_to_stop(coroutines)
    await heard.close()
    await agents.close()


def _bell(engine: Engine) -> PostgreSQLBell | None:
    return PostgreSQLBell(engine.url) if engine.dialect.name == "postgresql" else None


def _workers(
    settings: OrchestratorSettings,
    database: Database,
    clock: Clock,
    reconciler: LoadBalancerReconciler,
    bell: PostgreSQLBell | None,
) -> list[Worker]:
    glance = Glance(
        tables=orchestration,
        reading=database.read,
        writing=database.write,
        clock=clock,
        looks={reconciler.kind: reconciler.settled},
    )
    return [
        Worker(
            name=f"{settings.worker_name}-{number}",
            reconcilers={reconciler.kind: reconciler},
            tables=orchestration,
            transaction=database.write,
            clock=clock,
            chance=random.Random(),  # noqa: S311  spreads retries, keeps no secret
            escalation=LogEscalation(),
            policy=RetryPolicy(escalate_after=settings.page_after),
            lease=settings.lease_duration,
            idle=_IDLE if bell is None else _IDLE_WITH_BELL,
            pages=Pages(orchestration) if settings.page_urls else None,
            bell=bell,
            retention=Retention(jobs=settings.jobs_kept, days=settings.jobs_kept_days),
            glance=glance,
        )
        for number in range(1, settings.workers + 1)
    ]


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
