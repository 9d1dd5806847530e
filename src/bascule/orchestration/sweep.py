"""Ask for every entity once in a while: whatever nobody told of is found then."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable

import structlog
from sqlalchemy import Connection

from bascule.clock import Clock
from bascule.model.errors import BasculeError
from bascule.orchestration.claims import Entity
from bascule.orchestration.journal import Transaction
from bascule.orchestration.queue import Priority, Queue

log = structlog.get_logger(__name__)
Entities = Callable[[Connection], Iterable[Entity]]


class Sweep:
    """Asks for each entity every so many seconds. One is enough; with one in each process, each of them asks."""

    def __init__(
        self, *, queue: Queue, transaction: Transaction, entities: Entities, clock: Clock, every: float
    ) -> None:
        self._queue, self._transaction, self._entities = queue, transaction, entities
        self._clock, self._every = clock, every

    async def run(self) -> None:
        """Sweep until cancelled. A database that is away is waited for."""
        while True:
            try:
                self.run_once()
            except BasculeError as error:
                log.warning("sweep failed", error=error.sentence)
            await self._clock.sleep(self._every)

    def run_once(self) -> None:
        """Ask for all of them, spread over the time until the next sweep; each always at the same moment of it."""
        now = self._clock.now()
        with self._transaction() as connection:
            # In one order everywhere: two sweeps at once must not wait for each other's rows.
            for entity in sorted(self._entities(connection), key=lambda entity: (entity.kind, entity.id)):
                delay = zlib.crc32(f"{entity.kind} {entity.id}".encode()) / 2**32 * self._every
                self._queue.request(
                    connection, entity, priority=Priority.PERIODIC, reason="sweep", now=now, delay=delay
                )
