"""Traffic that goes on in the background while something is done to the data centre."""

from __future__ import annotations

import asyncio
import threading
import time
from itertools import count, cycle
from types import TracebackType

from bascule.lab.state import Lab
from bascule.lab.traffic import Tally, Target, exchange, in_client
from bascule.lab.waiting import wait_until


class Stream:
    """Exchanges at a steady rate, whether the ones before were answered or not; none waits for another.

    Use as a context: leaving it stops, and waits for what is still on its way.
    """

    def __init__(self, lab: Lab, target: Target, *, rate: float = 200.0, timeout: float = 5.0) -> None:
        self.tally = Tally(target)
        self._lab = lab
        self._rate = rate
        self._timeout = timeout
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=lambda: in_client(lab, self._run), name="stream")

    def __enter__(self) -> Stream:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._thread.join()

    def wait_for_more(self, number: int) -> None:
        """Return once that many more exchanges have ended."""
        wanted = len(self.tally.answers) + number
        wait_until(lambda: len(self.tally.answers) >= wanted, what=f"{number} more exchanges", timeout=60)

    async def _run(self) -> None:
        started = time.monotonic()
        async with asyncio.TaskGroup() as tasks:
            sources = self._lab.topology.client_addresses(self.tally.target.address.version)
            for number, source in zip(count(1), cycle(map(str, sources)), strict=False):
                if self._stopped.is_set():
                    return
                tasks.create_task(self._ask(source))
                await asyncio.sleep(max(0.0, started + number / self._rate - time.monotonic()))

    async def _ask(self, source: str) -> None:
        self.tally.answers.append(await exchange(self.tally.target, source, self._timeout))
