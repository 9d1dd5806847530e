"""How a run ends in the database: completed, failed, called off; and who is told. Each is one transaction."""

from __future__ import annotations

from typing import Any

import structlog
from sqlalchemy import Connection

from bascule.clock import Clock, Random
from bascule.model.errors import BasculeError
from bascule.orchestration.claims import Claim
from bascule.orchestration.escalation import Escalation
from bascule.orchestration.journal import Transaction, steps_of_run
from bascule.orchestration.pages import Page, Pages, drawn
from bascule.orchestration.queue import Queue
from bascule.orchestration.reconciler import Reconciler
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.runner import describe
from bascule.orchestration.tables import OrchestrationTables

log = structlog.get_logger(__name__)


class Outcome:
    """Writes how runs ended. All methods raise LeaseLost when another worker has taken the entity over."""

    def __init__(
        self,
        *,
        tables: OrchestrationTables,
        transaction: Transaction,
        clock: Clock,
        chance: Random,
        escalation: Escalation,
        policy: RetryPolicy,
        pages: Pages | None,
    ) -> None:
        self._tables, self._transaction, self._queue = tables, transaction, Queue(tables)
        self._clock, self._chance = clock, chance
        self._escalation, self._policy, self._pages = escalation, policy, pages

    def succeeded(self, reconciler: Reconciler[Any, Any], claim: Claim) -> None:
        """The entity is as it should be, or gone. Whoever was told of failures is told of that."""
        with self._transaction() as connection:
            if claim.paged:
                self._page(connection, claim, claim.attempts, error=self._queue.claims.last_error(connection, claim))
            if reconciler.exists(connection, claim.entity):
                self._queue.claims.complete(connection, claim)
            else:
                self._queue.claims.forget(connection, claim)
        if claim.paged:
            self._escalation.recovered(claim.entity, claim.attempts)

    def failed(self, reconciler: Reconciler[Any, Any], claim: Claim, error: Exception) -> None:
        """The entity is tried again later; a human is told once when that was so too often."""
        sentence, attempts = describe(error), claim.attempts + 1
        log.warning(
            "reconciliation failed",
            kind=claim.entity.kind,
            entity=claim.entity.id,
            attempts=attempts,
            error=sentence,
            exc_info=None if isinstance(error, BasculeError) else error,
        )
        now = self._clock.now()
        retry_at = now + self._policy.delay(attempts, self._chance)
        alarm = attempts >= self._policy.escalate_after and not claim.paged
        with self._transaction() as connection:
            if alarm:
                reconciler.gave_up(connection, claim, sentence)
                self._page(connection, claim, attempts, error=sentence, failing=True)
            paged_at = now if alarm else None
            self._queue.claims.fail(connection, claim, error=sentence, retry_at=retry_at, paged_at=paged_at)
        if alarm:
            self._escalation.failing(claim.entity, attempts, sentence)

    def called_off(self, claim: Claim, reason: str) -> None:
        """An operator cancelled the job: it is tried again after the longest delay, or when somebody asks."""
        until = self._clock.now() + self._policy.longest
        log.info("job cancelled", kind=claim.entity.kind, entity=claim.entity.id)
        with self._transaction() as connection:
            self._queue.claims.postpone(connection, claim, reason=reason, until=until)

    def given_back(self, claim: Claim) -> None:
        """The worker was told to stop: another may go on at once."""
        with self._transaction() as connection:
            self._queue.claims.release(connection, claim)

    def _page(self, connection: Connection, claim: Claim, attempts: int, *, error: str, failing: bool = False) -> None:
        if self._pages is None:
            return
        page = Page(
            entity=claim.entity,
            recovered=not failing,
            attempts=attempts,
            error=error,
            tree=drawn(steps_of_run(self._tables, connection, claim)) if failing else "",
            created_at=self._clock.now(),
        )
        self._pages.add(connection, page)
