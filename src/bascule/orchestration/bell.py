"""How idle workers hear that there is work, sooner than they would look for it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Protocol

import structlog
from sqlalchemy import URL

from bascule.orchestration.claims import CHANNEL

log = structlog.get_logger(__name__)
_RECONNECT_SECONDS = 1.0


class Bell(Protocol):
    """Rings when something was queued."""

    async def wait(self, seconds: float) -> None:
        """Return when it rings, or after so long at the latest."""


class PostgreSQLBell:
    """Listens on a connection of its own (LISTEN/NOTIFY). While it has none it is silent, and workers just look."""

    def __init__(self, url: URL) -> None:
        self._url = url.set(drivername="postgresql").render_as_string(hide_password=False)
        self._rung = asyncio.Event()
        self.listening = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return when a transaction that asked for work was committed, or after so long."""
        rung = self._rung
        with suppress(TimeoutError):
            await asyncio.wait_for(rung.wait(), seconds)

    def ring(self) -> None:
        """Wake everybody who waits now."""
        self._rung.set()
        self._rung = asyncio.Event()

    async def run(self) -> None:
        """Listen until cancelled; a database that is away is waited for."""
        import psycopg  # noqa: PLC0415  an extra: whoever uses SQLite need not have it

        while True:
            try:
                async with await psycopg.AsyncConnection.connect(
                    self._url, autocommit=True, connect_timeout=5, keepalives_idle=5, keepalives_interval=2
                ) as connection:
                    await connection.execute(f"LISTEN {CHANNEL}".encode())
                    self.listening.set()
                    self.ring()  # what was committed before we listened
                    async for _ in connection.notifies():
                        self.ring()
            except psycopg.Error as error:
                log.warning("does not listen to the database", error=str(error).strip())
            self.listening.clear()
            await asyncio.sleep(_RECONNECT_SECONDS)
