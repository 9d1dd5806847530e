"""An asyncio event loop in which waiting takes no time: when nothing is ready, the clock jumps to the next timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context, ContextVar, copy_context
from random import Random
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Killed(BaseException):
    """Stands for SIGKILL. Nothing catches it, and whatever a dead process still tries is refused with it."""


class Process:
    """One simulated process: the tasks that belong to it, which all stop at once when it is killed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.stalled_until = 0.0
        # It dies after so many more steps; None: nothing is planned.
        self.doom: int | None = None
        self.on_death: Callable[[], None] = lambda: None
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def check(self) -> None:
        """Raises Killed in a dead process: its cleanup reaches nobody."""
        if not self.alive:
            raise Killed

    def start(self, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """A task of this process, as are all that it starts in turn."""
        context = copy_context()
        context.run(CURRENT.set, self)
        return asyncio.get_running_loop().create_task(coroutine, context=context)

    def adopt(self, task: asyncio.Task[Any]) -> None:
        """Remember a task."""
        self._tasks[task] = None
        if not self.alive:
            task.cancel()

    def step(self) -> None:
        """One step that reaches outside: raises Killed when the process dies here, or is dead."""
        self.check()
        if self.doom is not None:
            self.doom -= 1
            if self.doom <= 0:
                self.kill()
                raise Killed

    def kill(self) -> None:
        """Die between two steps. Cancelling lets tasks end; that they can do no more harm is what `check` is for."""
        if not self.alive:
            return
        self.alive = False
        self.on_death()
        for task in self._tasks:
            task.cancel()

    async def thaw(self) -> None:
        """A process that stalls goes on late. Raises Killed in a dead one."""
        loop = asyncio.get_running_loop()
        while loop.time() < self.stalled_until:  # noqa: ASYNC110  it may stall again meanwhile
            await asyncio.sleep(self.stalled_until - loop.time())
        self.check()

    async def ended(self) -> None:
        """Wait until every task of the killed process is over."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


CURRENT: ContextVar[Process | None] = ContextVar("process", default=None)


class _NoSelector:
    """Where a real loop waits for the network, this one lets time pass."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[object]:
        """Jump."""
        if timeout is None:
            raise RuntimeError("Deadlock: every task waits, and no timer will ever wake one.")
        self._loop.pass_time(timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Starts at 0 s. What would run in a thread runs here, a little later."""

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self._now = 0.0
        self._chance = chance
        self._selector = _NoSelector(self)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def pass_time(self, seconds: float) -> None:
        """Jump ahead."""
        self._now += seconds

    def _process_events(self, events: list[object]) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""

    def create_task(self, coro: Any, *, name: object = None, context: Context | None = None) -> Any:
        """A task, known to the process it belongs to."""
        task = asyncio.Task(coro, loop=self, context=context)
        process = CURRENT.get() if context is None else context.get(CURRENT)
        if process is not None:
            process.adopt(task)
        return task

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Disks and kernels take some time too. A process killed meanwhile does not get there."""
        future: asyncio.Future[T] = self.create_future()
        self.call_later(self._chance.uniform(0.0002, 0.004), _work, future, CURRENT.get(), func, args)
        return future


def _work(
    future: asyncio.Future[Any], process: Process | None, func: Callable[..., Any], args: tuple[Any, ...]
) -> None:
    if process is not None and not process.alive:
        return
    try:
        result = func(*args)
    except BaseException as error:  # noqa: BLE001  it belongs to whoever awaits the future
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)
