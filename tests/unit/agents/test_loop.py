"""The enforcement loop: when passes run, and what is told of them."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import pytest
from structlog.testing import capture_logs

from bascule.agents.loop import EnforcementLoop


@dataclass
class Outcome:
    """What a pass of this test leaves behind."""

    problems: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()
    repairs: tuple[str, ...] = ()


class Machine:
    """Runs in the loop's worker thread. Notes every pass: what was desired, and whether two ever ran at once."""

    def __init__(self) -> None:
        self.passes: list[int] = []
        self.outcome = Outcome()
        self.fails = 0
        self._busy = threading.Lock()
        self._ran = threading.Condition()
        self.overlapped = False

    def apply(self, desired: int) -> Outcome:
        if not self._busy.acquire(blocking=False):
            self.overlapped = True
            return self.outcome
        try:
            self.passes.append(desired)
            if self.fails:
                self.fails -= 1
                raise RuntimeError("nobody foresaw this")
            return self.outcome
        finally:
            self._busy.release()
            with self._ran:
                self._ran.notify_all()

    def await_passes(self, count: int) -> None:
        """Block until so many passes ran."""
        with self._ran:
            assert self._ran.wait_for(lambda: len(self.passes) >= count, timeout=10)


async def passes(machine: Machine, count: int) -> None:
    """Wait until so many passes ran."""
    await asyncio.to_thread(machine.await_passes, count)


def test_passes_repeat_at_the_interval_even_after_a_failure() -> None:
    """An exception nobody foresaw does not end enforcement."""
    machine = Machine()
    machine.fails = 2

    async def scene() -> None:
        loop = EnforcementLoop(lambda: 1, machine.apply, interval=0.01)
        running = asyncio.create_task(loop.run())
        await passes(machine, 5)
        running.cancel()
        await loop.close()

    with capture_logs() as logs:
        asyncio.run(scene())
    assert sum(entry["event"] == "enforcement pass failed" for entry in logs) == 2


def test_a_poke_does_not_wait_for_the_interval() -> None:
    """A change of health is enforced at once, however long the interval."""
    machine = Machine()

    async def scene() -> None:
        loop = EnforcementLoop(lambda: len(machine.passes), machine.apply, interval=3600)
        running = asyncio.create_task(loop.run())
        await passes(machine, 1)
        loop.poke()
        await passes(machine, 2)
        running.cancel()
        await loop.close()

    asyncio.run(scene())
    assert machine.passes[:2] == [0, 1]


def test_passes_never_overlap() -> None:
    """Commands that come together take turns, each with what is desired when its turn comes."""
    machine = Machine()

    async def scene() -> None:
        loop = EnforcementLoop(lambda: len(machine.passes), machine.apply, interval=1)
        await asyncio.gather(*(loop.enforce() for _ in range(50)))
        await loop.close()

    asyncio.run(scene())
    assert machine.passes == list(range(50))
    assert not machine.overlapped


@pytest.mark.parametrize("times", [1, 5])
def test_a_problem_is_told_once_when_it_comes_and_once_when_it_goes(times: int) -> None:
    """A log is not filled by one problem, however many passes see it."""
    machine = Machine()

    async def scene() -> None:
        loop = EnforcementLoop(lambda: 1, machine.apply, interval=1)
        machine.outcome = Outcome(problems=("it hurts",), repairs=("mended",))
        for _ in range(times):
            await loop.enforce()
        machine.outcome = Outcome()
        await loop.enforce()
        await loop.close()
        assert loop.repairs == times

    with capture_logs() as logs:
        asyncio.run(scene())
    told = [entry["event"] for entry in logs if "problem" in entry]
    assert told == ["problem", "problem is over"]
