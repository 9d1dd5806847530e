"""The one place where chance that real code takes from the machine is replaced, so that a seed replays exactly."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random
from unittest.mock import patch

import structlog


@contextmanager
def seeded(chance: Random) -> Iterator[None]:
    """Identifiers (uuid4 reads os.urandom) follow from the seed."""
    with patch.object(os, "urandom", chance.randbytes):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """Thousands of histories full of faults must not fill the terminal."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
