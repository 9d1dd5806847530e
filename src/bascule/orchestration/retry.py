"""How long to wait after a failure: exponential backoff with full jitter. Pure: chance is an argument.

Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Delays in seconds. After `escalate_after` failures in a row a human is told, once."""

    first: float = 1.0
    longest: float = 60.0
    escalate_after: int = 5

    def delay(self, attempts: int, chance: random.Random) -> float:
        """Seconds to wait after `attempts` failures in a row: between half and all of the exponential delay."""
        ceiling = min(self.longest, self.first * 2.0 ** min(attempts - 1, 30))
        return ceiling * (0.5 + chance.random() / 2)
