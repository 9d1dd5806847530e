"""Tells the operator's script of ups and downs (keepalived's notify_up, notify_down, quorum_up and quorum_down)."""

from __future__ import annotations

import asyncio

import structlog

from bascule.healthchecks.interface import HealthEvent
from bascule.healthchecks.scripts import ScriptFolder
from bascule.model.errors import BasculeError

WAITING_MOST = 1000  # events; a script that hangs must not fill the memory
TIMEOUT = 10.0  # seconds one event may take

log = structlog.stdlib.get_logger(__name__)


class Notifier:
    """Runs the script once for each event, one at a time and in their order. Nobody waits for it.

    Arguments: "backend" or "service", the service's identifier, address, port, "up" or "down".
    """

    def __init__(self, scripts: ScriptFolder, name: str, *, timeout: float = TIMEOUT) -> None:
        """`timeout` is seconds after which the script's process group is killed."""
        self._scripts, self._name, self._timeout = scripts, name, timeout
        self._waiting: asyncio.Queue[HealthEvent] = asyncio.Queue(WAITING_MOST)
        self._task: asyncio.Task[None] | None = None

    def tell(self, event: HealthEvent) -> None:
        """Queue the event. When too many wait, it is lost and the log says so."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="notifier")
        if self._waiting.full():
            log.error("notification lost", script=self._name, address=str(event.address), up=event.up)
            return
        self._waiting.put_nowait(event)

    async def close(self) -> None:
        """Stop; what is running is killed, what waits is lost."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            event = await self._waiting.get()
            reason = await self._failure(event)
            if reason is not None:
                log.error("notification failed", script=self._name, address=str(event.address), reason=reason)

    async def _failure(self, event: HealthEvent) -> str | None:
        """Run the script for one event; returns why that failed, if it did."""
        state = "up" if event.up else "down"
        words = (event.kind, str(event.service_id), str(event.address), str(event.port), state)
        try:
            async with asyncio.timeout(self._timeout):
                status = await self._scripts.run(self._name, words)
        except TimeoutError:
            return f"it did not end within {self._timeout:g} s"
        except (BasculeError, OSError) as error:
            return str(error)
        return f"exit status {status}" if status else None
