"""Send what `pages` keeps, again and again until every receiver has it; a worker never waits for it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import structlog

from bascule.clock import Clock, Random
from bascule.model.errors import BasculeError
from bascule.orchestration.journal import Transaction
from bascule.orchestration.pages import Page, Pages
from bascule.orchestration.retry import RetryPolicy
from bascule.orchestration.tables import OrchestrationTables

log = structlog.get_logger(__name__)
_AGAIN = RetryPolicy(first=5.0, longest=300.0)


class Notifier(Protocol):
    """Reaches humans."""

    @property
    def receivers(self) -> Collection[str]:
        """A stable name for each receiver, without secrets."""

    async def send(self, page: Page, receiver: str) -> None:
        """Send it to one of them. Raises Unavailable when it did not take it, within a time of its own."""


class Pager:
    """One per orchestrator process; several share the work. Durations are seconds.

    `application` stands first in every page's title. `patience` must be longer than sending to all receivers takes:
    afterwards another process believes this one dead.
    """

    def __init__(
        self,
        *,
        tables: OrchestrationTables,
        transaction: Transaction,
        notifier: Notifier,
        clock: Clock,
        chance: Random,
        idle: float = 1.5,
        patience: float = 300.0,
        application: str = "",
    ) -> None:
        self._pages = Pages(tables, application)
        self._transaction, self._notifier = transaction, notifier
        self._clock, self._chance, self._idle, self._patience = clock, chance, idle, patience

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            try:
                worked = await self.run_once()
            except BasculeError as error:
                log.warning("pager cannot work", error=error.sentence)
                worked = False
            if not worked:
                await self._clock.sleep(self._idle)

    async def run_once(self) -> bool:
        """Send the oldest page that is due, if there is one; False when there was none."""
        now = self._clock.now()
        with self._transaction() as connection:
            page = self._pages.take(connection, now=now, again_at=now + self._patience)
        if page is None:
            return False
        have_it = set(page.sent_to)
        for receiver in self._notifier.receivers:
            if receiver not in have_it and await self._sent(page, receiver):
                have_it.add(receiver)
        with self._transaction() as connection:
            if have_it.issuperset(self._notifier.receivers):
                self._pages.sent(connection, page)
            else:
                until = self._clock.now() + _AGAIN.delay(page.tries, self._chance)
                self._pages.put_off(connection, page, sent_to=have_it, until=until)
        return True

    async def _sent(self, page: Page, receiver: str) -> bool:
        whose = {"kind": page.entity.kind, "entity": page.entity.id, "receiver": receiver}
        try:
            await self._notifier.send(page, receiver)
        except BasculeError as error:
            log.warning("page not sent", **whose, tries=page.tries, error=error.sentence)
            return False
        log.info("page sent", **whose, recovered=page.recovered)
        return True
