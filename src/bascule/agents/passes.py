"""One pass of the enforcement loop, while it goes on. A driver that fails is a problem to tell, never an exception."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from bascule.model.errors import BasculeError

log = structlog.stdlib.get_logger(__name__)

T = TypeVar("T")


@dataclass
class Pass:
    """What one pass collects while it goes on."""

    changes: list[str] = field(default_factory=list)
    repairs: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def attempt(self, who: str, action: Callable[[], T]) -> T | None:
        """Do it; None when it failed, with the sentence among the problems."""
        try:
            return action()
        except BasculeError as error:
            self.problems.append(f"{who}: {error.sentence}")
        except Exception as error:
            log.exception("driver failed", driver=who)
            self.problems.append(
                f"{who} failed in a way nobody foresaw ({type(error).__name__}: {error}): read the log."
            )
        return None

    def succeeds(self, who: str, action: Callable[[], None]) -> bool:
        """Do what returns nothing; whether it worked."""
        before = len(self.problems)
        self.attempt(who, action)
        return len(self.problems) == before

    def note(self, sentences: tuple[str, ...], *, asked_for: bool) -> None:
        """What was not asked for is a repair: something else had changed the machine."""
        (self.changes if asked_for else self.repairs).extend(sentences)
