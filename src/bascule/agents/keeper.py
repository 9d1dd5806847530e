"""Keeps what the control plane said, in memory and on disk, in step: a command is obeyed once it is on disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic
from uuid import UUID
from weakref import WeakValueDictionary

from bascule.agents import fencing
from bascule.agents.fencing import C, DesiredState
from bascule.agents.state_file import StateFile
from bascule.model.configurations import Version


class Keeper(Generic[C]):
    """The desired state. Use it from one event loop."""

    def __init__(self, file: StateFile[DesiredState[C]]) -> None:
        """Read the file. `problem` is a sentence when that failed."""
        self._file = file
        self.state, self.problem = file.load()
        self._writing = asyncio.Lock()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    def lock(self, load_balancer_id: UUID) -> asyncio.Lock:
        """Hold it for the whole of a command, so that two commands for one load balancer never mix."""
        return self._locks.setdefault(load_balancer_id, asyncio.Lock())

    async def put(self, configuration: C, check: Callable[[DesiredState[C]], None]) -> None:
        """Obey. Raises StaleCommand, what `check` of the new state raises, or SystemFailure when the disk refuses."""
        async with self._writing:
            state = fencing.put(self.state, configuration)
            check(state)
            await self._save(state)

    def check_removal(self, load_balancer_id: UUID, version: Version) -> None:
        """Raises StaleCommand when `remove` would."""
        fencing.remove(self.state, load_balancer_id, version)

    async def remove(self, load_balancer_id: UUID, version: Version) -> None:
        """Obey. Raises StaleCommand, or SystemFailure when the disk refuses."""
        async with self._writing:
            await self._save(fencing.remove(self.state, load_balancer_id, version))

    async def _save(self, state: DesiredState[C]) -> None:
        if state == self.state:
            return
        await asyncio.to_thread(self._file.save, state)
        self.state = state
