"""The loop: claim an entity, take inventory, decide, plan, run the job, complete; for ever.

Several workers, in one process or many, share one queue: a lease makes sure that an entity is only ever in one hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from bascule.clock import Clock, Random
from bascule.model.errors import BasculeError, LeaseLost, Unavailable
from bascule.orchestration.bell import Bell
from bascule.orchestration.claims import Claim
from bascule.orchestration.escalation import Escalation
from bascule.orchestration.glance import Glance
from bascule.orchestration.journal import (
    DEFAULT_RETENTION,
    Journal,
    Retention,
    Transaction,
    cancellation_requested,
    interrupted,
)
from bascule.orchestration.outcome import Outcome
from bascule.orchestration.pages import Pages
from bascule.orchestration.queue import Queue
from bascule.orchestration.reconciler import Reconciler
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.runner import Runner
from bascule.orchestration.tables import OrchestrationTables

log = structlog.get_logger(__name__)
DEFAULT_POLICY = RetryPolicy()
CALLED_OFF = "Cancelled by an operator: it is tried again in a while, or at the next request."


class Worker:
    """One worker, for the kinds of entities that `reconcilers` names.

    Durations are seconds; `idle` is how long it waits when nothing is due, or less if a `bell` rings. `pages` keeps
    what humans are to be told, for a `Pager` to send; without it only `escalation` hears of it.
    `glance` ends runs that find nothing to do; without it each is a run like any other.
    """

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
        pages: Pages | None = None,
        bell: Bell | None = None,
        retention: Retention = DEFAULT_RETENTION,
        glance: Glance | None = None,
    ) -> None:
        self.name = name
        self._reconcilers, self._tables, self._transaction = reconcilers, tables, transaction
        self._queue, self._clock, self._lease = Queue(tables, reconcilers.keys()), clock, lease
        self._wait, self._idle, self._retention = clock.sleep if bell is None else bell.wait, idle, retention
        self._outcome = Outcome(
            tables=tables,
            transaction=transaction,
            clock=clock,
            chance=chance,
            escalation=escalation,
            policy=policy,
            pages=pages,
        )
        self._last_tenant: str | None = None
        self._glance = glance

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
                # Whatever it held it could not give back: nobody need wait until that lease has run out.
                worked, heir = False, True
            if not worked:
                await self._wait(self._idle)

    def _give_up_what_was_left(self) -> None:
        """Leases that a process of this name held when it died need not run out first."""
        with self._transaction() as connection:
            self._queue.claims.release_all(connection, self.name)

    async def run_once(self) -> bool:
        """Reconcile the most urgent entity, if any is due, or end runs that need none; False when nothing was due."""
        if self._glance is not None and await self._glance.end_what_is_settled():
            return True
        now = self._clock.now()
        with self._transaction() as connection:
            claim = self._queue.claim(connection, holder=self.name, now=now, lease=self._lease, after=self._last_tenant)
            if claim is not None:
                interrupted(self._tables, connection, claim, now)
        if claim is None:
            return False
        self._last_tenant = claim.tenant
        await self._with_heartbeat(claim)
        return True

    async def _with_heartbeat(self, claim: Claim) -> None:
        run = asyncio.ensure_future(self._reconcile(claim))
        heartbeat = asyncio.ensure_future(self._keep(claim))
        try:
            await asyncio.wait({run, heartbeat}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            heartbeat.cancel()
            await _end(run)
            raise
        if not run.done():
            await _end(run, *([] if heartbeat.exception() else [CALLED_OFF]))
            heartbeat.result()
            return
        heartbeat.cancel()
        await asyncio.gather(heartbeat, return_exceptions=True)
        run.result()

    async def _keep(self, claim: Claim) -> None:
        """Renew the lease three times per duration. Ends when an operator cancels the job, or by LeaseLost.

        A database that is away does not end a run before its lease has run out.
        """
        lease_until = claim.lease_until
        while True:
            await self._clock.sleep(self._lease / 3)
            now = self._clock.now()
            try:
                with self._transaction() as connection:
                    called_off = cancellation_requested(self._tables, connection, claim)
                    self._queue.claims.renew(connection, claim, now=now, lease=self._lease)
            except LeaseLost:
                raise
            except Unavailable:
                if now >= lease_until:
                    raise
                continue
            if called_off:
                return
            lease_until = now + self._lease

    async def _reconcile(self, claim: Claim) -> None:
        reconciler = self._reconcilers[claim.entity.kind]
        try:
            await self._attempt(reconciler, claim)
        except LeaseLost:
            raise
        except asyncio.CancelledError as stop:
            if CALLED_OFF in stop.args:
                self._outcome.called_off(claim, CALLED_OFF)
            else:
                self._outcome.given_back(claim)
            raise
        except Exception as error:  # noqa: BLE001  whatever one entity does must not stop the others
            self._outcome.failed(reconciler, claim, error)
        else:
            self._outcome.succeeded(reconciler, claim)

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
            guard=lambda connection: self._queue.claims.check(connection, claim),
            journal=Journal(self._tables, self._transaction, claim, decision.sentence, self._retention),
            clock=self._clock,
        )
        await runner.run(job)


async def _end(run: asyncio.Future[None], *reason: str) -> None:
    """Cancel a run and wait for it. What goes wrong with it meanwhile must not keep the worker from stopping."""
    run.cancel(*reason)
    outcome = (await asyncio.gather(run, return_exceptions=True))[0]
    if isinstance(outcome, BasculeError):
        log.warning("stopped in the middle", error=outcome.sentence)
