"""End runs that find nothing to do, many at a time and without a lease.

A run has a lease so that nobody else commands the same entity. Whoever commands nothing needs none: the glance reads
what is due, then looks at the world, and then says "done" only of those that are as they should be and that nobody has
asked for or claimed meanwhile. What was asked for before the world was looked at is seen by that look.

Left to a worker: what a user waits for, what failed before, what somebody died over, and whatever differs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from typing import TypeAlias

import structlog

from bascule.clock import Clock
from bascule.orchestration.claims import Entity
from bascule.orchestration.journal import Transaction
from bascule.orchestration.queue import Due, Priority, Queue
from bascule.orchestration.tables import OrchestrationTables

AT_ONCE = 100  # entities

Look: TypeAlias = Callable[[Sequence[Entity]], Awaitable[Set[Entity]]]
"""Takes entities of one kind, answers those of them that surely need nothing. All it looks at it reads anew."""

log = structlog.get_logger(__name__)


class Glance:
    """One for all workers of a process. `looks` has the kinds that can be looked at in this way.

    `reading` opens transactions that only read, `writing` those that write.
    """

    def __init__(
        self,
        *,
        tables: OrchestrationTables,
        reading: Transaction,
        writing: Transaction,
        clock: Clock,
        looks: Mapping[str, Look],
    ) -> None:
        self._queue, self._reading, self._writing = Queue(tables, looks.keys()), reading, writing
        self._clock, self._looks = clock, looks
        self._turn = asyncio.Lock()
        # What was looked at in vain, with what had been requested then: it needs a worker.
        self._differing: dict[Entity, int] = {}

    async def end_what_is_settled(self) -> int:
        """How many runs it ended. None while another worker is at it, or while the most urgent needs a worker."""
        if self._turn.locked():
            return 0
        async with self._turn:
            with self._reading() as connection:
                due = self._queue.due(connection, now=self._clock.now(), at_most=AT_ONCE)
            if not due or not self._is_news(due[0]):
                return 0
            asked = [each for each in due if self._is_news(each)]
            settled = await self._look([each.entity for each in asked])
            self._differing = {each.entity: each.requested for each in due if each.entity not in settled}
            ended = [each for each in asked if each.entity in settled]
            if ended:
                with self._writing() as connection:
                    self._queue.end(connection, ended)
                log.debug("nothing to do", entities=len(ended))
            return len(ended)

    def _is_news(self, due: Due) -> bool:
        known = self._differing.get(due.entity) == due.requested
        return due.priority > Priority.USER and due.untouched and due.entity.kind in self._looks and not known

    async def _look(self, entities: Sequence[Entity]) -> set[Entity]:
        settled: set[Entity] = set()
        for kind in sorted({entity.kind for entity in entities}):
            settled |= await self._looks[kind]([entity for entity in entities if entity.kind == kind])
        return settled
