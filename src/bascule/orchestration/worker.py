"""The loop: claim an entity, take inventory, decide, plan, run the job, complete; for ever.

Several workers, in one process or many, share one queue: a lease makes sure that an entity is only ever in one hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import structlog

from bascule.model.errors import BasculeError, LeaseLost
from bascule.orchestration.clock import Clock, Random
from bascule.orchestration.escalation import Escalation
from bascule.orchestration.journal import Journal, Transaction, interrupted
from bascule.orchestration.queue import Claim, Queue
from bascule.orchestration.reconciler import Reconciler
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.runner import Runner, describe
from bascule.orchestration.tables import OrchestrationTables

log = structlog.get_logger(__name__)
DEFAULT_POLICY = RetryPolicy()


class Worker:
    """One worker. Durations are seconds; `idle` is how long it waits when nothing is due."""

    def __init__(
        self,
        *,
        name: str,
        reconcilers: Mapping[str, Reconciler[Any, Any]],
        tables: OrchestrationTables,
        transaction: Transaction,
        clock: Clock,
        chance: Random,
        escalation: Escalation,
        policy: RetryPolicy = DEFAULT_POLICY,
        lease: float = 15.0,
        idle: float = 0.1,
    ) -> None:
        self.name = name
        self._reconcilers, self._tables, self._transaction = reconcilers, tables, transaction
        self._queue = Queue(tables)
        self._clock, self._chance, self._escalation = clock, chance, escalation
        self._policy, self._lease, self._idle = policy, lease, idle

    async def run(self) -> None:
        """Work until cancelled. A database that is away is waited for."""
        heir = True
        while True:
            try:
                if heir:
                    self._give_up_what_was_left()
                    heir = False
                worked = await self.run_once()
            except LeaseLost as error:
                log.warning("lease lost", worker=self.name, error=error.sentence)
                worked = True
            except BasculeError as error:
                log.warning("worker cannot work", worker=self.name, error=error.sentence)
                worked = False
            if not worked:
                await self._clock.sleep(self._idle)

    def _give_up_what_was_left(self) -> None:
        """Leases that a process of this name held when it died need not run out first."""
        with self._transaction() as connection:
            self._queue.release_all(connection, self.name)

    async def run_once(self) -> bool:
        """Reconcile the most urgent entity, if any is due; False when none was."""
        now = self._clock.now()
        with self._transaction() as connection:
            claim = self._queue.claim(connection, holder=self.name, now=now, lease=self._lease)
            if claim is not None:
                interrupted(self._tables, connection, claim, now)
        if claim is None:
            return False
        await self._with_heartbeat(claim)
        return True

    async def _with_heartbeat(self, claim: Claim) -> None:
        run = asyncio.ensure_future(self._reconcile(claim))
        heartbeat = asyncio.ensure_future(self._keep(claim))
        try:
            await asyncio.wait({run, heartbeat}, return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                run.cancel()
        except asyncio.CancelledError:
            run.cancel()
            raise
        finally:
            heartbeat.cancel()
            with suppress(asyncio.CancelledError):
                await run
        if heartbeat.done() and not heartbeat.cancelled() and (error := heartbeat.exception()):
            raise error

    async def _keep(self, claim: Claim) -> None:
        """Renew the lease three times per duration; ends only by LeaseLost or when the database stays away too long."""
        while True:
            await self._clock.sleep(self._lease / 3)
            with self._transaction() as connection:
                self._queue.renew(connection, claim, now=self._clock.now(), lease=self._lease)

    async def _reconcile(self, claim: Claim) -> None:
        reconciler = self._reconcilers[claim.entity.kind]
        try:
            await self._attempt(reconciler, claim)
        except LeaseLost:
            raise
        except asyncio.CancelledError:
            with self._transaction() as connection:
                self._queue.release(connection, claim)
            raise
        except Exception as error:  # noqa: BLE001  whatever one entity does must not stop the others
            self._failed(reconciler, claim, error)
        else:
            self._succeeded(reconciler, claim)

    async def _attempt(self, reconciler: Reconciler[Any, Any], claim: Claim) -> None:
        inventory = await reconciler.inventory(claim)
        if inventory is None:
            return
        decision = reconciler.decide(inventory)
        log.debug("decided", kind=claim.entity.kind, entity=claim.entity.id, decision=decision.sentence)
        if decision.event is None:
            return
        job = reconciler.plan(decision.event)
        log.info("job begins", kind=claim.entity.kind, entity=claim.entity.id, job=decision.sentence)
        runner = Runner(
            perform=lambda action: reconciler.perform(claim, action),
            guard=lambda: self._guard(claim),
            journal=Journal(self._tables, self._transaction, claim, decision.sentence),
            clock=self._clock,
        )
        await runner.run(job)

    def _guard(self, claim: Claim) -> None:
        with self._transaction() as connection:
            self._queue.check(connection, claim)

    def _succeeded(self, reconciler: Reconciler[Any, Any], claim: Claim) -> None:
        with self._transaction() as connection:
            if reconciler.exists(connection, claim.entity):
                self._queue.complete(connection, claim)
            else:
                self._queue.forget(connection, claim)
        if claim.attempts >= self._policy.escalate_after:
            self._escalation.recovered(claim.entity, claim.attempts)

    def _failed(self, reconciler: Reconciler[Any, Any], claim: Claim, error: Exception) -> None:
        sentence, attempts = describe(error), claim.attempts + 1
        log.warning(
            "reconciliation failed",
            kind=claim.entity.kind,
            entity=claim.entity.id,
            attempts=attempts,
            error=sentence,
            exc_info=None if isinstance(error, BasculeError) else error,
        )
        retry_at = self._clock.now() + self._policy.delay(attempts, self._chance)
        with self._transaction() as connection:
            self._queue.fail(connection, claim, error=sentence, retry_at=retry_at)
            if attempts == self._policy.escalate_after:
                reconciler.gave_up(connection, claim, sentence)
        if attempts == self._policy.escalate_after:
            self._escalation.failing(claim.entity, attempts, sentence)
