"""The verdicts on disk: an agent that starts again goes on with what it knew."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pydantic import TypeAdapter

from bascule.agents.state_file import StateFile
from bascule.healthchecks.interface import TargetKey
from bascule.healthchecks.verdict import Verdict
from bascule.model.errors import SystemFailure
from bascule.model.health_checks import Health


@dataclass(frozen=True, slots=True)
class SavedVerdict:
    """One verdict in the state file."""

    key: TargetKey
    verdict: Verdict


VERDICTS: TypeAdapter[tuple[SavedVerdict, ...]] = TypeAdapter(tuple[SavedVerdict, ...])


class SavedVerdicts:
    """Saves what `known` tells; a full disk is a `problem` to tell, not a reason to stop."""

    def __init__(
        self, file: StateFile[tuple[SavedVerdict, ...]], known: Callable[[], Mapping[TargetKey, Verdict]]
    ) -> None:
        self._file, self._known = file, known
        self._news = asyncio.Event()
        self.problem: str | None = None

    def load(self) -> dict[TargetKey, Verdict]:
        """What was saved last."""
        saved, self.problem = self._file.load()
        return {each.key: each.verdict for each in saved}

    def look(self) -> None:
        """Verdicts may have changed."""
        self._news.set()

    async def run(self) -> None:
        """Save them when they did, until cancelled."""
        saved: tuple[SavedVerdict, ...] | None = None
        while True:
            await self._news.wait()
            self._news.clear()
            decided = ((key, each) for key, each in self._known().items() if each.health is not Health.UNKNOWN)
            verdicts = tuple(SavedVerdict(key, verdict) for key, verdict in decided)
            if verdicts == saved:
                continue
            try:
                await asyncio.to_thread(self._file.save, verdicts)
                saved, self.problem = verdicts, None
            except SystemFailure as error:
                self.problem = error.sentence
