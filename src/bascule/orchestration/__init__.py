"""The library for writing orchestrators. Knows nothing of load balancing and could be lifted out.

    whoever changes something       ┌─────────────── a worker, one of many ────────────────┐
      its rows + Queue.request ──▶  │ claim ─▶ inventory ─▶ decide ─▶ plan ─▶ Runner ──────┼─▶ Reconciler.perform
    Sweep, events ───────────────▶  │ (lease,  (the world)  (pure:    (pure:  (steps, each │   (the world)
                                    │  epoch)               an event)  a tree) recorded)   │
                                    └── it fails: again with backoff; a Page for a human ──┘

One writes a `Reconciler` for each kind of entity and gives it to an `Orchestrator`, which is one process's share of the
work. The library's tables are `define`d in the application's own metadata. `docs/writing-an-orchestrator.md` teaches it
by an example; `docs/decisions/` tells why it looks the way it does. `apprise_notifier` reaches humans, and is imported
by its own name.
"""

from bascule.clock import Clock, Random, SystemClock
from bascule.orchestration.claims import Claim, Entity
from bascule.orchestration.database import Database, create_tables, open_database
from bascule.orchestration.escalation import Escalation, LogEscalation
from bascule.orchestration.fence import fenced
from bascule.orchestration.jobs import (
    Action,
    Job,
    Parallel,
    Retry,
    Sequence,
    Step,
    Timeout,
    Try,
    parallel,
    sequence,
    walk,
)
from bascule.orchestration.journal import NodeState, Retention
from bascule.orchestration.orchestrator import Orchestrator, until_told_to_stop
from bascule.orchestration.overview import Overview
from bascule.orchestration.pager import Notifier
from bascule.orchestration.pages import Page
from bascule.orchestration.queue import Priority, Queue
from bascule.orchestration.reconciler import Decision, Reconciler
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.tables import OrchestrationTables, define
from bascule.orchestration.worker import Worker

__all__ = [
    "Action",
    "Claim",
    "Clock",
    "Database",
    "Decision",
    "Entity",
    "Escalation",
    "Job",
    "LogEscalation",
    "NodeState",
    "Notifier",
    "OrchestrationTables",
    "Orchestrator",
    "Overview",
    "Page",
    "Parallel",
    "Priority",
    "Queue",
    "Random",
    "Reconciler",
    "Retention",
    "Retry",
    "RetryPolicy",
    "Sequence",
    "Step",
    "SystemClock",
    "Timeout",
    "Try",
    "Worker",
    "create_tables",
    "define",
    "fenced",
    "open_database",
    "parallel",
    "sequence",
    "until_told_to_stop",
    "walk",
]
