"""Await what nothing announces."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(what: str, condition: Callable[[], bool], seconds: float = 100.0) -> None:
    """Wait for the condition; fail with `what` was expected."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:g} s for {what}"
        time.sleep(0.01)
