"""Walk a job tree: perform its steps, record each, and stop the moment the lease is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from bascule.clock import Clock
from bascule.model.errors import BasculeError, LeaseLost, Unavailable
from bascule.orchestration.jobs import Action, Job, Parallel, Path, Retry, Sequence, Step, Timeout, Try
from bascule.orchestration.journal import Guard, Journal


class Runner:
    """Runs one job. `guard` raises LeaseLost when another worker took the entity over; it is asked before each step.

    Cancelling the task that runs it cancels what is running; every *finally* is still done, unless the lease is lost.
    """

    def __init__(
        self,
        *,
        perform: Callable[[Action], Awaitable[object]],
        guard: Guard,
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
            self._journal.end(self._clock.now(), describe(error), cancelled=_is_cancelled(error))
            raise
        self._journal.end(self._clock.now())

    async def _node(self, job: Job, path: Path) -> None:
        self._journal.started(path, self._clock.now(), self._guard)
        try:
            output = await self._body(job, path)
        except BaseException as error:
            self._journal.failed(path, self._clock.now(), describe(error), cancelled=_is_cancelled(error))
            raise
        self._journal.ended(path, self._clock.now(), output=output)

    async def _body(self, job: Job, path: Path) -> object:
        match job:
            case Step():
                return await self._perform(job.action)
            case Sequence():
                for number, child in enumerate(job.children, start=1):
                    await self._node(child, (*path, number))
            case Parallel():
                await self._side_by_side(job, path)
            case Try():
                await self._attempt(job, path)
            case Retry():
                return await self._repeat(job, path)
            case Timeout():
                await self._in_time(job, path)
        return None

    async def _side_by_side(self, job: Parallel, path: Path) -> None:
        runs = [self._node(child, (*path, number)) for number, child in enumerate(job.children, start=1)]
        outcomes = await asyncio.gather(*runs, return_exceptions=True)
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            # A lost lease matters more than what else went wrong: it must not be rescued.
            raise next((failure for failure in failures if isinstance(failure, LeaseLost)), failures[0])

    async def _attempt(self, job: Try, path: Path) -> None:
        try:
            try:
                await self._node(job.body, (*path, 1))
            except LeaseLost:
                raise
            except BasculeError:
                if job.rescue is None:
                    raise
                await self._node(job.rescue, (*path, 2))
        finally:
            if job.ensure is not None:
                await self._node(job.ensure, (*path, len(job.children)))

    async def _repeat(self, job: Retry, path: Path) -> object:
        for attempt in range(1, job.times + 1):
            try:
                await self._node(job.body, (*path, 1))
            except LeaseLost:
                raise
            except BasculeError:
                if attempt == job.times:
                    raise
                await self._clock.sleep(job.pause * 2.0 ** (attempt - 1))
                self._journal.again(path)
            else:
                return {"attempts": attempt}
        return None

    async def _in_time(self, job: Timeout, path: Path) -> None:
        body = asyncio.ensure_future(self._node(job.body, (*path, 1)))
        timer = asyncio.ensure_future(self._clock.sleep(job.seconds))
        late = f"{job.body.title} took longer than {job.seconds:g} s: see which step hung, and why."
        try:
            await asyncio.wait({body, timer}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError as stop:
            await _end(body, describe(stop))
            raise
        finally:
            timer.cancel()
        if body.done():
            return body.result()
        outcome = await _end(body, late)
        raise outcome if isinstance(outcome, LeaseLost) else Unavailable(late)


async def _end(task: asyncio.Future[None], reason: str) -> BaseException | None:
    """Cancel a task and wait until it has ended; returns what it ended with."""
    task.cancel(reason)
    return (await asyncio.gather(task, return_exceptions=True))[0]


def describe(error: BaseException) -> str:
    """One sentence for the record."""
    if isinstance(error, BasculeError):
        return error.sentence
    if _is_cancelled(error):
        return str(error.args[0]) if error.args else "Interrupted: the worker was told to stop."
    return f"{type(error).__name__}: {error}"


def _is_cancelled(error: BaseException) -> bool:
    return isinstance(error, asyncio.CancelledError)
