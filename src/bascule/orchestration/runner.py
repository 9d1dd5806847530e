"""Walk a job tree: perform its steps, record each, and stop the moment the lease is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bascule.model.errors import BasculeError, LeaseLost
from bascule.orchestration.clock import Clock
from bascule.orchestration.jobs import Action, Job, Parallel, Path, Sequence, Step, Try
from bascule.orchestration.journal import Journal


class Runner:
    """Runs one job. `guard` raises LeaseLost when another worker took the entity over; it is asked before each step."""

    def __init__(
        self,
        *,
        perform: Callable[[Action], Awaitable[None]],
        guard: Callable[[], None],
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._perform, self._guard, self._journal, self._clock = perform, guard, journal, clock

    async def run(self, job: Job) -> None:
        """Run the tree. Raises the first failure that nothing rescued."""
        self._journal.begin(job, self._clock.now())
        try:
            await self._node(job, (1,))
        except BaseException as error:
            self._journal.end(self._clock.now(), describe(error))
            raise
        self._journal.end(self._clock.now())

    async def _node(self, job: Job, path: Path) -> None:
        self._guard()
        self._journal.started(path, self._clock.now())
        try:
            await self._body(job, path)
        except BaseException as error:
            self._journal.ended(path, self._clock.now(), describe(error))
            raise
        self._journal.ended(path, self._clock.now())

    async def _body(self, job: Job, path: Path) -> None:
        match job:
            case Step():
                await self._perform(job.action)
            case Sequence():
                for number, child in enumerate(job.children, start=1):
                    await self._node(child, (*path, number))
            case Parallel():
                await self._side_by_side(job, path)
            case Try():
                await self._attempt(job, path)

    async def _side_by_side(self, job: Parallel, path: Path) -> None:
        runs = [self._node(child, (*path, number)) for number, child in enumerate(job.children, start=1)]
        outcomes = await asyncio.gather(*runs, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            # A lost lease matters more than what else went wrong: it must not be rescued.
            raise next((failure for failure in failures if isinstance(failure, LeaseLost)), failures[0])

    async def _attempt(self, job: Try, path: Path) -> None:
        numbers = {id(child): number for number, child in enumerate(job.children, start=1)}
        try:
            try:
                await self._node(job.body, (*path, numbers[id(job.body)]))
            except LeaseLost:
                raise
            except BasculeError:
                if job.rescue is None:
                    raise
                await self._node(job.rescue, (*path, numbers[id(job.rescue)]))
        finally:
            if job.ensure is not None:
                await self._node(job.ensure, (*path, numbers[id(job.ensure)]))


def describe(error: BaseException) -> str:
    """One sentence for the record."""
    if isinstance(error, BasculeError):
        return error.sentence
    if isinstance(error, asyncio.CancelledError):
        return "Interrupted: the worker was told to stop."
    return f"{type(error).__name__}: {error}"
