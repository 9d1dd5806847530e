"""The orchestrator process: workers that reconcile, and a watch that asks for it."""

from __future__ import annotations

import asyncio

import structlog

from bascule.balancing.agent_client import HttpAgents
from bascule.balancing.missed import Missed
from bascule.balancing.patience import Patience
from bascule.balancing.reconciler import LoadBalancerReconciler
from bascule.balancing.reports import Reports
from bascule.balancing.silences import Silences
from bascule.balancing.watch import Watch
from bascule.clock import SystemClock
from bascule.orchestration.apprise_notifier import AppriseNotifier
from bascule.orchestration.journal import Retention
from bascule.orchestration.orchestrator import Orchestrator, until_told_to_stop
from bascule.orchestration.pages import Pages
from bascule.orchestration.queue import Queue
from bascule.orchestration.retry import RetryPolicy
from bascule.programs.events import hearing
from bascule.programs.settings import OrchestratorSettings
from bascule.programs.startup import start
from bascule.store.database import Database, migrate, open_database
from bascule.store.tables import orchestration

log = structlog.get_logger(__name__)


async def run(settings: OrchestratorSettings) -> None:
    """Run until SIGTERM or SIGINT. Raises InvalidInput when nobody can be paged as the settings want."""
    notifier = AppriseNotifier((url.get_secret_value() for url in settings.page_urls), setting="BASCULE_PAGE_URLS")
    engine = open_database(settings.database_url)
    migrate(engine)
    database, clock, agents = Database(engine), SystemClock(), HttpAgents()
    reports, missed = Reports(agents, clock), Missed()
    reconciler = LoadBalancerReconciler(
        database=database,
        agents=agents,
        clock=clock,
        queue=Queue(orchestration),
        reports=reports,
        missed=missed,
    )
    orchestrator = Orchestrator(
        name=settings.worker_name,
        reconcilers=[reconciler],
        database=database,
        tables=orchestration,
        workers=settings.workers,
        notifier=notifier if notifier.receivers else None,
        application="bascule",
        policy=RetryPolicy(escalate_after=settings.page_after),
        retention=Retention(jobs=settings.jobs_kept, days=settings.jobs_kept_days),
        lease=settings.lease_duration,
        clock=clock,
        looks={reconciler.kind: reconciler.settled},
    )
    heard = hearing(settings, database, clock, agents)
    watch = Watch(
        database=database,
        agents=agents,
        clock=clock,
        interval=settings.watch_interval,
        sweep=settings.sweep_interval,
        reports=reports,
        missed=missed,
        publish=heard.publish,
        silences=Silences(
            database=database,
            clock=clock,
            patience=Patience(after=settings.replace_after, share=settings.replace_share),
            pages=Pages(orchestration) if settings.page_urls else None,
            registry=heard.registry,
        ),
    )
    log.info("orchestrator started", workers=settings.workers, receivers=sorted(notifier.receivers))
    await until_told_to_stop(orchestrator.run(), watch.run(), *heard.work)
    await heard.close()
    await agents.close()


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
