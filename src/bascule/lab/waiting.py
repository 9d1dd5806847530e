"""Await a condition of the outside world that nothing announces."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from bascule.model.errors import Unavailable

T = TypeVar("T")


def wait_until(condition: Callable[[], T], *, what: str, timeout: float = 20.0, every: float = 0.05) -> T:
    """Return the condition's first true value. Raises Unavailable, naming what did not happen, when time is up."""
    end = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > end:
            raise Unavailable(
                f"{what} did not happen within {timeout:g} s: look at the lab's logs (`bascule lab status`)."
            )
        time.sleep(every)
    return value
