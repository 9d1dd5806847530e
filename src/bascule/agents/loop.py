"""The enforcement loop: compare the machine with what it should be, every interval and whenever somebody asks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

import structlog

log = structlog.stdlib.get_logger(__name__)


class Outcome(Protocol):
    """What one pass leaves behind."""

    @property
    def problems(self) -> tuple[str, ...]:
        """Sentences for a human; none means all is as desired."""

    @property
    def changes(self) -> tuple[str, ...]:
        """What the pass changed because it was told to."""

    @property
    def repairs(self) -> tuple[str, ...]:
        """What the pass put right although nobody had told it to change."""


D = TypeVar("D")
O = TypeVar("O", bound=Outcome)  # noqa: E741  O as in outcome


class EnforcementLoop(Generic[D, O]):
    """Runs passes one at a time, in one worker thread: drivers block, and are never called twice at once."""

    def __init__(self, desire: Callable[[], D], apply: Callable[[D], O], *, interval: float) -> None:
        """`desire` is read on the event loop just before each pass; `apply` is the pass. `interval` is seconds."""
        self._desire = desire
        self._apply = apply
        self._interval = interval
        self._lock = asyncio.Lock()
        self._poked = asyncio.Event()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="drivers")
        self._known_problems: frozenset[str] = frozenset()
        self.last: O | None = None
        self.repairs = 0

    def poke(self) -> None:
        """Ask for a pass as soon as possible."""
        self._poked.set()

    async def enforce(self) -> O:
        """Run one pass now, with what is desired when its turn comes."""
        async with self._lock:
            running = asyncio.get_running_loop()
            outcome = await running.run_in_executor(self._thread, self._apply, self._desire())
            self.last = outcome
            self.repairs += len(outcome.repairs)
            self._tell(outcome)
            return outcome

    async def run(self) -> None:
        """Enforce until cancelled. A pass that fails in a way nobody foresaw is logged, and the next tries again."""
        while True:
            self._poked.clear()
            try:
                await self.enforce()
            except Exception:
                log.exception("enforcement pass failed")
            try:
                async with asyncio.timeout(self._interval):
                    await self._poked.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Wait for the pass in flight, if any, and let go of the thread."""
        async with self._lock:
            self._thread.shutdown(wait=True)

    def _tell(self, outcome: O) -> None:
        for change in outcome.changes:
            log.info("changed", change=change)
        for repair in outcome.repairs:
            log.warning("repaired", repair=repair)
        problems = frozenset(outcome.problems)
        for problem in sorted(problems - self._known_problems):
            log.error("problem", problem=problem)
        for problem in sorted(self._known_problems - problems):
            log.info("problem is over", problem=problem)
        self._known_problems = problems
